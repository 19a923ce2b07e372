"""The weights of a network in a safetensors file, with the extra state of its modules.

A file holds tensors and text, so nothing in it can run. What `get_extra_state` returns is split: its tensors are stored
among the others, and its structure in the file's metadata. A complex tensor is stored as one of real numbers with a
last dimension of 2, real and imaginary part, since not every version of safetensors has a type for it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

EXTRA_STATE_KEY = "extra_state"
"""Metadata entry: JSON of name -> structure."""
COMPLEX_KEY = "complex"
"""Metadata entry: JSON list of the names of complex tensors."""
PLAIN_TYPES = (str, int, float, bool, type(None))


class NotStorable(Exception):
    """Extra state that holds something other than tensors, numbers, text, lists, tuples and dicts of them."""


def copied(network: nn.Module) -> dict[str, Any]:
    """The state_dict with nothing shared, tensors on the CPU."""
    return {
        name: value.detach().cpu().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in network.state_dict().items()
    }


def copy_extra_state(source: nn.Module, target: nn.Module) -> None:
    """Give a network the extra state of another of the same architecture."""
    for mine, theirs in zip(target.modules(), source.modules(), strict=True):
        if type(theirs).get_extra_state is not nn.Module.get_extra_state:
            mine.set_extra_state(copy.deepcopy(theirs.get_extra_state()))


def packed(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A state_dict as tensors and metadata.

    Raises:
        NotStorable: An entry is neither a tensor nor a structure that a file can hold.
    """
    tensors: dict[str, Tensor] = {}
    structures = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().clone().contiguous()
        else:
            structures[name] = _packed(name, value, tensors)
    pairs = [name for name, tensor in tensors.items() if tensor.is_complex()]
    tensors |= {name: torch.view_as_real(tensors[name].resolve_conj()) for name in pairs}
    metadata = {EXTRA_STATE_KEY: json.dumps(structures)} if structures else {}
    return tensors, metadata | ({COMPLEX_KEY: json.dumps(pairs)} if pairs else {})


def unpacked(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Any]:
    """The state_dict again.

    Raises:
        ValueError: The metadata is not what `packed` writes.
    """
    state: dict[str, Any] = dict(tensors)
    try:
        for name in json.loads(metadata.get(COMPLEX_KEY, "[]")):
            state[name] = torch.view_as_complex(state[name])
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"its list of {COMPLEX_KEY} tensors is damaged") from error
    try:
        for name, structure in json.loads(metadata.get(EXTRA_STATE_KEY, "{}")).items():
            state[name] = _unpacked(structure, state)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its {EXTRA_STATE_KEY} is damaged") from error
    return state


def save_weights(path: Path, state: Mapping[str, Any], about: Mapping[str, str]) -> None:
    """Write a state_dict.

    Args:
        path: File to write.
        about: Metadata to add.

    Raises:
        NotStorable: As `packed`.
        OSError: The file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors, metadata = packed(state)
    try:
        save_file(tensors, str(path), metadata={**about, **metadata})
    except SafetensorError as error:
        raise OSError(str(error)) from None


def load_weights(path: Path) -> dict[str, Any]:
    """The state_dict of a file.

    Raises:
        OSError, SafetensorError: It cannot be read.
        ValueError: Its extra state is damaged.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(str(path), "pt") as opened:
        metadata = opened.metadata() or {}
    return unpacked(load_file(path), metadata)


def _packed(name: str, value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        key = f"{name}.{len(tensors)}"
        tensors[key] = value.detach().cpu().clone().contiguous()
        return {"tensor": key}
    if isinstance(value, dict):
        if not all(type(key) in PLAIN_TYPES for key in value):
            raise NotStorable(f"{name} has a key that is not text or a number")
        return {"dict": [[key, _packed(name, each, tensors)] for key, each in value.items()]}
    for kind in (list, tuple):
        if type(value) is kind:
            return {kind.__name__: [_packed(name, each, tensors) for each in value]}
    if type(value) in PLAIN_TYPES:
        return value
    raise NotStorable(f"{name} holds a {type(value).__name__}")


def _unpacked(structure: Any, tensors: dict[str, Any]) -> Any:
    if not isinstance(structure, dict):
        return structure
    ((kind, content),) = structure.items()
    if kind == "tensor":
        return tensors.pop(content)
    if kind == "dict":
        return {key: _unpacked(each, tensors) for key, each in content}
    return {"list": list, "tuple": tuple}[kind](_unpacked(each, tensors) for each in content)
