"""The graph of a cell, which a search space declares for pictures: nodes, and operations on the edges between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NOTHING = "none"
"""Operation of an edge whose output is zero, as the published spaces call it."""


@dataclass(frozen=True)
class Edge:
    """An edge from one node to another.

    Args:
        source, target: Names of the nodes.
        operation: Operation that is applied; empty if the value passes unchanged.
    """

    source: str
    target: str
    operation: str = ""


@dataclass(frozen=True)
class Graph:
    """A cell as a directed acyclic graph.

    Args:
        nodes: Names of all nodes, each after those that it is computed from.
        edges: Edges; there may be several between two nodes.
        inputs, outputs: Names of the nodes that are inputs and outputs.

    Raises:
        ValueError: An edge leads backwards, or to a node that does not exist.
    """

    nodes: Sequence[str]
    edges: Sequence[Edge]
    inputs: Sequence[str]
    outputs: Sequence[str]

    def __post_init__(self) -> None:
        positions = {node: position for position, node in enumerate(self.nodes)}
        for edge in self.edges:
            if not positions.get(edge.source, len(positions)) < positions.get(edge.target, -1):
                raise ValueError(f"{edge} does not lead from a node to a later one")
        for node in (*self.inputs, *self.outputs):
            if node not in positions:
                raise ValueError(f"{node!r} is not a node")

    def live(self) -> list[bool]:
        """For each edge, whether it lies on a path from an input to an output."""
        carrying = [edge for edge in self.edges if edge.operation != NOTHING]
        forward = _reached(self.inputs, ((edge.source, edge.target) for edge in carrying))
        backward = _reached(self.outputs, ((edge.target, edge.source) for edge in reversed(carrying)))
        return [edge.operation != NOTHING and edge.source in forward and edge.target in backward for edge in self.edges]


def _reached(starts: Iterable[str], steps: Iterable[tuple[str, str]]) -> set[str]:
    """The nodes that can be reached from the starts.

    Args:
        starts: Names of nodes.
        steps: Source and target of each step, in an order in which a step comes after those that lead to it.
    """
    reached = set(starts)
    for source, target in steps:
        if source in reached:
            reached.add(target)
    return reached
