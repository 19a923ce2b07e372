"""Traces a module's forward: the calls that it makes, without Python's loops and branches.

The forward runs on real tensors, not on proxies as in `torch.fx`, and every function of torch and every module that it
calls is recorded, so that `isinstance`, iteration, sizes and in-place changes work as usual. Only values are hidden: a
forward that reads one is refused, since it may branch on it. Modules with a forward of their own become nested traces.
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
from nas.export.functions import function_node
from nas.export.leaf import Leaf, leaf
from nas.export.trace import Node, Trace, TraceError, itemise, tree_leaves, tree_map, tree_rebuild
from nas.space.naming import names_heard

VALUE_READERS = frozenset({
    "__bool__", "__int__", "__float__", "__index__", "__complex__", "__contains__", "__array__", "item", "tolist",
    "numpy", "is_nonzero", "equal", "allclose",
})  # fmt: skip
"""Functions that hand values of tensors to Python."""
MODULE_CALL = nn.Module.__call__


class _RunningTrace(Trace):
    """The trace of a forward that is running."""

    def __init__(self, module: nn.Module, parent: _RunningTrace | None) -> None:
        super().__init__(module)
        self.parent = parent
        self.within = {id(child): name for name, child in module.named_modules() if child is not module}
        self.owned = {id(tensor): (name, tensor) for name, tensor in reversed([*owned(module)])}
        self.known: Any = WeakIdKeyDictionary()
        """Tensor -> its node in this trace."""
        self.lifted: dict[str, Node] = {}
        """Input that is not an argument -> its node in the parent."""
        self.step = 0


def owned(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a module: parameters, buffers and plain tensors, under every name that they have."""
    for prefix, inner in module.named_modules(remove_duplicate=False):
        plain = {name: value for name, value in vars(inner).items() if isinstance(value, Tensor)}
        for name, tensor in {**inner._parameters, **inner._buffers, **plain}.items():
            if tensor is not None:
                yield f"{prefix}.{name}" if prefix else name, tensor


def trace(module: nn.Module, args: Sequence[Any], known: dict[int, Leaf | None] | None = None) -> Trace:
    """Run a module's forward and record it.

    Args:
        args: Arguments; those without tensors become constants of the trace.
        known: Id of a module -> what it is written as if it is a module of torch; filled here, so that further runs
            agree.

    Raises:
        TraceError: The forward depends on values, or calls something that cannot be written as source.
    """
    return _Tracer({} if known is None else known).run(module, args)


