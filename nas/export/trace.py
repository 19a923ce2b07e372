"""The straight line of calls that a module's forward comes to, with Python's loops and branches gone.

The forward runs once on stand-ins for its tensors. A stand-in carries the tensor that it stands for, so sizes are plain
numbers and may decide what is done, all but the batch's; what is computed is also computed for real. Modules within are
calls like any other and are traced by themselves.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import UserError, located

OPERATORS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@",
}  # fmt: skip
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


SURPRISES = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What a forward may raise because stand-ins are not tensors."""


class NotStraight(Exception):
    """What a forward does that no straight line can say."""


@dataclass(eq=False)
class Value:
    """Stands for a tensor, or for a tuple of them, within a forward.

    Args:
        real: what it stands for.
        kind: `input`, `own` (a parameter or buffer of the traced module), `module`, `function`, `method`, `operator`,
            `item` or `attribute`.
        target: its name: of the input, the tensor, the module, the function as written (`F.relu`), the method, the
            operator's sign.
        args, kwargs: what it is called with, other stand-ins among them.
        hint: what it should be called in source.
    """

    real: Any
    kind: str
    target: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    hint: str | None = None

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # in place or not is the same where each value has a name of its own
        given = {key: value for key, value in (kwargs or {}).items() if key != "inplace"}
        shown = {key: value for key, value in given.items() if not _is_default(function, key, value)}
        return Value(function(*_real(args), **_real(given)), "function", _spelled(function), args, shown)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self.real, name)
        if callable(found):

            def method(*args: Any, **kwargs: Any) -> Value:
                return Value(found(*_real(args), **_real(kwargs)), "method", name, (self, *args), kwargs)

            return method
        return Value(found, "attribute", name, (self,)) if isinstance(found, Tensor | torch.device) else found

    @property
    def shape(self) -> Any:
        return self.real.shape if self.kind == "own" else (self.size(0), *self.real.shape[1:])

    def size(self, dim: int | None = None) -> Any:
        if dim is None:
            return self.shape
        sizes = self.real.shape
        if self.kind == "own":  # has no batch
            return sizes[dim]
        return sizes[dim] if dim % len(sizes) else Value(sizes[0], "method", "size", (self, 0))

    def dim(self) -> int:
        return int(self.real.dim())

    def __getitem__(self, key: Any) -> Value:
        return Value(self.real[_real(key)], "item", "", (self, key))

    def __iter__(self) -> Iterator[Value]:
        return (self[place] for place in range(len(self.real)))

    def __neg__(self) -> Value:
        return Value(-self.real, "method", "neg", (self,))

    def __bool__(self) -> bool:
        raise NotStraight("decides by a value what is done")

    __float__ = __int__ = __bool__

    def __setitem__(self, key: Any, value: Any) -> None:
        raise NotStraight("writes into a tensor")

    def __len__(self) -> int:
        if self.kind == "own":
            return len(self.real)
        raise NotStraight("asks for the size of the batch")


def _binary(name: str, sign: str, *, swapped: bool) -> Callable[[Value, Any], Value]:
    function = getattr(operator, name)

    def method(self: Value, other: Any) -> Value:
        pair = (other, self) if swapped else (self, other)
        return Value(function(*_real(pair)), "operator", sign, pair)

    return method


for _name, _sign in {**OPERATORS, **COMPARISONS}.items():
    setattr(Value, f"__{_name}__", _binary(_name, _sign, swapped=False))
    if _name in OPERATORS:
        setattr(Value, f"__r{_name}__", _binary(_name, _sign, swapped=True))


@dataclass(frozen=True)
class Line:
    """What a forward came to.

    Args:
        inputs: names of its tensors.
        output: what it returns, made of stand-ins.
        calls: name of a module within -> the real values that it was first called with, in the order of the calls.
    """

    inputs: tuple[str, ...]
    output: Any
    calls: Mapping[str, tuple[Any, ...]]


