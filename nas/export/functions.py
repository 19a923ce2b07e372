"""Calls of functions of torch as nodes of a trace."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import resolve_name

from nas.export.trace import Node, TraceError

BINARY_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "true_divide": "/", "floor_divide": "//", "remainder": "%",
    "pow": "**", "matmul": "@", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
    "__truediv__": "/", "__floordiv__": "//", "__mod__": "%", "__pow__": "**", "__matmul__": "@",
    "__and__": "&", "__or__": "|", "__xor__": "^", "__lshift__": "<<", "__rshift__": ">>",
}  # fmt: skip
SWAPPED_SIGNS = {
    "__radd__": "+", "__rsub__": "-", "__rmul__": "*", "__rdiv__": "/", "__rtruediv__": "/", "__rfloordiv__": "//",
    "__rmod__": "%", "__rpow__": "**", "__rmatmul__": "@", "__rand__": "&", "__ror__": "|", "__rxor__": "^",
}  # fmt: skip
UNARY_SIGNS = {"neg": "-", "__neg__": "-", "__invert__": "~"}
TENSOR = "torch.Tensor."


def function_node(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Node:  # noqa: PLR0911 - one for each kind
    """The node of a call of a function of torch, as it is written in source.

    Args:
        args, kwargs: Arguments of the call, with nodes instead of tensors.

    Raises:
        TraceError: The function is not part of torch, or sets an attribute.
    """
    name = getattr(function, "__name__", str(function))
    if name == "__get__":
        return Node("getattr", function.__self__.__name__, args[:1])  # type: ignore[attr-defined]
    if name == "__getitem__":
        return Node("getitem", "", args)
    if name == "__setitem__":
        return Node("setitem", "", args)
    path = _path(function)
    if path.startswith(TENSOR):
        return _method(path.removeprefix(TENSOR), args, kwargs)
    changed_kwargs = {key: value for key, value in kwargs.items() if not _is_default(function, key, value)}
    in_place = changed_kwargs.pop("inplace", False)
    if in_place:
        return Node(
            "call_function", path, args, changed_kwargs, in_place_form=("call_function", path, {"inplace": True})
        )
    if path.endswith("_") and hasattr(torch, path.rpartition(".")[2][:-1]):
        return Node(
            "call_function",
            f"torch.{path.rpartition('.')[2][:-1]}",
            args,
            changed_kwargs,
            in_place_form=("call_function", path, {}),
        )
    return Node("call_function", path, args, changed_kwargs)


def _method(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Node:
    if name in SWAPPED_SIGNS:
        return Node("operator", SWAPPED_SIGNS[name], args[::-1])
    if name in BINARY_SIGNS and len(args) == 2 and not kwargs:
        return Node("operator", BINARY_SIGNS[name], args)
    if name in UNARY_SIGNS:
        return Node("unary", UNARY_SIGNS[name], args)
    if name.startswith("__"):
        name = name.strip("_")  # abs
    changing: tuple[str, str, Mapping[str, Any]] = ("call_method", name, {})
    plain = name[:-1]
    if name.endswith("_") and plain in BINARY_SIGNS and len(args) == 2 and not kwargs:
        return Node("operator", BINARY_SIGNS[plain], args, in_place_form=changing)
    if name.endswith("_") and hasattr(Tensor, plain):
        return Node("call_method", plain, args, kwargs, in_place_form=changing)
    return Node("call_method", name, args, kwargs)


@cache
def _path(function: Callable[..., Any]) -> str:
    """`torch.Tensor.view`, `F.relu` or `torch.einsum`."""
    if isinstance(function, torch._ops.OpOverloadPacket | torch._ops.OpOverload):
        if not str(function).startswith(("aten.", "prims.")):
            raise TraceError(f"calls torch.ops.{function}, which is not part of torch")
        return f"torch.ops.{function}"
    name = getattr(function, "__name__", str(function))
    for prefix, module in (("F", F), ("torch", torch)):
        if getattr(module, name, None) is function:
            return f"{prefix}.{name}"
    qualified_name: str | None = resolve_name(function)
    if qualified_name is None:
        raise TraceError(f"calls {name}, which is not a function of torch")
    return qualified_name.replace("torch.nn.functional.", "F.")


def _is_default(function: Callable[..., Any], name: str, value: Any) -> bool:
    """Whether an argument equals the function's default; functions of torch pass on all of their arguments."""
    try:
        default = inspect.signature(function).parameters[name].default
    except (ValueError, TypeError, KeyError):
        return False
    return type(default) is type(value) and bool(default == value)
