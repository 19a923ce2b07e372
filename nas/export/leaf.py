"""Modules of torch as source constructs them, with the arguments read back from the module."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nas.export.trace import tree_map

PLAIN_TYPES = (bool, int, float, str, type(None))
IGNORED_ARGUMENTS = ("device", "dtype", "inplace")
"""Arguments that are not properties of the module itself."""


@dataclass(frozen=True)
class Leaf:
    """A module that is written as one of torch's.

    Args:
        kind: Class of torch.
        values: Arguments of its constructor, in order.
        required: Arguments without a default.
        defaults: Defaults of the others.
        wrapper, options: Function that creates its parametrization, and the arguments that differ from their defaults.
    """

    kind: type[nn.Module]
    values: Mapping[str, Any]
    required: frozenset[str]
    defaults: Mapping[str, Any]
    wrapper: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def leaf(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], known: dict[Hashable, bool]) -> Leaf | None:
    """The module of torch that a module is written as; None if its forward has to be written.

    Args:
        args, kwargs: Arguments of the call.
        known: Whether the user's subclasses of torch's modules compute the same as these; filled here.
    """
    wrapper, options, kind = "", dict[str, Any](), type(module)
    if parametrize.is_parametrized(module):
        wrapper, options = _parametrization(module)
        kind = kind.__mro__[1]
        if not wrapper:
            return None
    base = next(one for one in kind.__mro__ if one.__module__.startswith("torch.nn"))
    if base in (nn.Module, nn.Sequential) or getattr(nn, base.__name__, None) is not base:
        return None
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        return None
    if base is not kind and not _does_as(base, module, args, kwargs, known):
        return None
    parameters = _signature(base)
    for short in (True, False):
        values = _arguments(module, parameters, short=short)
        if values is not None and _alike(base, values, module, wrapped=bool(wrapper)):
            empty = inspect.Parameter.empty
            required = frozenset(name for name, parameter in parameters.items() if parameter.default is empty)
            defaults = {name: one.default for name, one in parameters.items() if one.default is not empty}
            return Leaf(base, values, required, defaults, wrapper, options)
    return None


def _signature(base: type[nn.Module]) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(base).parameters)
    if issubclass(base, nn.RNNBase):
        parameters = {name: one for name, one in inspect.signature(nn.RNNBase).parameters.items() if name != "mode"}
        if base is nn.RNN:
            parameters["nonlinearity"] = inspect.Parameter(
                "nonlinearity", inspect.Parameter.KEYWORD_ONLY, default="tanh"
            )
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name: one
        for name, one in parameters.items()
        if one.kind in plain and name not in IGNORED_ARGUMENTS and not name.startswith("_")
    }


def _arguments(module: nn.Module, parameters: Mapping[str, inspect.Parameter], *, short: bool) -> dict[str, Any] | None:
    """The constructor's arguments; None if one cannot be read back.

    Args:
        short: Whether to write 3 for (3, 3).
    """
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        own = "in_proj_bias" if name == "bias" and hasattr(module, "in_proj_bias") else name  # of attention
        if name == "add_bias_kv":
            values[name] = getattr(module, "bias_k", None) is not None
        elif name == "bias":
            value = getattr(module, own, None)
            values[name] = value if isinstance(value, bool) else value is not None
        elif hasattr(module, name):
            value = getattr(module, name)
            values[name] = _short(value) if short and name != "normalized_shape" else _listed(value)
            if not _is_plain(value):
                return None
        elif parameter.default is inspect.Parameter.empty:
            return None
    return values


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, tuple | list) else isinstance(value, PLAIN_TYPES)


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, tuple) else value


def _short(value: Any) -> Any:
    return (
        value[0] if isinstance(value, tuple) and value and all(item == value[0] for item in value) else _listed(value)
    )


def _alike(base: type[nn.Module], values: Mapping[str, Any], module: nn.Module, *, wrapped: bool) -> bool:
    """Whether a module created with these arguments equals this one except for its weights."""
    try:
        with torch.device("meta"):
            twin = base(**values)
    except Exception:  # noqa: BLE001 - a constructor may raise anything for wrong arguments
        return False
    for name, value in vars(twin).items():
        if name.startswith("_") or name in ("training", *IGNORED_ARGUMENTS) or not _is_plain(value):
            continue
        if getattr(module, name, None) != value:
            return False
    if wrapped:
        return True
    return _state(twin) == _state(module)


def _state(module: nn.Module) -> dict[str, tuple[Any, ...]]:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in module.state_dict().items()}


def _does_as(
    base: type[nn.Module],
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    known: dict[Hashable, bool],
) -> bool:
    """Whether a user's subclass computes the same as the module of torch that it derives from."""
    if any(True for _ in module.children()):
        return False
    settings = tuple((name, value) for name, value in vars(module).items() if _is_plain(value))
    key = (type(module), str(settings), str(_state(module)), str(tree_map((args, dict(kwargs)), lambda x: x.shape)))
    if key not in known:
        known[key] = _computes_as(base, module, args, kwargs)
    return known[key]


def _computes_as(base: type[nn.Module], module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    with torch.no_grad():
        try:
            args, kwargs = tree_map((tuple(args), dict(kwargs)), Tensor.clone)
            theirs = base.forward(module, *args, **kwargs)
            return bool(torch.allclose(theirs, module(*args, **kwargs), rtol=1e-4, atol=1e-5))
        except (TypeError, RuntimeError, AttributeError, NotImplementedError):  # it takes other arguments
            return False


def _parametrization(module: nn.Module) -> tuple[str, dict[str, Any]]:
    """The function of `nn.utils.parametrizations` that created a module, and its arguments."""
    parametrizations = module.parametrizations
    assert isinstance(parametrizations, nn.ModuleDict)
    if list(parametrizations) != ["weight"] or len(parametrizations["weight"]) != 1:  # type: ignore[arg-type]
        return "", {}
    parametrization = parametrizations["weight"][0]  # type: ignore[index]
    name = type(parametrization).__name__
    given: dict[str, tuple[Any, Any]] = {}
    if name == "_WeightNorm":
        given = {"dim": (parametrization.dim, 0)}
        path = "weight_norm"
    elif name == "_SpectralNorm" and parametrization.__class__.__module__.startswith("torch."):
        default = 1 if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d) else 0
        given = {
            "n_power_iterations": (parametrization.n_power_iterations, 1),
            "eps": (parametrization.eps, 1e-12),
            "dim": (parametrization.dim, default),
        }
        path = "spectral_norm"
    else:
        return "", {}
    options = {key: value for key, (value, default) in given.items() if value != default}
    return f"nn.utils.parametrizations.{path}", options