def straight(module: nn.Module, args: Sequence[Any]) -> Line:
    """Trace a module's forward.

    Args:
        args: what it is called with; what is no tensor is taken as it is.

    Raises:
        UserError: the forward depends on values, or does what has no source.
    """
    names = list(inspect.signature(module.forward).parameters)[: len(args)]
    within = {child: name for name, child in module.named_modules() if child is not module}
    given = [
        Value(value, "input", name) if isinstance(value, Tensor) else value
        for name, value in zip(names, args, strict=True)
    ]
    calls: dict[str, tuple[Any, ...]] = {}
    plain = nn.Module.__call__

    def call(child: nn.Module, *inner: Any, **more: Any) -> Any:
        if child not in within:
            raise NotStraight(f"calls a {type(child).__name__} that is none of its own modules")
        bound = inspect.signature(child.forward).bind(*inner, **more)
        bound.apply_defaults()
        if bound.kwargs:
            raise NotStraight(f"calls a {type(child).__name__} that takes arguments by keyword alone")
        with _calling(plain), _standing_for(module, {}):
            outcome = plain(child, *_real(bound.args))
        calls.setdefault(within[child], _real(bound.args))
        if type(child).__module__.startswith("torch.nn"):
            return Value(outcome, "module", within[child], inner, more)
        tensors = tuple(value for value in bound.args if isinstance(value, Value))  # the others are written within
        return Value(outcome, "module", within[child], tensors)

    try:
        with torch.no_grad(), _calling(call), _standing_for(module, {module: "", **within}):
            output = module.forward(*given)
    except (NotStraight, *SURPRISES) as error:
        reason = error if isinstance(error, NotStraight) else f"cannot be followed ({located(error)})"
        raise UserError(f"{type(module).__name__} cannot be written as source: its forward {reason}") from None
    return Line(tuple(value.target for value in given if isinstance(value, Value)), output, calls)


@contextmanager
def _replaced(name: str, function: Callable[..., Any]) -> Iterator[None]:
    """With another method of all modules."""
    before = getattr(nn.Module, name)
    setattr(nn.Module, name, function)
    try:
        yield
    finally:
        setattr(nn.Module, name, before)


def _calling(call: Callable[..., Any]) -> AbstractContextManager[None]:
    """With another way to call modules."""
    return _replaced("__call__", call)


GET = nn.Module.__getattr__


def _standing_for(module: nn.Module, names: Mapping[nn.Module, str]) -> AbstractContextManager[None]:
    """With stand-ins for the tensors that modules have, so that what is computed of them is written too.

    Args:
        module: whose forward runs; tensors of the others are none of its own and will be refused.
        names: of these modules within it; without any, tensors are what they are.
    """
    made: dict[str, Value] = {}

    def get(self: nn.Module, name: str) -> Any:
        found = GET(self, name)
        if not isinstance(found, Tensor) or self not in names:
            return found
        full = name if self is module else f"{names[self]}.{name}"
        return made.setdefault(full, Value(found, "own", full))

    return _replaced("__getattr__", get)


def _real(tree: Any) -> Any:
    """Stand-ins replaced by what they stand for."""
    if isinstance(tree, Value):
        return tree.real
    if isinstance(tree, dict):
        return {key: _real(value) for key, value in tree.items()}
    if isinstance(tree, slice):
        return slice(_real(tree.start), _real(tree.stop), _real(tree.step))
    return type(tree)(map(_real, tree)) if type(tree) in (tuple, list) else tree


def _spelled(function: Callable[..., Any]) -> str:
    """A function of torch as source has it."""
    name = getattr(function, "__name__", str(function))
    for prefix, module in (("F", F), ("torch", torch)):
        if getattr(module, name, None) is function:
            return f"{prefix}.{name}"
    raise NotStraight(f"calls {name}, which is no function of torch")


def _is_default(function: Callable[..., Any], name: str, value: Any) -> bool:
    """Whether an argument is what the function takes anyway; torch's own ones pass all of them on."""
    try:
        default = inspect.signature(function).parameters[name].default
    except (ValueError, TypeError, KeyError):
        return False
    return type(default) is type(value) and bool(default == value)
