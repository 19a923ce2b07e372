"""Records the straight line of calls that a module's forward comes to, with Python's loops and branches gone.

The forward runs on tensors, and every function of torch and every module that it calls is written down, so that
`isinstance`, iteration, sizes and changes in place are what they are elsewhere. Only values are hidden: a forward that
asks for one is refused, since it may decide by it. Modules with a forward of their own become frames within frames.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from nas.export.failure import running_line
from nas.export.graph import Frame, Node, TraceError, itemised, leaves, mapped
from nas.export.leaves import Leaf, leaf
from nas.export.spelling import spelled
from nas.space.naming import names_heard

READS = frozenset({
    "__bool__", "__int__", "__float__", "__index__", "__complex__", "__contains__", "__array__", "item", "tolist",
    "numpy", "is_nonzero", "equal", "allclose",
})  # fmt: skip
"""Functions that give values of tensors to Python."""
CALL = nn.Module.__call__


class _Open(Frame):
    """A frame whose forward is running."""

    def __init__(self, module: nn.Module, parent: _Open | None) -> None:
        super().__init__(module)
        self.parent = parent
        self.within = {id(child): name for name, child in module.named_modules() if child is not module}
        self.owned = {id(tensor): (name, tensor) for name, tensor in reversed([*owned(module)])}
        self.known: Any = WeakIdKeyDictionary()
        """Tensor -> its node here."""
        self.lifted: dict[str, Node] = {}
        """Input that no argument brought -> its node in the parent."""
        self.step = 0


def owned(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a module: parameters, buffers and plain tensors, under each name that they have."""
    for prefix, inner in module.named_modules(remove_duplicate=False):
        plain = {name: value for name, value in vars(inner).items() if isinstance(value, Tensor)}
        for name, tensor in {**inner._parameters, **inner._buffers, **plain}.items():
            if tensor is not None:
                yield f"{prefix}.{name}" if prefix else name, tensor


def trace(module: nn.Module, args: Sequence[Any], known: dict[int, Leaf | None] | None = None) -> Frame:
    """Run a module's forward and record it.

    Args:
        args: arguments; those without tensors become part of the line.
        known: module's id -> what it is written as where it is torch's own; filled here, so that further runs agree.

    Raises:
        TraceError: the forward depends on values, or calls what has no source.
    """
    return _Recorder({} if known is None else known).run(module, args)


