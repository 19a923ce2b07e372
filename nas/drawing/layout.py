"""Layout of a cell's picture: nodes in columns from left to right, and edges that touch nothing else.

Sugiyama, Tagawa & Toda, "Methods for Visual Understanding of Hierarchical System Structures", IEEE Transactions on
Systems, Man, and Cybernetics 11(2), 1981: ranks, an order within each rank with few crossings, then positions. The
label of an edge is a vertex of its own between the ranks, and an edge that passes a column has a dummy vertex there, so
that nothing overlaps.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np

from nas.space.graph import Graph

SWEEPS = 24
"""Passes over the columns; more did not improve the order."""
INNER_SEGMENT_WEIGHT = 100.0
"""Weight of a segment of an edge that touches no node; one that does has weight 1, so that edges bend near nodes."""


@dataclass(frozen=True)
class Vertex:
    """A node, the label of an edge, or a dummy where an edge passes a column.

    Args:
        kind: `node`, `label` or `pass`.
        name: Name of the node; empty for the others.
        edge: Index of the edge; -1 for nodes.
        column: Index of the column.
    """

    kind: str
    name: str
    edge: int
    column: int


@dataclass(frozen=True)
class Layout:
    """Vertices with their heights.

    Args:
        columns: Vertices of each column, from top to bottom.
        heights: Height of the centre of each vertex, measured downwards, in the unit of the given sizes.
        routes: Vertices of each edge, its nodes included.
    """

    columns: Sequence[Sequence[Vertex]]
    heights: Mapping[Vertex, float]
    routes: Sequence[Sequence[Vertex]]


def arrange(graph: Graph, sizes: Mapping[str, float]) -> Layout:
    """The layout of a graph.

    Args:
        sizes: Kind of vertex -> its height with margin.
    """
    ranks = _ranks(graph)
    nodes = {name: Vertex("node", name, -1, 2 * rank) for name, rank in ranks.items()}
    routes = []
    for number, edge in enumerate(graph.edges):
        first, last = nodes[edge.source], nodes[edge.target]
        kinds = {last.column - 1: "label"} if edge.operation else {}
        between = [Vertex(kinds.get(c, "pass"), "", number, c) for c in range(first.column + 1, last.column)]
        routes.append([first, *between, last])
    vertices = dict.fromkeys([*nodes.values(), *(vertex for route in routes for vertex in route)])
    columns = [
        [vertex for vertex in vertices if vertex.column == index] for index in range(max(ranks.values()) * 2 + 1)
    ]
    pairs = [(a, b) for route in routes for a, b in itertools.pairwise(route)]
    columns = _ordered(columns, pairs)
    return Layout(columns, _heights(columns, pairs, sizes), routes)


def _ranks(graph: Graph) -> dict[str, int]:
    """Node -> length of the longest path from an input; outputs are last."""
    ranks = dict.fromkeys(graph.nodes, 0)
    for node in graph.nodes:
        ranks[node] = max((ranks[edge.source] + 1 for edge in graph.edges if edge.target == node), default=0)
    last = max(ranks.values())
    return ranks | {node: last for node in graph.outputs if not any(edge.source == node for edge in graph.edges)}


def _ordered(columns: list[list[Vertex]], pairs: Sequence[tuple[Vertex, Vertex]]) -> list[list[Vertex]]:
    """Vertices of each column in an order with few crossings: by the mean position of neighbours, back and forth."""
    before: dict[Vertex, list[Vertex]] = {}
    after: dict[Vertex, list[Vertex]] = {}
    for a, b in pairs:
        before.setdefault(b, []).append(a)
        after.setdefault(a, []).append(b)
    best, fewest = columns, _crossings(columns, pairs)
    for sweep in range(SWEEPS):
        columns = [list(column) for column in columns]
        forth = sweep % 2 == 0
        for index in range(1, len(columns)) if forth else range(len(columns) - 2, -1, -1):
            near = columns[index - 1 if forth else index + 1]
            positions = {vertex: number / len(near) for number, vertex in enumerate(near)}
            own = {vertex: number / len(columns[index]) for number, vertex in enumerate(columns[index])}
            columns[index].sort(key=partial(_mean_position, before if forth else after, positions, own))
        crossings = _crossings(columns, pairs)
        if crossings < fewest:
            best, fewest = columns, crossings
    return best


def _mean_position(
    neighbours: Mapping[Vertex, Sequence[Vertex]],
    positions: Mapping[Vertex, float],
    own: Mapping[Vertex, float],
    vertex: Vertex,
) -> float:
    return fmean(positions[other] for other in neighbours[vertex]) if vertex in neighbours else own[vertex]


def _crossings(columns: Sequence[Sequence[Vertex]], pairs: Sequence[tuple[Vertex, Vertex]]) -> int:
    positions = {vertex: number for column in columns for number, vertex in enumerate(column)}
    total = 0
    for index in range(len(columns) - 1):
        ends = [(positions[a], positions[b]) for a, b in pairs if a.column == index]
        total += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(ends) for c, d in ends[:i])
    return total


def _heights(
    columns: Sequence[Sequence[Vertex]], pairs: Sequence[tuple[Vertex, Vertex]], sizes: Mapping[str, float]
) -> dict[Vertex, float]:
    """Heights that keep the order and the distances and bend the edges as little as that allows.

    The unknowns of a column are its first height and the gaps between its vertices, each at least what the two need:
    least squares with bounds.
    """
    import scipy.optimize

    rows: dict[Vertex, list[int]] = {}
    lower: list[float] = []
    for column in columns:
        unknowns: list[int] = []
        for number, vertex in enumerate(column):
            gap = (sizes[vertex.kind] + sizes[column[number - 1].kind]) / 2 if number else -np.inf
            unknowns.append(len(lower))
            lower.append(gap)
            rows[vertex] = list(unknowns)
    matrix = np.zeros((len(pairs) + len(lower), len(lower)))
    for row, (a, b) in enumerate(pairs):
        weight = np.sqrt(1.0 if "node" in (a.kind, b.kind) else INNER_SEGMENT_WEIGHT)
        matrix[row, rows[a]] += weight
        matrix[row, rows[b]] -= weight
    # a slight contraction, which also determines what no edge does
    matrix[len(pairs) :] = 0.02 * np.eye(len(lower))
    bounds = (np.array(lower), np.full(len(lower), np.inf))
    solution = scipy.optimize.lsq_linear(matrix, np.zeros(len(matrix)), bounds).x
    heights = {vertex: float(solution[unknowns].sum()) for vertex, unknowns in rows.items()}
    top = min(heights[vertex] - sizes[vertex.kind] / 2 for vertex in heights)
    return {vertex: height - top for vertex, height in heights.items()}