class _Tracer(TorchFunctionMode):
    def __init__(self, known: dict[int, Leaf | None]) -> None:
        super().__init__()
        self.leaf_modules = known
        self.alike: dict[Hashable, bool] = {}
        self.stack: list[_RunningTrace] = []
        self.ops: Any = WeakIdKeyDictionary()
        """Tensor of any trace -> the op of its node."""
        self.mutations: dict[int, list[Node]] = {}
        """Storage -> nodes that changed it in place."""
        self.clock = 0
        self.paused = False
        self.line = ""

    def run(self, module: nn.Module, args: Sequence[Any]) -> Trace:
        def call(child: nn.Module, *child_args: Any, **child_kwargs: Any) -> Any:
            if self.paused or not self.stack:
                return MODULE_CALL(child, *child_args, **child_kwargs)
            return self.call(child, child_args, child_kwargs)

        nn.Module.__call__ = call  # type: ignore[method-assign]
        try:
            with torch.no_grad(), names_heard(self._set_hint), self:
                return self._run(module, tuple(args), {}, None)[0]
        except TraceError as error:
            error.line = error.line or self.line
            raise
        finally:
            nn.Module.__call__ = MODULE_CALL  # type: ignore[method-assign]

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Calls within are not recorded."""
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
        trace, name = self.stack[-1], getattr(function, "__name__", "")
        tensors = list(tree_leaves((args, kwargs), Tensor))
        if torch.is_autocast_enabled("cpu"):
            raise TraceError("changes number types under autocast")
        if name in VALUE_READERS and any(self._lookup(tensor, trace).dynamic for tensor in tensors):
            raise TraceError("branches on the value of a tensor")
        versions = [*map(_version, tensors)]
        random = torch.get_rng_state()
        result = function(*args, **kwargs)
        changed = [tensor for tensor, version in zip(tensors, versions, strict=True) if _version(tensor) != version]
        if not changed and not any(True for _ in tree_leaves(result, Tensor)):
            return result
        node = function_node(function, self._nodes(args, trace), self._nodes(dict(kwargs), trace))
        node.random = not torch.equal(random, torch.get_rng_state())
        node.dynamic = node.random or any(one.dynamic for one in tree_leaves((node.args, node.kwargs), Node))
        self._append(node, trace)
        if changed:
            self._record_mutation(node, changed, result, trace)
            if node.op == "setitem" or result is not changed[0]:
                return result
        return self._record_result(node, result, trace, tensors if not changed else [])

    def _record_mutation(self, node: Node, changed: Sequence[Tensor], result: Any, trace: _RunningTrace) -> None:
        """Record that tensors were changed in place."""
        before = [self._lookup(tensor, trace) for tensor in changed]
        own_result = (
            len(changed) == 1 and result is changed[0] and (node.op == "call_module" or node.in_place_form is not None)
        )
        # in place the first argument's type stays, while the function that makes a new tensor would promote it
        types = {one.dtype for one in tree_leaves((node.args, node.kwargs), Node) if one.dtype is not None}
        if not own_result or len(types) > 1 or any(old.op in ("get_attr", "constant") for old in before):
            node.mutates_visibly = True
        for tensor in changed:
            self.mutations.setdefault(_storage(tensor), []).append(node)

    # --- modules ---------------------------------------------------------------------------------------------------

    def call(self, child: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The call of a module within a forward."""
        trace = self.stack[-1]
        with self.pause():
            self.line = running_line()
            name = self._name_of(child, trace)
            if type(child) is nn.Identity:
                return args[0]
            if name is None:  # created in the forward, or another module's: its calls become part of this trace
                pass
            elif self._leaf(child, args, kwargs) is not None:
                return self._leaf_call(child, name, args, kwargs)
        if name is None:
            return MODULE_CALL(child, *args, **kwargs)
        return self._traced_call(child, name, args, kwargs, trace)

    def _name_of(self, child: nn.Module, trace: _RunningTrace) -> str | None:
        if type(trace.module).forward is nn.Sequential.forward:
            names = [name for name, module in trace.module._modules.items() if module is child]
            trace.step += 1
            at_step = list(trace.module._modules)[trace.step - 1 : trace.step]
            if at_step and at_step[0] in names:
                return at_step[0]
        return trace.within.get(id(child))

    def _leaf(self, child: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Leaf | None:
        if id(child) not in self.leaf_modules:
            self.leaf_modules[id(child)] = leaf(child, args, kwargs, self.alike)
        return self.leaf_modules[id(child)]

    def _leaf_call(self, child: nn.Module, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        trace = self.stack[-1]
        node = Node("call_module", name, self._nodes(args, trace), self._nodes(dict(kwargs), trace), line=self.line)
        tensors = list(tree_leaves((args, kwargs), Tensor))
        versions = [*map(_version, tensors)]
        random = torch.get_rng_state()
        result = MODULE_CALL(child, *args, **kwargs)
        node.random = not torch.equal(random, torch.get_rng_state())
        changed = [tensor for tensor, version in zip(tensors, versions, strict=True) if _version(tensor) != version]
        self._append(node, trace)
        if changed:
            self._record_mutation(node, changed, result, trace)
        return self._record_result(node, result, trace, tensors if not changed else [])

    def _traced_call(
        self, child: nn.Module, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], trace: _RunningTrace
    ) -> Any:
        line = self.line
        inner, bound, result = self._run(child, args, dict(kwargs), trace)
        with self.pause():
            self.line = line
            if isinstance(inner.output, Node) and inner.output in inner.inputs.values() and not inner.mutates:
                return result  # it returns its argument
            node = Node("call_module", name, (), bound, line=line, trace=inner)
            self._append(node, trace)
            return self._record_result(node, result, trace, [*trace.known.keys()])

    def _run(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], parent: _RunningTrace | None
    ) -> tuple[Trace, dict[str, Any], Any]:
        """Run a forward.

        Returns:
            Its trace, its inputs as nodes of the parent, and what it returned.
        """
        with self.pause():
            trace = _RunningTrace(module, parent)
            parent_inputs: dict[str, Any] = {}
            args, kwargs = self._distinct((args, kwargs))
            for name, tree in _arguments(module, args, kwargs).items():
                if not any(True for _ in tree_leaves(tree, Tensor)):
                    continue
                trace.inputs[name] = Node("placeholder", name, number=self.clock)
                if parent is not None:
                    parent_inputs[name] = self._nodes(tree, parent)
                    trace.inputs[name].dynamic = any(node.dynamic for node in tree_leaves(parent_inputs[name], Node))
                itemise(tree, trace.inputs[name], lambda tensor, node: self._know(tensor, node, trace))
            self.clock += 1
        self.stack.append(trace)
        try:
            # a `__call__` of the class's own is part of the network; that of a child is recorded by its parent
            own = parent is None and type(module).__call__ is not nn.Module.__call__
            result = (type(module).__call__ if own else MODULE_CALL)(module, *args, **kwargs)
        finally:
            self.stack.pop()
        with self.pause():
            trace.output = self._nodes(result, trace)
            for name, node in trace.lifted.items():
                parent_inputs[name] = node
        return trace, parent_inputs, result

    # --- tensors and their nodes -----------------------------------------------------------------------------------

    def _nodes(self, tree: Any, trace: _RunningTrace) -> Any:
        return tree_map(tree, lambda tensor: self._lookup(tensor, trace))

    def _lookup(self, tensor: Tensor, trace: _RunningTrace) -> Node:
        """The node of a tensor that is read; marks earlier in-place changes of its storage as visible."""
        node = self._node(tensor, trace)
        for change in self.mutations.get(_storage(tensor), ()):
            if change.number > node.number:
                change.mutates_visibly = True
        return node

    def _node(self, tensor: Tensor, trace: _RunningTrace) -> Node:
        node: Node | None = trace.known.get(tensor)
        if node is not None:
            return node
        # a computed tensor may have become an attribute since
        computed = self.ops.get(tensor, "get_attr") not in ("get_attr", "constant")
        if id(tensor) in trace.owned and not computed:
            node = Node("get_attr", trace.owned[id(tensor)][0], number=-1)
        elif trace.parent is not None and self._knows(tensor, trace.parent):
            outer = self._node(tensor, trace.parent)
            wanted = (
                outer.target.rpartition(".")[2] if outer.op in ("get_attr", "placeholder") else outer.hint or "given"
            )
            used = {*trace.inputs, "self"}
            name = next(name for number in range(1, 9999) if (name := _numbered(wanted, number)) not in used)
            node = Node("placeholder", name, number=outer.number, dynamic=outer.dynamic)
            trace.inputs[name] = node
            trace.lifted[name] = outer
        elif id(tensor) in trace.owned:
            node = Node("get_attr", trace.owned[id(tensor)][0], number=-1)
        elif computed:
            raise TraceError("uses a tensor that another module computed and did not return")
        else:
            node = Node("constant", "", number=-1, line=self.line, value=tensor.detach().clone(), dynamic=False)
        self._know(tensor, node, trace)
        return node

    def _knows(self, tensor: Tensor, trace: _RunningTrace) -> bool:
        while True:
            if tensor in trace.known or id(tensor) in trace.owned:
                return True
            if trace.parent is None:
                return False
            trace = trace.parent

    def _know(self, tensor: Tensor, node: Node, trace: _RunningTrace) -> None:
        node.shape, node.dtype = tuple(tensor.shape), tensor.dtype
        if node.op in ("getitem", "get_attr", "constant") and trace.known.get(tensor) is not node:
            trace.nodes.append(node)
        trace.known[tensor] = node
        self.ops[tensor] = node.op

    def _append(self, node: Node, trace: _RunningTrace) -> None:
        self.clock += 1
        node.number = self.clock
        node.line = node.line or self.line
        trace.nodes.append(node)

    def _record_result(self, node: Node, result: Any, trace: _RunningTrace, before: Sequence[Tensor]) -> Any:
        """Map the tensors of a result to items of its node; a tensor that existed before is returned as an alias."""
        existing = {id(tensor) for tensor in before}
        if any(id(tensor) in existing for tensor in tree_leaves(result, Tensor)):
            result = tree_rebuild(result, lambda tensor: tensor.detach() if id(tensor) in existing else tensor)
        itemise(result, node, lambda tensor, item: self._know(tensor, item, trace))
        return result

    def _distinct(self, tree: Any) -> Any:
        """A tree in which no tensor occurs twice, so that each argument has a name."""
        seen: set[int] = set()

        def alias(tensor: Tensor) -> Tensor:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                return tensor
            again = tensor.detach()
            if self.stack:
                self.stack[-1].known[again] = self._node(tensor, self.stack[-1])
            return again

        ids = [id(tensor) for tensor in tree_leaves(tree, Tensor)]
        return tree if len(ids) == len({*ids}) else tree_rebuild(tree, alias)

    def _set_hint(self, value: Any, name: str) -> None:
        if self.stack and isinstance(value, Tensor):
            node = self.stack[-1].known.get(value)
            if node is not None and node.hint is None:
                node.hint = name


def _arguments(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameter of a forward -> its argument."""
    try:
        signature = inspect.signature(module.forward)
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError:  # hooks may change them, or the forward itself reports what is wrong
        return MappingProxyType({f"x_{index}": value for index, value in enumerate(args)} | dict(kwargs))
    arguments: dict[str, Any] = {}
    for name, value in bound.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:  # one by one: a written forward has no stars
            arguments |= {f"{name}_{index}": one for index, one in enumerate(value)}
        else:
            arguments |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return arguments


def _storage(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse ones have none
        return id(tensor)


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; 0 for tensors of inference mode, which do not count it."""
    return 0 if tensor.is_inference() else int(tensor._version)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"
