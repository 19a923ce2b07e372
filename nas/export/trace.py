"""The trace of a forward: the nodes of one call of a module, named as in `torch.fx`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Shape: TypeAlias = tuple[int, ...]


class TraceError(Exception):
    """A forward cannot be traced.

    Args:
        reason: Completes the sentence "its forward …".
        line: File and number of the line that does it.
    """

    def __init__(self, reason: str, line: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


@dataclass(eq=False)
class Node:
    """A value within a forward and how it is computed.

    Args:
        op: `placeholder` (an input), `get_attr` (a parameter or buffer), `constant`, `call_module`, `call_function`,
            `call_method`, `operator`, `unary`, `getitem`, `setitem`, `getattr` (of a tensor) or `size`.
        target: Name of the input, tensor, module, function as written (`F.relu`), method or attribute; sign of the
            operator; dimension of the size.
        args, kwargs: Arguments; tensors among them are nodes.
        hint: Name that the source should use.
        shape, dtype: Shape and type of the tensor; None for other values.
        line: File and number of the line of the forward.
        number: Position in the order of computation.
        trace: Trace of a called module that is written as a class of its own.
        mutates_visibly: Whether it changes an argument in place and the change is seen elsewhere, so that the source
            must do so too.
        dynamic: Whether it depends on inputs, parameters or random numbers.
        random: Whether it draws random numbers.
        value: Tensor of a constant.
        in_place_form: Op, target and further keyword arguments with which it changes its first argument in place.
        length: Number of elements of the tuple, list or dictionary that it is; None for a tensor.
    """

    op: str
    target: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    hint: str | None = None
    shape: Shape | None = None
    dtype: torch.dtype | None = None
    line: str = ""
    number: int = 0
    trace: Trace | None = None
    mutates_visibly: bool = False
    dynamic: bool = True
    random: bool = False
    value: Tensor | None = None
    in_place_form: tuple[str, str, Mapping[str, Any]] | None = None
    length: int | None = None

    @property
    def mutates(self) -> bool:
        """Whether it changes a tensor in place, visibly beyond its own result."""
        return self.mutates_visibly or (self.trace is not None and self.trace.mutates)


@dataclass(eq=False)
class Trace:
    """One call of a module's forward.

    Args:
        module: Called module.
        inputs: Parameter -> its node, for parameters with tensors in them, in the order of the signature.
        nodes: Nodes in the order of computation, without the inputs.
        output: Tree of nodes.
    """

    module: nn.Module
    inputs: dict[str, Node] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    output: Any = None

    @property
    def mutates(self) -> bool:
        """Whether a change in place is visible beyond its own result."""
        return any(node.mutates for node in self.nodes)


def itemise(tree: Any, node: Node, seen: Callable[[Tensor, Node], None]) -> None:
    """Call `seen` with each tensor of a tree and the node of that item; the node itself where the tree is a tensor."""
    if isinstance(tree, Tensor):
        seen(tree, node)
        return
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        tree = {entry.name: getattr(tree, entry.name) for entry in dataclasses.fields(tree)}
    if isinstance(tree, tuple | list):
        tree = dict(enumerate(tree))
    if isinstance(tree, Mapping):
        node.length = len(tree)
        for key, value in tree.items():
            if any(True for _ in tree_leaves(value, Tensor)):
                item = Node("getitem", "", (node, key), line=node.line, number=node.number, dynamic=node.dynamic)
                itemise(value, item, seen)


def tree_map(tree: Any, function: Callable[[Any], Any], leaf: type | tuple[type, ...] = Tensor) -> Any:
    """A tree of tuples, lists, dictionaries, slices and dataclasses with its leaves replaced; plain types come out."""
    if isinstance(tree, leaf):
        return function(tree)
    if isinstance(tree, tuple | list):
        values = [tree_map(value, function, leaf) for value in tree]
        return values if isinstance(tree, list) else tuple(values)
    if isinstance(tree, Mapping):
        return {key: tree_map(value, function, leaf) for key, value in tree.items()}
    if isinstance(tree, slice):
        return slice(*(tree_map(end, function, leaf) for end in (tree.start, tree.stop, tree.step)))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type | Node):
        return {entry.name: tree_map(getattr(tree, entry.name), function, leaf) for entry in dataclasses.fields(tree)}
    return tree


def tree_leaves(tree: Any, kind: type[Any]) -> Iterator[Any]:
    """Leaves of a type."""
    leaves: list[Any] = []
    tree_map(tree, leaves.append, kind)
    return iter(leaves)


def tree_rebuild(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """A tree of the same types with its tensors replaced."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(tree_rebuild(value, function) for value in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(tree_rebuild(value, function) for value in tree)
    if isinstance(tree, dict):
        rebuilt = tree.copy()
        rebuilt.update({key: tree_rebuild(value, function) for key, value in tree.items()})
        return rebuilt
    return tree
