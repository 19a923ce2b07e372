"""The stages of a network, read from the network itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nas.core import Task
from nas.errors import UserError, located


@dataclass(frozen=True)
class Stage:
    """Equal consecutive blocks.

    Args:
        name: Name of a block.
        times: Number of blocks.
        shape: Shape of the output of the last, without the batch.
    """

    name: str
    times: int
    shape: tuple[int, ...]


def stages(network: nn.Module, task: Task) -> list[Stage]:
    """The stages that images pass through, the images first; equal neighbours with equal shapes are one stage.

    Blocks are the direct children of the network and the elements of its lists and dictionaries. If a block returns
    several tensors, the shape is that of the first. Blocks that are not used in evaluation, such as an auxiliary head,
    are left out.

    Raises:
        UserError: The network cannot be run on images of the task.
    """
    seen: list[Stage] = [Stage("images", 1, (task.channels, task.height, task.width))]
    blocks = list(_blocks(network)) or [(_spelled(type(network).__name__), network)]
    modes = [(module, module.training) for module in network.modules()]
    with ExitStack() as hooks:
        for name, module in blocks:
            hooks.enter_context(_hooked(name, module, seen))
        try:
            with torch.no_grad():
                network.eval()
                network(_blank(network, seen[0].shape))
        except Exception as error:
            raise UserError(f"the stages cannot be drawn, since the network fails: {located(error)}") from error
        finally:
            for module, training in modes:  # one by one: a part may be frozen in evaluation mode
                module.training = training
    return seen


def _hooked(name: str, module: nn.Module, seen: list[Stage]) -> RemovableHandle:
    try:
        return module.register_forward_hook(_noted(name, seen))
    except RuntimeError:
        which = name.replace("\n", " ")
        raise UserError(
            f"the stages cannot be drawn, since {which} was made by torch.jit.script, whose modules do not accept hooks"
        ) from None


def _blank(network: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Two black images with the type and device of the network."""
    candidates = [parameter for parameter in network.parameters() if parameter.is_floating_point()]
    like = next(iter(candidates), torch.zeros(()))
    return torch.zeros(2, *shape, device=like.device, dtype=like.dtype)


def _blocks(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    plain = isinstance(network, (nn.Sequential, nn.ModuleList))
    for name, child in network.named_children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from _blocks(child)
        else:
            yield _spelled(type(child).__name__) if plain else name, child


def _spelled(name: str) -> str:
    """`ReductionCell` as two words on two lines."""
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "\\n", name).lower() if "_" not in name else name


def _noted(name: str, seen: list[Stage]) -> Callable[[nn.Module, Any, Any], None]:
    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        tensor = _first_tensor(output)
        if tensor is None:
            return
        shape = tuple(tensor.shape[1:])
        last = seen[-1]
        if (last.name, last.shape) == (name, shape):
            seen[-1] = Stage(name, last.times + 1, shape)
        else:
            seen.append(Stage(name, 1, shape))

    return note


def _first_tensor(output: Any) -> Tensor | None:
    """The first tensor of a block's output, which may be any nesting of tuples, lists and dictionaries."""
    if isinstance(output, Tensor):
        return output
    values: Iterable[Any] = ()
    if isinstance(output, Mapping):
        values = output.values()
    elif isinstance(output, (tuple, list)):
        values = output
    return next((first for value in values if (first := _first_tensor(value)) is not None), None)
