"""The NAS-Bench-101 cell space.

Ying, Klein, Christiansen, Real, Murphy & Hutter, "NAS-Bench-101: Towards Reproducible Neural Architecture Search", ICML
2019, https://arxiv.org/abs/1902.09635, section 2 and appendix S1.

A cell is a directed acyclic graph of at most 7 vertices and 9 edges; the vertices between input and output carry one of
3 operations. The skeleton is a 3x3 stem, three stacks of `cells` equal cells with `channels`, 2 and 4 times `channels`
filters, max-pooling between them, and a linear classifier.

Differs from the paper in the encoding, not in the cells: a matrix of 21 edges with 5 operations says nothing about
vertices that lie on no path, so most changes of it change no cell. Here the number of vertices is the first decision,
and each vertex must lie on a path from input to output. No two architectures that differ in one decision are the same
cell then, since they differ in the number of vertices, in that of edges, or in an operation. The edges that every
such cell has (into its first vertex, and out of its last) are not decisions.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property, lru_cache
from itertools import accumulate, combinations, product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.core import Architecture, Task
from nas.errors import UsageError
from nas.space.base import SearchSpace
from nas.space.decisions import Integer
from nas.space.graph import Edge, Graph
from nas.validation import whole_number

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import nn

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""In the order in which the benchmark numbers them, which its hash depends on."""
MAX_VERTICES, MAX_EDGES = 7, 9
INTERIOR = MAX_VERTICES - 2
"""Vertices that carry operations, numbered from 1; 0 is the input."""
OUTPUT = "output"


class Cell(NamedTuple):
    """A cell in which each vertex lies on a path from input to output.

    Attributes:
        operations: Index of the operation of each vertex between input and output.
        inputs: Sources of the vertices 1, 2 …, in order, the output last.
    """

    operations: tuple[int, ...]
    inputs: tuple[tuple[int, ...], ...]


def _choices() -> dict[str, Sequence[Any]]:
    choices: dict[str, Sequence[Any]] = {"vertices": Integer(2, MAX_VERTICES)}
    for vertex in range(1, INTERIOR + 1):
        choices[f"operation_{vertex}"] = OPERATIONS
        choices |= {f"{source}->{vertex}": ("0", "1") for source in range(vertex) if vertex > 1}
    return choices | {f"{source}->{OUTPUT}": ("0", "1") for source in range(INTERIOR)}


def _conditions() -> dict[str, dict[str, Sequence[int]]]:
    conditions: dict[str, dict[str, Sequence[int]]] = {}
    for vertex in range(1, INTERIOR + 1):
        there: dict[str, Sequence[int]] = {"vertices": range(vertex + 2, MAX_VERTICES + 1)}
        conditions[f"operation_{vertex}"] = there
        conditions |= {f"{source}->{vertex}": there for source in range(vertex) if vertex > 1}
    # the last vertex before the output always feeds it
    return conditions | {
        f"{source}->{OUTPUT}": {"vertices": range(source + 3, MAX_VERTICES + 1)} for source in range(INTERIOR)
    }


CHOICES = MappingProxyType(_choices())
POSITIONS = {decision: position for position, decision in enumerate(CHOICES)}


