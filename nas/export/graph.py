"""The graph of a forward: its nodes, and trees of values such as tuples and dictionaries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Key: TypeAlias = int | str
Shape: TypeAlias = tuple[int, ...]


class TraceError(Exception):
    """A forward does what no straight line of calls can say.

    Args:
        reason: continues "its forward …".
        line: file and number of the line that does it.
    """

    def __init__(self, reason: str, line: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


@dataclass(eq=False)
class Node:
    """A value within a forward and how it is computed.

    Args:
        kind: `input`, `own` (a parameter or buffer), `constant`, `module`, `function`, `method`, `operator`, `unary`,
            `item`, `attribute`, `setitem` or `size`.
        target: name of the input, tensor, module, function as written (`F.relu`), method or attribute; sign of the
            operator; dimension of the size.
        args, kwargs: arguments; tensors among them are nodes.
        hint: name that the source should use.
        shape, dtype: of the tensor; None for other values.
        line: file and number of the line of the forward.
        number: position in the order of computation.
        frame: what a call of a module with its own class came to.
        literal: it changes an argument in place, and that is visible elsewhere, so that the source must do so too.
        dynamic: depends on inputs, parameters or random numbers.
        random: draws random numbers.
        value: of a constant.
        literally: kind, target and further keyword arguments with which it changes its first argument.
        length: number of elements of the tuple, list or dictionary that it is; None for a tensor.
    """

    kind: str
    target: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    hint: str | None = None
    shape: Shape | None = None
    dtype: torch.dtype | None = None
    line: str = ""
    number: int = 0
    frame: Frame | None = None
    literal: bool = False
    dynamic: bool = True
    random: bool = False
    value: Tensor | None = None
    literally: tuple[str, str, Mapping[str, Any]] | None = None
    length: int | None = None

    @property
    def mutates(self) -> bool:
        """Whether it changes a tensor in place, visibly beyond its own result."""
        return self.literal or (self.frame is not None and self.frame.mutates)


@dataclass(eq=False)
class Frame:
    """One call of a module's forward.

    Args:
        module: that is called.
        inputs: parameter -> its node, for parameters with tensors in them, in the order of the signature.
        nodes: in the order of computation, without inputs.
        output: tree of nodes.
    """

    module: nn.Module
    inputs: dict[str, Node] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    output: Any = None

    @property
    def mutates(self) -> bool:
        """Whether a change in place is visible beyond its own result."""
        return any(node.mutates for node in self.nodes)


def mapped(tree: Any, function: Callable[[Any], Any], leaf: type | tuple[type, ...] = Tensor) -> Any:
    """A tree of tuples, lists, dictionaries and slices with its leaves replaced."""
    if isinstance(tree, leaf):
        return function(tree)
    if isinstance(tree, tuple | list):
        values = [mapped(value, function, leaf) for value in tree]
        return values if isinstance(tree, list) else tuple(values)
    if isinstance(tree, Mapping):
        return {key: mapped(value, function, leaf) for key, value in tree.items()}
    if isinstance(tree, slice):
        return slice(*(mapped(end, function, leaf) for end in (tree.start, tree.stop, tree.step)))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type | Node):
        return {entry.name: mapped(getattr(tree, entry.name), function, leaf) for entry in dataclasses.fields(tree)}
    return tree


def leaves(tree: Any, kind: type[Any]) -> Iterator[Any]:
    """Leaves of a kind."""
    found: list[Any] = []
    mapped(tree, found.append, kind)
    return iter(found)


def itemised(tree: Any, node: Node, seen: Callable[[Tensor, Node], None]) -> None:
    """Name the tensors of a tree as items of a node."""
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
            if any(True for _ in leaves(value, Tensor)):
                item = Node("item", "", (node, key), line=node.line, number=node.number, dynamic=node.dynamic)
                itemised(value, item, seen)
