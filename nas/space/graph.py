"""What a search space declares of its cells for pictures: nodes, and operations on the edges between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NOTHING = "none"
"""The operation of an edge that carries nothing, in every published space."""


@dataclass(frozen=True)
class Edge:
    """From one node to another.

    Args:
        source, target: names of nodes.
        operation: what is done on the way; empty: the value itself is handed on.
    """

    source: str
    target: str
    operation: str = ""


@dataclass(frozen=True)
class Graph:
    """A cell as a directed acyclic graph.

    Args:
        nodes: all of them, each behind those that it is computed from.
        edges: two nodes may have several in common.
        inputs, outputs: of the nodes.

    Raises:
        ValueError: an edge leads backwards, or to a node that is not there.
    """

    nodes: Sequence[str]
    edges: Sequence[Edge]
    inputs: Sequence[str]
    outputs: Sequence[str]

    def __post_init__(self) -> None:
        places = {node: place for place, node in enumerate(self.nodes)}
        for edge in self.edges:
            if not places.get(edge.source, len(places)) < places.get(edge.target, -1):
                raise ValueError(f"{edge} does not lead from a node to a later one")
        for node in (*self.inputs, *self.outputs):
            if node not in places:
                raise ValueError(f"{node!r} is not a node")

    def live(self) -> list[bool]:
        """For each edge whether something of an input reaches an output through it."""
        carrying = [edge for edge in self.edges if edge.operation != NOTHING]
        forth = _reached(self.inputs, ((edge.source, edge.target) for edge in carrying))
        back = _reached(self.outputs, ((edge.target, edge.source) for edge in reversed(carrying)))
        return [edge.operation != NOTHING and edge.source in forth and edge.target in back for edge in self.edges]


def _reached(starts: Iterable[str], steps: Iterable[tuple[str, str]]) -> set[str]:
    """Nodes reached from the starts.

    Args:
        steps: in such an order that a step comes behind those that lead to it.
    """
    reached = set(starts)
    for source, target in steps:
        if source in reached:
            reached.add(target)
    return reached
