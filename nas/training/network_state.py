"""All state of a network, in its state_dict or not: to compare two moments or two networks, and to restore one."""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PART_ATTRIBUTES = {"_parameters", "_buffers", "_modules"}
"""Attributes of every module that hold its parts by name."""
HOOK_ATTRIBUTES = {name for name, value in vars(nn.Module()).items() if isinstance(value, dict)} - PART_ATTRIBUTES
"""Attributes of every module that hold no state of its own."""
PLAIN_TYPES = {int, float, bool, complex, str, bytes, type(None)}
CONTAINER_TYPES = {dict, OrderedDict, defaultdict, list, deque}
LIBRARY_PACKAGES = {*sys.stdlib_module_names, "numpy", "torch"}
"""Packages whose objects are not searched; objects of a user's classes are."""
TOLERANCE = 1e-4
"""Difference of logits, relative to the largest but at least 1, up to which they are equal except for rounding."""
MAX_ELEMENTS = 10_000
"""Containers with more elements than this count as data and are not searched."""


@dataclass(frozen=True)
class _SavedTensor:
    """A tensor as it was: the object, its memory, a copy of its values, its gradient."""

    tensor: Tensor
    memory: Tensor
    values: Tensor
    grad: Tensor | None


class NetworkState:
    """The state of a network at a moment, to find what changed since and to restore it.

    Args:
        network: Network without lazy parameters.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.values: dict[str, Any] = {}
        self._containers: list[tuple[Any, Any]] = []
        self._tensors: list[_SavedTensor] = []
        self._generators: list[tuple[Any, Any]] = []
        for path, value in _walk(network):
            if isinstance(value, Tensor):
                saved = _SavedTensor(value, value.data, value.detach().clone(), value.grad)
                self._tensors.append(saved)
                self.values[path] = saved.values
            elif type(value) in CONTAINER_TYPES:
                self._containers.append((value, value.copy()))
            elif isinstance(value, torch.Generator):
                self._generators.append((value, value.get_state()))
            elif isinstance(value, np.random.Generator):
                self._generators.append((value, value.bit_generator.state))
            else:
                self.values[path] = value

    def changed(self) -> list[str]:
        """Names of changed state that no state_dict holds: plain tensors and values, non-persistent buffers."""
        now = {path: value for path, value in _walk(self.network) if type(value) not in CONTAINER_TYPES}
        return _differing(self.values, now, set(self.network.state_dict()))

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the network: tensors, attributes, containers, gradients and modes."""
        for container, content in self._containers:
            container.clear()
            container.update(content) if isinstance(container, dict) else container.extend(content)
        for saved in self._tensors:
            saved.memory.copy_(saved.values)
            saved.tensor.data = saved.memory
            saved.tensor.grad = saved.grad
        for generator, state in self._generators:
            if isinstance(generator, torch.Generator):
                generator.set_state(state)
            else:
                generator.bit_generator.state = state


def unlike(first: nn.Module, second: nn.Module) -> list[str]:
    """Names of state that two networks of one architecture do not share and no state_dict holds."""
    held = {*first.state_dict(), *second.state_dict()}
    sides = [
        {path: v for path, v in _walk(n, settings=True) if type(v) not in CONTAINER_TYPES} for n in (first, second)
    ]
    return _differing(sides[0], sides[1], held)


def unregistered(network: nn.Module) -> tuple[str, ...]:
    """Names of parameters that got a gradient but that no optimizer receives, such as those of modules in a plain
    list."""
    own = {id(parameter) for parameter in network.parameters()}
    return tuple(
        path
        for path, value in sorted(_walk(network), key=lambda entry: entry[0])
        if isinstance(value, nn.Parameter) and value.requires_grad and value.grad is not None and id(value) not in own
    )


def _differing(first: dict[str, Any], second: dict[str, Any], aside: set[str]) -> list[str]:
    missing = object()
    return [
        name
        for name in {**first, **second}
        if name not in aside
        and name.rpartition(".")[2] != "training"  # the mode
        and not equal(first.get(name, missing), second.get(name, missing))
    ]


def _walk(network: nn.Module, *, settings: bool = False) -> Iterator[tuple[str, Any]]:
    """Name and object of everything that a network refers to, each once: containers, then their content.

    Args:
        settings: Include the plain attributes of torch's own modules, such as a stride, which no forward changes.
    """
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [("", network)]
    while todo:
        path, value = todo.pop()
        if type(value) in PLAIN_TYPES or (type(value) is tuple and all(type(each) in PLAIN_TYPES for each in value)):
            yield path, value
            continue
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield path, value
        elif isinstance(value, nn.Module) or _is_users(value):
            module, value = value, vars(value)
            yield path, value
            start = f"{path}." if path else ""
            torchs = not settings and type(module).__module__.startswith("torch.nn.")
            for key, attribute in value.items():
                if key in PART_ATTRIBUTES:
                    yield path, attribute
                    todo += [(start + name, each) for name, each in attribute.items()]
                elif not torchs and key not in HOOK_ATTRIBUTES:
                    todo.append((start + str(key), attribute))
        elif type(value) in CONTAINER_TYPES or isinstance(value, tuple):
            if not isinstance(value, tuple):
                yield path, value
            if len(value) <= MAX_ELEMENTS:
                items = value.items() if isinstance(value, dict) else enumerate(value)
                todo += [(f"{path}[{key!r}]", each) for key, each in items]
        elif isinstance(value, np.ndarray | np.generic | torch.Generator | np.random.Generator):
            yield path, value


def _is_users(value: Any) -> bool:
    """Whether an object is of a class of neither Python nor a library, and holds attributes."""
    if isinstance(value, type) or callable(value) or not hasattr(value, "__dict__"):
        return False
    return type(value).__module__.partition(".")[0] not in LIBRARY_PACKAGES


def equal(first: Any, second: Any) -> bool:
    """Whether two values are the same; NaN is NaN."""
    if first is second:
        return True
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        if first.shape != second.shape or first.dtype != second.dtype:
            return False
        return torch.equal(first.detach().cpu().nan_to_num(), second.detach().cpu().nan_to_num())
    if type(first) is not type(second):
        return False
    return bool(np.array_equal(first, second) if isinstance(first, np.ndarray) else first == second)


def alike(first: Tensor, second: Tensor) -> bool:
    """Whether two logits (B, classes) are equal except for rounding."""
    first, second = first.detach().double().cpu(), second.detach().double().cpu()
    if first.shape != second.shape:
        return False
    same = (first == second) | (first.isnan() & second.isnan())
    scale = max(1.0, float(second.nan_to_num(0.0, 0.0, 0.0).abs().max()))
    return bool((same | ((first - second).abs() <= TOLERANCE * scale)).all())