class _Recorder(TorchFunctionMode):
    def __init__(self, known: dict[int, Leaf | None]) -> None:
        super().__init__()
        self.leaves = known
        self.alike: dict[Hashable, bool] = {}
        self.stack: list[_Open] = []
        self.anywhere: Any = WeakIdKeyDictionary()
        """Every tensor that any frame knows -> the kind of its node."""
        self.mutations: dict[int, list[Node]] = {}
        """Storage -> nodes that changed it."""
        self.clock = 0
        self.paused = False
        self.line = ""

    def run(self, module: nn.Module, args: Sequence[Any]) -> Frame:
        def call(child: nn.Module, *inner: Any, **more: Any) -> Any:
            if self.paused or not self.stack:
                return CALL(child, *inner, **more)
            return self.call(child, inner, more)

        nn.Module.__call__ = call  # type: ignore[method-assign]
        try:
            with torch.no_grad(), names_heard(self._named), self:
                return self._frame(module, tuple(args), {}, None)[0]
        except TraceError as error:
            error.line = error.line or self.line
            raise
        finally:
            nn.Module.__call__ = CALL  # type: ignore[method-assign]

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Without recording."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    # --- functions -------------------------------------------------------------------------------------------------

    def __torch_function__(
        self, function: Callable[..., Any], _types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.paused or not self.stack:
            return function(*args, **kwargs)
        with self.pause():
            self.line = running_line()
            return self._function(function, args, kwargs)

    def _function(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        frame, name = self.stack[-1], getattr(function, "__name__", "")
        tensors = list(leaves((args, kwargs), Tensor))
        if torch.is_autocast_enabled("cpu"):
            raise TraceError("changes number types by autocast")
        if name in READS and any(self._lookup(tensor, frame).dynamic for tensor in tensors):
            raise TraceError("decides by a value what is done")
        versions = [*map(_version, tensors)]
        random = torch.get_rng_state()
        result = function(*args, **kwargs)
        changed = [tensor for tensor, version in zip(tensors, versions, strict=True) if _version(tensor) != version]
        if not changed and not any(True for _ in leaves(result, Tensor)):
            return result
        node = spelled(function, self._nodes(args, frame), self._nodes(dict(kwargs), frame))
        node.random = not torch.equal(random, torch.get_rng_state())
        node.dynamic = node.random or any(given.dynamic for given in leaves((node.args, node.kwargs), Node))
        self._append(node, frame)
        if changed:
            self._mutation(node, changed, result, frame)
            if node.kind == "setitem" or result is not changed[0]:
                return result
        return self._bound(node, result, frame, tensors if not changed else [])

    def _mutation(self, node: Node, changed: Sequence[Tensor], result: Any, frame: _Open) -> None:
        """Write down that tensors were changed in place."""
        before = [self._lookup(tensor, frame) for tensor in changed]
        alone = len(changed) == 1 and result is changed[0] and (node.kind == "module" or node.literally is not None)
        # another type would be kept in place, but not by the same function that makes a new tensor
        types = {given.dtype for given in leaves((node.args, node.kwargs), Node) if given.dtype is not None}
        if not alone or len(types) > 1 or any(old.kind in ("own", "constant") for old in before):
            node.literal = True
        for tensor in changed:
            self.mutations.setdefault(_storage(tensor), []).append(node)

    # --- modules ---------------------------------------------------------------------------------------------------

    def call(self, child: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A module's call within a forward."""
        frame = self.stack[-1]
        with self.pause():
            self.line = running_line()
            name = self._name_of(child, frame)
            if type(child) is nn.Identity:
                return args[0]
            if name is None:  # made in the forward, or another's: its lines stand here
                pass
            elif self._leaf(child, args, kwargs) is not None:
                return self._leaf_call(child, name, args, kwargs)
        if name is None:
            return CALL(child, *args, **kwargs)
        return self._own_call(child, name, args, kwargs, frame)

    def _name_of(self, child: nn.Module, frame: _Open) -> str | None:
        if type(frame.module).forward is nn.Sequential.forward:
            names = [name for name, module in frame.module._modules.items() if module is child]
            frame.step += 1
            here = list(frame.module._modules)[frame.step - 1 : frame.step]
            if here and here[0] in names:
                return here[0]
        return frame.within.get(id(child))

    def _leaf(self, child: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Leaf | None:
        if id(child) not in self.leaves:
            self.leaves[id(child)] = leaf(child, args, kwargs, self.alike)
        return self.leaves[id(child)]

    def _leaf_call(self, child: nn.Module, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        frame = self.stack[-1]
        node = Node("module", name, self._nodes(args, frame), self._nodes(dict(kwargs), frame), line=self.line)
        tensors = list(leaves((args, kwargs), Tensor))
        versions = [*map(_version, tensors)]
        random = torch.get_rng_state()
        result = CALL(child, *args, **kwargs)
        node.random = not torch.equal(random, torch.get_rng_state())
        changed = [tensor for tensor, version in zip(tensors, versions, strict=True) if _version(tensor) != version]
        self._append(node, frame)
        if changed:
            self._mutation(node, changed, result, frame)
        return self._bound(node, result, frame, tensors if not changed else [])

    def _own_call(
        self, child: nn.Module, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], frame: _Open
    ) -> Any:
        line = self.line
        inner, bound, result = self._frame(child, args, dict(kwargs), frame)
        with self.pause():
            self.line = line
            if isinstance(inner.output, Node) and inner.output in inner.inputs.values() and not inner.mutates:
                return result  # it hands on what it is given
            node = Node("module", name, (), bound, line=line, frame=inner)
            self._append(node, frame)
            return self._bound(node, result, frame, [*frame.known.keys()])

    def _frame(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], parent: _Open | None
    ) -> tuple[Frame, dict[str, Any], Any]:
        """Run a forward.

        Returns:
            frame, its inputs as nodes of the parent, and what it returned.
        """
        with self.pause():
            frame = _Open(module, parent)
            brought: dict[str, Any] = {}
            args, kwargs = self._distinct((args, kwargs))
            for name, tree in _arguments(module, args, kwargs).items():
                if not any(True for _ in leaves(tree, Tensor)):
                    continue
                frame.inputs[name] = Node("input", name, number=self.clock)
                if parent is not None:
                    brought[name] = self._nodes(tree, parent)
                    frame.inputs[name].dynamic = any(node.dynamic for node in leaves(brought[name], Node))
                itemised(tree, frame.inputs[name], lambda tensor, node: self._know(tensor, node, frame))
            self.clock += 1
        self.stack.append(frame)
        try:
            # what a class puts around the call is part of it; that of a module within is recorded by its parent
            own = parent is None and type(module).__call__ is not nn.Module.__call__
            result = (type(module).__call__ if own else CALL)(module, *args, **kwargs)
        finally:
            self.stack.pop()
        with self.pause():
            frame.output = self._nodes(result, frame)
            for name, node in frame.lifted.items():
                brought[name] = node
        return frame, brought, result

    # --- tensors and their nodes -----------------------------------------------------------------------------------

    def _nodes(self, tree: Any, frame: _Open) -> Any:
        return mapped(tree, lambda tensor: self._lookup(tensor, frame))

    def _lookup(self, tensor: Tensor, frame: _Open) -> Node:
        """The node of a tensor that is read."""
        node = self._found(tensor, frame)
        for change in self.mutations.get(_storage(tensor), ()):
            if change.number > node.number:
                change.literal = True
        return node

    def _found(self, tensor: Tensor, frame: _Open) -> Node:
        node: Node | None = frame.known.get(tensor)
        if node is not None:
            return node
        # a tensor that was computed may have become an attribute since
        computed = self.anywhere.get(tensor, "own") not in ("own", "constant")
        if id(tensor) in frame.owned and not computed:
            node = Node("own", frame.owned[id(tensor)][0], number=-1)
        elif frame.parent is not None and self._knows(tensor, frame.parent):
            outer = self._found(tensor, frame.parent)
            wanted = outer.target.rpartition(".")[2] if outer.kind in ("own", "input") else outer.hint or "given"
            taken = {*frame.inputs, "self"}
            name = next(name for number in range(1, 9999) if (name := _numbered(wanted, number)) not in taken)
            node = Node("input", name, number=outer.number, dynamic=outer.dynamic)
            frame.inputs[name] = node
            frame.lifted[name] = outer
        elif id(tensor) in frame.owned:
            node = Node("own", frame.owned[id(tensor)][0], number=-1)
        elif computed:
            raise TraceError("uses a tensor that another module computed and did not return")
        else:
            node = Node("constant", "", number=-1, line=self.line, value=tensor.detach().clone(), dynamic=False)
        self._know(tensor, node, frame)
        return node

    def _knows(self, tensor: Tensor, frame: _Open) -> bool:
        while True:
            if tensor in frame.known or id(tensor) in frame.owned:
                return True
            if frame.parent is None:
                return False
            frame = frame.parent

    def _know(self, tensor: Tensor, node: Node, frame: _Open) -> None:
        node.shape, node.dtype = tuple(tensor.shape), tensor.dtype
        if node.kind in ("item", "own", "constant") and frame.known.get(tensor) is not node:
            frame.nodes.append(node)
        frame.known[tensor] = node
        self.anywhere[tensor] = node.kind

    def _append(self, node: Node, frame: _Open) -> None:
        self.clock += 1
        node.number = self.clock
        node.line = node.line or self.line
        frame.nodes.append(node)

    def _bound(self, node: Node, result: Any, frame: _Open, before: Sequence[Tensor]) -> Any:
        """What was computed, each tensor known by its node; one that was there before is handed on as an alias."""
        there = {id(tensor) for tensor in before}
        if any(id(tensor) in there for tensor in leaves(result, Tensor)):
            result = _rebuilt(result, lambda tensor: tensor.detach() if id(tensor) in there else tensor)
        itemised(result, node, lambda tensor, item: self._know(tensor, item, frame))
        return result

    def _distinct(self, tree: Any) -> Any:
        """A tree in which no tensor stands twice, so that each argument has a name."""
        seen: set[int] = set()

        def alias(tensor: Tensor) -> Tensor:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                return tensor
            again = tensor.detach()
            if self.stack:
                self.stack[-1].known[again] = self._found(tensor, self.stack[-1])
            return again

        twice = [id(tensor) for tensor in leaves(tree, Tensor)]
        return tree if len(twice) == len({*twice}) else _rebuilt(tree, alias)

    def _named(self, value: Any, name: str) -> None:
        if self.stack and isinstance(value, Tensor):
            node = self.stack[-1].known.get(value)
            if node is not None and node.hint is None:
                node.hint = name


def _arguments(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameter of a forward -> what it is called with."""
    try:
        signature = inspect.signature(module.forward)
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError:  # hooks may change them, or the forward itself says what is wrong
        return MappingProxyType({f"x_{place}": value for place, value in enumerate(args)} | dict(kwargs))
    found: dict[str, Any] = {}
    for name, value in bound.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:  # one by one: a written forward has no stars
            found |= {f"{name}_{place}": one for place, one in enumerate(value)}
        else:
            found |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return found


def _rebuilt(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """A tree of the same types with its tensors replaced."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_rebuilt(value, function) for value in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(_rebuilt(value, function) for value in tree)
    if isinstance(tree, dict):
        made = tree.copy()
        made.update({key: _rebuilt(value, function) for key, value in tree.items()})
        return made
    return tree


def _storage(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse ones have none
        return id(tensor)


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; those of inference mode do not count it."""
    return 0 if tensor.is_inference() else int(tensor._version)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"
