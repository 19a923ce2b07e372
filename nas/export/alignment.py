"""Merges traces of several batch sizes: numbers that depend on the batch become sizes of tensors.

A number that is equal in all traces is a constant of the network. One that differs must be computed from the size of a
tensor of the forward, in whichever dimension the batch is by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nas.export.trace import Node, Shape, Trace, TraceError, tree_map


@dataclass(frozen=True)
class _BatchNumber:
    """A number for each of the batch sizes."""

    values: tuple[float, ...]


def align(traces: Sequence[Trace]) -> Trace:
    """The first trace, changed so that it holds for any batch size.

    Args:
        traces: Traces of the same module, each with another batch size.

    Raises:
        TraceError: The traces do different things, or a number cannot be computed from the size of a tensor.
    """
    return _Alignment(traces).trace


class _Alignment:
    def __init__(self, traces: Sequence[Trace]) -> None:
        self.trace = traces[0]
        self.same: dict[int, tuple[Node, ...]] = {}
        self.shapes: dict[Node, tuple[Shape, ...]] = {}
        self.line = ""
        if any(trace.inputs.keys() != self.trace.inputs.keys() for trace in traces):
            raise self._differs()
        for group in zip(*(trace.inputs.values() for trace in traces), strict=True):
            self._pair(group)
        for group in zip(*(trace.nodes for trace in traces), strict=False):
            self._node(group)
        if len({len(trace.nodes) for trace in traces}) > 1:
            raise self._differs()
        self.trace.output = self._sized(self._merged([trace.output for trace in traces]), len(self.trace.nodes), None)

    def _differs(self) -> TraceError:
        return TraceError("behaves differently for different numbers of images", self.line)

    def _pair(self, group: Sequence[Node]) -> None:
        self.same[id(group[0])] = tuple(group)
        if all(node.shape is not None for node in group):
            self.shapes[group[0]] = tuple(node.shape for node in group if node.shape is not None)

    def _node(self, group: Sequence[Node]) -> None:
        first = group[0]
        self.line = first.line
        if len({(node.op, node.target) for node in group}) > 1:
            raise self._differs()
        if first.op == "constant" and not all(_equal(first, node) for node in group):
            raise TraceError("computes a tensor in a way that cannot be traced", self.line)
        position = len(self.same)
        merged = self._merged([(node.args, dict(node.kwargs)) for node in group])
        args, kwargs = self._sized(merged, position, first)
        first.args, first.kwargs = args, kwargs
        if first.trace is not None:
            inner = [node.trace for node in group if node.trace is not None]
            align(inner)
        self._pair(group)

    def _merged(self, trees: Sequence[Any]) -> Any:
        """Trees of several runs as one, with `_BatchNumber` where numbers differ."""
        first = trees[0]
        if any(type(tree) is not type(first) for tree in trees):
            raise self._differs()
        if isinstance(first, Node):
            return self._same_node(trees)
        if isinstance(first, tuple | list):
            if len({len(tree) for tree in trees}) > 1:
                raise self._differs()
            return type(first)(self._merged(values) for values in zip(*trees, strict=True))
        if isinstance(first, dict):
            if any(tree.keys() != first.keys() for tree in trees):
                raise self._differs()
            return {key: self._merged([tree[key] for tree in trees]) for key in first}
        if isinstance(first, slice):
            return slice(*self._merged([(tree.start, tree.stop, tree.step) for tree in trees]))
        if all(tree == first or tree is first for tree in trees) or first != first:  # noqa: PLR0124
            return first
        if isinstance(first, int | float) and not isinstance(first, bool):
            return _BatchNumber(tuple(trees))
        raise self._differs()

    def _same_node(self, group: Sequence[Node]) -> Node:
        first = group[0]
        if id(first) in self.same:
            if tuple(map(id, self.same[id(first)])) != tuple(map(id, group)):
                raise self._differs()
        elif first.op == "getitem":  # an item of a nested tuple
            if any(node.args[1] != first.args[1] for node in group):
                raise self._differs()
            self._same_node([node.args[0] for node in group])
            self._pair(group)
        else:
            raise self._differs()
        return first

    def _sized(self, tree: Any, position: int, node: Node | None) -> Any:
        return tree_map(tree, lambda number: self._size(number.values, position, node), _BatchNumber)

    def _size(self, values: tuple[float, ...], position: int, node: Node | None) -> Node:
        """The node that computes a number that depends on the batch."""
        line = node.line if node is not None else self.line
        for fits in (_exactly, _linearly):
            for tensor, shapes in self._candidates(position):
                for dim in range(min(map(len, shapes))):
                    sizes = tuple(shape[dim] for shape in shapes)
                    if len({*sizes}) == len({*values}) > 1 and (terms := fits(values, sizes)) is not None:
                        return _written(Node("size", str(dim), (tensor,), line=line), terms)
        raise TraceError("computes a number from the number of images in a way that cannot be traced", line)

    def _candidates(self, position: int) -> Iterator[tuple[Node, tuple[Shape, ...]]]:
        """Tensors computed so far, the inputs first."""
        known = list(self.shapes.items())
        yield from ((node, shapes) for node, shapes in known if _is_input(node))
        yield from ((node, shapes) for node, shapes in known if not _is_input(node) and node.op != "get_attr")


def _is_input(node: Node) -> bool:
    return node.op == "placeholder" or (node.op == "getitem" and _is_input(node.args[0]))


def _equal(one: Node, other: Node) -> bool:
    assert one.value is not None
    assert other.value is not None
    return one.value.dtype == other.value.dtype and torch.equal(one.value, other.value)


def _exactly(values: Sequence[float], sizes: Sequence[int]) -> tuple[tuple[str, float], ...] | None:
    whole = all(isinstance(value, int) for value in values)
    return () if whole and tuple(values) == tuple(sizes) else None


def _linearly(values: Sequence[float], sizes: Sequence[int]) -> tuple[tuple[str, float], ...] | None:
    """Operators and numbers that compute a value from a size."""
    if all(isinstance(value, int) for value in values):
        ratios = {
            size // value if value and size % value == 0 else 0 for value, size in zip(values, sizes, strict=True)
        }
        if len(ratios) == 1 and (ratio := ratios.pop()) > 1:
            return (("//", ratio),)
        slope, rest = divmod(int(values[1] - values[0]), sizes[1] - sizes[0])
        offset = int(values[0]) - slope * sizes[0]
        if rest or slope == 0 or any(slope * s + offset != v for v, s in zip(values, sizes, strict=True)):
            return None
        return (*((("*", slope),) if slope != 1 else ()), *((("+", offset),) if offset else ()))
    for sign, makes in (("/", [v / s for v, s in zip(values, sizes, strict=True)]),
                        ("\\", [v * s for v, s in zip(values, sizes, strict=True)])):  # fmt: skip
        if max(makes) - min(makes) <= 1e-12 * max(map(abs, makes)):
            return (("*" if sign == "/" else "\\", makes[0]),)
    return None


def _written(size: Node, terms: Sequence[tuple[str, float]]) -> Node:
    expression = size
    for sign, number in terms:
        pair = (number, expression) if sign in ("*", "\\") else (expression, number)
        expression = Node("operator", "/" if sign == "\\" else sign, pair, line=size.line)
    return expression
