"""Where the parts of a cell's picture stand: nodes in columns from left to right, edges that touch nothing else.

Sugiyama, Tagawa & Toda, "Methods for Visual Understanding of Hierarchical System Structures", IEEE Transactions on
Systems, Man, and Cybernetics 11(2), 1981: ranks, an order within each rank with few crossings, then places. An edge's
label is a part of its own between the ranks, and an edge that passes a column holds a place there, so nothing overlaps.
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
"""Passes over the columns, after which nothing was seen to improve."""
STRAIGHT = 100.0
"""Weight of a segment of an edge that touches no node, where one that does has 1: bends are best near nodes."""


@dataclass(frozen=True)
class Part:
    """A node, the label of an edge, or the place where an edge passes a column.

    Args:
        kind: `node`, `label` or `pass`.
        name: of the node; empty for the others.
        edge: number of the edge; -1 for nodes.
        column: from 0.
    """

    kind: str
    name: str
    edge: int
    column: int


@dataclass(frozen=True)
class Layout:
    """Parts with their heights.

    Args:
        columns: the parts of each, from top to bottom.
        heights: of each part, downwards, in the unit of the sizes given.
        routes: for each edge the parts that it leads through, its nodes included.
    """

    columns: Sequence[Sequence[Part]]
    heights: Mapping[Part, float]
    routes: Sequence[Sequence[Part]]


def arranged(graph: Graph, sizes: Mapping[str, float]) -> Layout:
    """The layout of a graph.

    Args:
        sizes: the height that a part takes, its margin included, by its kind.
    """
    ranks = _ranks(graph)
    nodes = {name: Part("node", name, -1, 2 * rank) for name, rank in ranks.items()}
    routes = []
    for number, edge in enumerate(graph.edges):
        first, last = nodes[edge.source], nodes[edge.target]
        kinds = {last.column - 1: "label"} if edge.operation else {}
        between = [Part(kinds.get(c, "pass"), "", number, c) for c in range(first.column + 1, last.column)]
        routes.append([first, *between, last])
    parts = dict.fromkeys([*nodes.values(), *(part for route in routes for part in route)])
    columns = [[part for part in parts if part.column == place] for place in range(max(ranks.values()) * 2 + 1)]
    pairs = [(a, b) for route in routes for a, b in itertools.pairwise(route)]
    columns = _ordered(columns, pairs)
    return Layout(columns, _heights(columns, pairs, sizes), routes)


def _ranks(graph: Graph) -> dict[str, int]:
    """Longest way from an input; outputs stand last."""
    ranks = dict.fromkeys(graph.nodes, 0)
    for node in graph.nodes:
        ranks[node] = max((ranks[edge.source] + 1 for edge in graph.edges if edge.target == node), default=0)
    last = max(ranks.values())
    return ranks | {node: last for node in graph.outputs if not any(edge.source == node for edge in graph.edges)}


def _ordered(columns: list[list[Part]], pairs: Sequence[tuple[Part, Part]]) -> list[list[Part]]:
    """Parts of each column in an order with few crossings: by the mean place of their neighbours, to and fro."""
    before: dict[Part, list[Part]] = {}
    behind: dict[Part, list[Part]] = {}
    for a, b in pairs:
        before.setdefault(b, []).append(a)
        behind.setdefault(a, []).append(b)
    best, fewest = columns, _crossings(columns, pairs)
    for sweep in range(SWEEPS):
        columns = [list(column) for column in columns]
        forth = sweep % 2 == 0
        for place in range(1, len(columns)) if forth else range(len(columns) - 2, -1, -1):
            near = columns[place - 1 if forth else place + 1]
            where = {part: number / len(near) for number, part in enumerate(near)}
            own = {part: number / len(columns[place]) for number, part in enumerate(columns[place])}
            columns[place].sort(key=partial(_mean_place, before if forth else behind, where, own))
        found = _crossings(columns, pairs)
        if found < fewest:
            best, fewest = columns, found
    return best


def _mean_place(
    neighbours: Mapping[Part, Sequence[Part]], where: Mapping[Part, float], own: Mapping[Part, float], part: Part
) -> float:
    return fmean(where[other] for other in neighbours[part]) if part in neighbours else own[part]


def _crossings(columns: Sequence[Sequence[Part]], pairs: Sequence[tuple[Part, Part]]) -> int:
    where = {part: number for column in columns for number, part in enumerate(column)}
    total = 0
    for place in range(len(columns) - 1):
        ends = [(where[a], where[b]) for a, b in pairs if a.column == place]
        total += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(ends) for c, d in ends[:i])
    return total


def _heights(
    columns: Sequence[Sequence[Part]], pairs: Sequence[tuple[Part, Part]], sizes: Mapping[str, float]
) -> dict[Part, float]:
    """Heights that keep the order and the distances and bend the edges as little as that allows.

    A column is its first height and the gaps between its parts, each at least what the two need: least squares with
    bounds.
    """
    import scipy.optimize

    rows: dict[Part, list[int]] = {}
    lower: list[float] = []
    for column in columns:
        unknowns: list[int] = []
        for number, part in enumerate(column):
            gap = (sizes[part.kind] + sizes[column[number - 1].kind]) / 2 if number else -np.inf
            unknowns.append(len(lower))
            lower.append(gap)
            rows[part] = list(unknowns)
    matrix = np.zeros((len(pairs) + len(lower), len(lower)))
    for row, (a, b) in enumerate(pairs):
        weight = np.sqrt(1.0 if "node" in (a.kind, b.kind) else STRAIGHT)
        matrix[row, rows[a]] += weight
        matrix[row, rows[b]] -= weight
    # a little pull together, which also fixes what no edge does
    matrix[len(pairs) :] = 0.02 * np.eye(len(lower))
    bounds = (np.array(lower), np.full(len(lower), np.inf))
    found = scipy.optimize.lsq_linear(matrix, np.zeros(len(matrix)), bounds).x
    heights = {part: float(found[unknowns].sum()) for part, unknowns in rows.items()}
    top = min(heights[part] - sizes[part.kind] / 2 for part in heights)
    return {part: height - top for part, height in heights.items()}