class NASBench101(SearchSpace):
    """423,624 cells, as 1,293,208 architectures: a cell may be written in several orders of its vertices.

    Args:
        channels: Filters of the first stack (benchmark: 128).
        cells: Cells in each of the three stacks (benchmark: 3).
    """

    choices = CHOICES
    conditions = MappingProxyType(_conditions())
    size_is_exact = True
    network_sizes = ("channels", "cells")
    small_network = MappingProxyType({"channels": 8, "cells": 1})
    published = MappingProxyType(
        {
            "NB101-best": "conv3x3:0+maxpool3x3:1+conv3x3:2+conv1x1:0+conv3x3:034+output:05",
            "NB101-Inception": "conv1x1:0+conv3x3:0+conv3x3:0+conv3x3:3+maxpool3x3:0+output:1245",
        }
    )

    def __init__(self, channels: int = 128, cells: int = 3) -> None:
        self.channels, self.cells = channels, cells
        self._check_sizes("space", {"channels": channels, "cells": cells})

    def build(self, architecture: Architecture, task: Task, network: Mapping[str, Any] | None = None) -> nn.Module:
        from search_spaces.nasbench101_network import Network  # torch: comparisons on a table start without it

        self.validate(architecture)
        sizes = {"channels": self.channels, "cells": self.cells} | self.known_sizes(network or {})
        self._check_sizes("trainer.network", sizes)
        operations, inputs = cell_of(architecture)
        return Network([OPERATIONS[value] for value in operations], inputs, task, **sizes)

    def _check_sizes(self, key: str, sizes: Mapping[str, Any]) -> None:
        # the output shares its channels among up to 5 vertices
        whole_number(f"{key}.channels", sizes["channels"], least=INTERIOR)
        whole_number(f"{key}.cells", sizes["cells"])

    def is_valid(self, architecture: Architecture) -> bool:
        """Whether each vertex lies on a path from input to output, and the edges are at most 9."""
        return is_cell(cell_of(architecture).inputs)

    @cached_property
    def size(self) -> int:
        """Number of architectures; the cells are fewer."""
        return _starts()[-1]

    def sample(self, rng: Generator) -> Architecture:
        """An architecture drawn uniformly from the valid ones."""
        starts = _starts()
        number = int(rng.integers(starts[-1]))
        interior = bisect_right(starts, number) - 1
        graph, labelling = divmod(number - starts[interior], len(OPERATIONS) ** interior)
        operations = tuple(labelling // len(OPERATIONS) ** place % len(OPERATIONS) for place in range(interior))
        return architecture_of(Cell(operations, graphs(interior + 2)[graph]))

    def architectures(self) -> Iterator[Architecture]:
        """Every valid architecture, those of fewer vertices first."""
        for vertices in range(2, MAX_VERTICES + 1):
            for inputs in graphs(vertices):
                for operations in product(range(len(OPERATIONS)), repeat=vertices - 2):
                    yield architecture_of(Cell(operations, inputs))

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """All valid architectures that differ in one decision, in a fixed order.

        With one vertex more, the new one takes the place of the last before the output. Any one vertex feeds it; if
        that is the one before it, it may feed the output as before or no longer.
        """
        cell = cell_of(architecture)
        for near in (*_relabelled(cell), *_rewired(cell), *_shrunk(cell), *_grown(cell)):
            if is_cell(near.inputs):
                yield architecture_of(near)

    def canonical(self, architecture: Architecture) -> str:
        """The hash by which the benchmark's table knows a cell; 423,624 over all. See `graph_hash`.

        As in the benchmark, cells count as equal that differ only in which vertices take the remainder when the
        channels of the output are shared.
        """
        return graph_hash(cell_of(architecture))

    def to_text(self, architecture: Architecture) -> str:
        """Each vertex with those that feed it, such as `conv3x3:0+maxpool3x3:01+output:02`; 0 is the input."""
        operations, inputs = cell_of(architecture)
        names = [*(OPERATIONS[value].partition("-")[0] for value in operations), OUTPUT]
        return "+".join(f"{name}:{''.join(map(str, sources))}" for name, sources in zip(names, inputs, strict=True))

    def from_text(self, text: str) -> Architecture:
        """Read a cell, or the name of a published one: `NB101-best` (by mean test accuracy), `NB101-Inception`.

        Vertices on no path from input to output are left out, as the benchmark does.

        Raises:
            UsageError: The text is not of this space.
        """
        text = self.published.get(text.strip(), text.strip())
        short = [name.partition("-")[0] for name in OPERATIONS]
        operations: list[str] = []
        inputs: list[list[int]] = []
        for part in text.split("+"):
            name, colon, sources = part.strip().partition(":")
            last = name.strip() == OUTPUT
            if not colon or (not last and name.strip() not in (*short, *OPERATIONS)):
                raise UsageError(
                    f"arch={text!r}: {part!r} is not a vertex of NAS-Bench-101; expected OPERATION:SOURCES such as "
                    f"conv1x1:02 with one of {', '.join((*short, OUTPUT))}"
                )
            known = range(len(inputs) + 1)
            if not sources.strip().isdecimal() or any(int(source) not in known for source in sources.strip()):
                raise UsageError(
                    f"arch={text!r}: {part!r} must name the vertices that feed it by their digits, out of "
                    f"{', '.join(map(str, known))}"
                )
            inputs.append(sorted({int(source) for source in sources.strip()}))
            operations.append(name.strip().partition("-")[0])
        if operations[-1] != OUTPUT or OUTPUT in operations[:-1]:
            raise UsageError(f"arch={text!r} must end in its one output, such as +{OUTPUT}:{len(inputs)}")
        return self._whole([short.index(name) for name in operations[:-1]], inputs, f"arch={text!r}")

    def from_matrix(self, matrix: Sequence[Sequence[int]], operations: Sequence[str]) -> Architecture:
        """The architecture of an entry of the benchmark's table.

        Args:
            matrix: Upper triangular, 1 for an edge from the vertex of the row to that of the column.
            operations: Name of each vertex, `input` first and `output` last.

        Raises:
            UsageError: It is not a cell of this space.
        """
        size = len(operations)
        if len(matrix) != size or any(len(row) != size for row in matrix) or size < 2:
            raise UsageError(f"matrix must be square with a row for each of the {size} operations, at least 2")
        if any(matrix[source][target] for target in range(size) for source in range(target, size)):
            raise UsageError("matrix must be upper triangular: an edge leads to a later vertex")
        for name in operations[1:-1]:
            if name not in OPERATIONS:
                raise UsageError(f"operations: {name!r} is not one of {', '.join(OPERATIONS)}")
        inputs = [[source for source in range(target) if matrix[source][target]] for target in range(1, size)]
        return self._whole([OPERATIONS.index(name) for name in operations[1:-1]], inputs, "matrix")

    def _whole(self, operations: Sequence[int], inputs: Sequence[Sequence[int]], what: str) -> Architecture:
        cell = pruned(operations, inputs)
        if cell is None:
            raise UsageError(f"{what}: no path leads from the input to the output")
        vertices, edges = len(cell.inputs) + 1, sum(map(len, cell.inputs))
        if vertices > MAX_VERTICES or edges > MAX_EDGES:
            raise UsageError(
                f"{what} has {vertices} vertices and {edges} edges, input and output included; NAS-Bench-101 has at "
                f"most {MAX_VERTICES} and {MAX_EDGES}"
            )
        return architecture_of(cell)

    def graphs(self, architecture: Architecture) -> dict[str, Graph]:
        operations, inputs = cell_of(architecture)
        nodes = ["input", *(f"{v} {OPERATIONS[o].partition('-')[0]}" for v, o in enumerate(operations, 1)), OUTPUT]
        edges = [
            Edge(nodes[source], nodes[target]) for target, sources in enumerate(inputs, start=1) for source in sources
        ]
        return {"cell": Graph(nodes, edges, inputs=nodes[:1], outputs=nodes[-1:])}


def cell_of(architecture: Architecture) -> Cell:
    """The cell of an architecture; decisions that do not matter are not read."""
    last = architecture[0]  # the last vertex before the output; 0: there is none
    operations = tuple(architecture[POSITIONS[f"operation_{vertex}"]] for vertex in range(1, last + 1))
    inputs: list[tuple[int, ...]] = [(0,)] if last else []
    for vertex in range(2, last + 1):
        inputs.append(tuple(s for s in range(vertex) if architecture[POSITIONS[f"{s}->{vertex}"]]))
    inputs.append((*(s for s in range(last) if architecture[POSITIONS[f"{s}->{OUTPUT}"]]), last))
    return Cell(operations, tuple(inputs))


def architecture_of(cell: Cell) -> Architecture:
    """The inverse of `cell_of`; decisions that do not matter are 0."""
    values = [0] * len(CHOICES)
    values[0] = last = len(cell.operations)
    for vertex, operation in enumerate(cell.operations, start=1):
        values[POSITIONS[f"operation_{vertex}"]] = operation
    for vertex, sources in enumerate(cell.inputs[1:-1], start=2):
        for source in sources:
            values[POSITIONS[f"{source}->{vertex}"]] = 1
    for source in cell.inputs[-1]:
        if source != last:
            values[POSITIONS[f"{source}->{OUTPUT}"]] = 1
    return tuple(values)


def is_cell(inputs: Sequence[Sequence[int]]) -> bool:
    """Whether every vertex is fed and feeds another, and the edges are at most 9."""
    fed = {source for sources in inputs for source in sources}
    return all(inputs) and len(fed) == len(inputs) and sum(map(len, inputs)) <= MAX_EDGES


def pruned(operations: Sequence[int], inputs: Sequence[Sequence[int]]) -> Cell | None:
    """The cell without the vertices that lie on no path from input to output; None if there is no path."""
    output = len(inputs)
    reached = {0}
    for vertex, sources in enumerate(inputs, start=1):
        if reached.intersection(sources):
            reached.add(vertex)
    used = {output}
    for vertex in range(output, 0, -1):
        if vertex in used:
            used.update(inputs[vertex - 1])
    live = sorted(reached & used)
    if 0 not in live or output not in live:
        return None
    numbers = {vertex: number for number, vertex in enumerate(live)}
    return Cell(
        tuple(operations[vertex - 1] for vertex in live[1:-1]),
        tuple(tuple(numbers[s] for s in sorted(inputs[vertex - 1]) if s in numbers) for vertex in live[1:]),
    )


def _relabelled(cell: Cell) -> Iterator[Cell]:
    """Cells with another operation of one vertex."""
    for position, own in enumerate(cell.operations):
        for other in range(len(OPERATIONS)):
            if other != own:
                operations = (*cell.operations[:position], other, *cell.operations[position + 1 :])
                yield cell._replace(operations=operations)


def _rewired(cell: Cell) -> Iterator[Cell]:
    """Cells with an edge more or less, apart from those that all cells have."""
    for position in range(1, len(cell.inputs)):
        output = position == len(cell.inputs) - 1
        for source in range(position if output else position + 1):
            sources = tuple(sorted({source}.symmetric_difference(cell.inputs[position])))
            yield cell._replace(inputs=(*cell.inputs[:position], sources, *cell.inputs[position + 1 :]))


def _shrunk(cell: Cell) -> Iterator[Cell]:
    """The cell without the last vertex before the output; the one before that then feeds the output."""
    last = len(cell.operations)
    if last:
        sources = (*(source for source in cell.inputs[-1] if source < last - 1), last - 1)
        yield Cell(cell.operations[:-1], (*cell.inputs[:-2], sources))


def _grown(cell: Cell) -> Iterator[Cell]:
    """Cells with another vertex before the output."""
    last = len(cell.operations)
    if last == INTERIOR:
        return
    for source in range(last + 1):
        for fed in (cell.inputs[-1], cell.inputs[-1][:-1]) if source == last else (cell.inputs[-1],):
            for operation in range(len(OPERATIONS)):
                inputs = (*cell.inputs[:-1], (source,), (*fed, last + 1))
                yield Cell((*cell.operations, operation), inputs)


@cache
def graphs(vertices: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """The `inputs` of every cell of so many vertices."""
    found: list[tuple[tuple[int, ...], ...]] = []

    def extend(inputs: tuple[tuple[int, ...], ...], edges: int) -> None:
        vertex = len(inputs) + 1
        if vertex == vertices:
            found.extend([inputs] if is_cell(inputs) else [])
            return
        following = vertices - 1 - vertex  # each has an input
        for count in range(1, min(vertex, MAX_EDGES - edges - following) + 1):
            for sources in combinations(range(vertex), count):
                extend((*inputs, sources), edges + count)

    extend((), 0)
    return tuple(found)


@cache
def _starts() -> tuple[int, ...]:
    """Number of architectures that have fewer than 2, 3 … vertices, and of all."""
    counts = (len(graphs(interior + 2)) * len(OPERATIONS) ** interior for interior in range(INTERIOR + 1))
    return tuple(accumulate(counts, initial=0))


@lru_cache(maxsize=100_000)
def graph_hash(cell: Cell) -> str:
    """A key that isomorphic cells share (appendix S1), as hexadecimal digits; the benchmark's table has the same.

    Each vertex starts with a hash of its numbers of outgoing and incoming edges and its operation; then, as often as
    there are vertices, it takes the hash of its sources' sorted hashes, its targets' sorted hashes and its own.
    """
    operations, inputs = cell
    sources = [(), *inputs]
    targets = [[target for target, given in enumerate(sources) if vertex in given] for vertex in range(len(sources))]
    labels = (-1, *operations, -2)
    hashes = [_md5(str((len(t), len(s), label))) for t, s, label in zip(targets, sources, labels, strict=True)]
    for _ in sources:
        hashes = [
            _md5("|".join(("".join(sorted(hashes[v] for v in s)), "".join(sorted(hashes[v] for v in t)), own)))
            for s, t, own in zip(sources, targets, hashes, strict=True)
        ]
    return _md5(str(sorted(hashes)))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
