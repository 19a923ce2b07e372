"""The genotype of a pair of cells, in the notation of DARTS.

Liu, Simonyan & Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, https://arxiv.org/abs/1806.09055. The text
is that of its published results, `Genotype(normal=[('sep_conv_3x3', 1), …], normal_concat=range(2, 6), …)`: two
(operation, source) pairs for each node, where sources 0 and 1 are the outputs of the cell before last and of the last
cell, and 2, 3 … the nodes in their order.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple, TypeAlias

from nas.errors import UsageError
from nas.space import graph as pictures

GenotypeEdge: TypeAlias = tuple[str, int]
"""(operation, source)."""

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")


class Genotype(NamedTuple):
    """A normal and a reduction cell.

    Args:
        normal, reduce: Two edges for each node, node after node.
        normal_concat, reduce_concat: States, from 0, whose concatenation is the output of the cell.
    """

    normal: tuple[GenotypeEdge, ...]
    normal_concat: tuple[int, ...]
    reduce: tuple[GenotypeEdge, ...]
    reduce_concat: tuple[int, ...]

    def __str__(self) -> str:
        fields = (f"{name}={_text(value)}" for name, value in zip(FIELDS, self, strict=True))
        return f"Genotype({', '.join(fields)})"


def parse(text: str, name: str = "arch") -> Genotype:
    """Read the text of a genotype, without executing any of it.

    Args:
        name: Setting that holds the text, for messages.

    Raises:
        UsageError: It is not a genotype, or no network can be built from it.
    """
    shape = (
        "Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=range(2, 6), reduce=[…], reduce_concat=range(2, 6))"
    )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "Genotype"):
            raise ValueError
        given = dict(zip(FIELDS, tree.args, strict=False)) | {str(word.arg): word.value for word in tree.keywords}
        if sorted(given) != sorted(FIELDS):
            raise ValueError
        values = {key: _value(node) for key, node in given.items()}
        cells = {key: tuple((str(op), int(source)) for op, source in values[key]) for key in ("normal", "reduce")}
        ends = {key: tuple(int(state) for state in values[key]) for key in ("normal_concat", "reduce_concat")}
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise UsageError(f"{name}={text!r} is not a genotype; expected text like {shape!r}") from None
    genotype = Genotype(cells["normal"], ends["normal_concat"], cells["reduce"], ends["reduce_concat"])
    check(genotype, name)
    return genotype


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        bounds = [ast.literal_eval(argument) for argument in node.args]
        if node.keywords or not 1 <= len(bounds) <= 2 or not all(-100 < bound < 100 for bound in bounds):
            raise ValueError
        return range(*bounds)
    return ast.literal_eval(node)


def check(genotype: Genotype, name: str = "arch") -> None:
    """Raise `UsageError` unless a network can be built: two edges per node, sources that exist, and an output."""
    for cell, edges, concat in (
        ("normal", genotype.normal, genotype.normal_concat),
        ("reduction", genotype.reduce, genotype.reduce_concat),
    ):
        if not edges or len(edges) % 2:
            raise UsageError(f"{name}: the {cell} cell has {len(edges)} edges; expected two for each node")
        for position, (operation, source) in enumerate(edges):
            node = 2 + position // 2
            if not 0 <= source < node:
                raise UsageError(
                    f"{name}: ({operation!r}, {source}) of node {node} of the {cell} cell; expected a source of "
                    f"0 to {node - 1}"
                )
        states = 2 + len(edges) // 2
        if not concat or len(set(concat)) != len(concat) or not all(0 <= state < states for state in concat):
            raise UsageError(
                f"{name}: the {cell} cell concatenates {list(concat)}; expected distinct states from 0 to {states - 1}"
            )


def graphs(genotype: Genotype) -> dict[str, pictures.Graph]:
    """Its cells for pictures: inputs c(k-2) and c(k-1), the nodes by their number, and the concatenation c(k)."""
    cells = {}
    for name, edges, concat in (
        ("normal", genotype.normal, genotype.normal_concat),
        ("reduction", genotype.reduce, genotype.reduce_concat),
    ):
        states = ["c(k-2)", "c(k-1)", *(str(node) for node in range(2, 2 + len(edges) // 2))]
        drawn = [
            pictures.Edge(states[source], states[2 + position // 2], operation)
            for position, (operation, source) in enumerate(edges)
        ]
        drawn += [pictures.Edge(states[state], "c(k)") for state in concat]
        cells[name] = pictures.Graph([*states, "c(k)"], drawn, inputs=states[:2], outputs=["c(k)"])
    return cells


def looks_like(text: str) -> str | None:
    """The notation of a text, for the message of a space that cannot read it."""
    if text.lstrip().startswith("Genotype("):
        return "a Genotype of the DARTS or NASNet space"
    if text.lstrip().startswith("|"):
        return "a NAS-Bench-201 string"
    return None


def loose_ends(edges: Sequence[GenotypeEdge]) -> tuple[int, ...]:
    """The nodes of a cell that no other node uses."""
    used = {source for _, source in edges}
    return tuple(state for state in range(2, 2 + len(edges) // 2) if state not in used)


def canonical_cell(edges: Sequence[GenotypeEdge], concat: Sequence[int]) -> str:
    """A key that is equal for two cells that differ in the order of a node's inputs, or in the numbering of nodes.

    The concatenation then has another order, which the 1x1 convolution (or the classifier) after it compensates.
    It is the least text over all numberings in which every node follows its sources: nodes, and not only their
    formulas, count, since two nodes of equal formula carry weights of their own.
    """
    nodes = [tuple(edges[start : start + 2]) for start in range(0, len(edges), 2)]
    return min(_numbered(nodes, concat, order) for order in _orders(nodes))


def _orders(nodes: Sequence[tuple[GenotypeEdge, ...]]) -> Iterator[tuple[int, ...]]:
    """All orders of the nodes in which each comes after those it uses."""
    for order in permutations(range(len(nodes))):
        positions = {node: position for position, node in enumerate(order)}
        if all(positions[source - 2] < positions[node] for node in order for _, source in nodes[node] if source >= 2):
            yield order


def _numbered(nodes: Sequence[tuple[GenotypeEdge, ...]], concat: Sequence[int], order: tuple[int, ...]) -> str:
    names = {0: 0, 1: 1} | {2 + node: 2 + position for position, node in enumerate(order)}
    written = ["+".join(sorted(f"{operation}({names[source]})" for operation, source in nodes[node])) for node in order]
    return f"{' '.join(written)} > {','.join(map(str, sorted(names[state] for state in concat)))}"


def _text(value: tuple[Any, ...]) -> str:
    numbers = all(isinstance(item, int) for item in value)
    if numbers and value == tuple(range(value[0], value[-1] + 1)):
        return f"range({value[0]}, {value[-1] + 1})"
    return str(list(value))


def _pairs(*edges: str) -> tuple[GenotypeEdge, ...]:
    """`sep_conv_3x3 1` is ('sep_conv_3x3', 1)."""
    return tuple((operation, int(source)) for operation, source in (edge.split() for edge in edges))


DARTS_V1 = Genotype(
    normal=_pairs(
        "sep_conv_3x3 1", "sep_conv_3x3 0", "skip_connect 0", "sep_conv_3x3 1",
        "skip_connect 0", "sep_conv_3x3 1", "sep_conv_3x3 0", "skip_connect 2",
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=_pairs(
        "max_pool_3x3 0", "max_pool_3x3 1", "skip_connect 2", "max_pool_3x3 0",
        "max_pool_3x3 0", "skip_connect 2", "skip_connect 2", "avg_pool_3x3 0",
    ),
    reduce_concat=(2, 3, 4, 5),
)  # fmt: skip
"""First order (Liu et al., ICLR 2019)."""

DARTS_V2 = Genotype(
    normal=_pairs(
        "sep_conv_3x3 0", "sep_conv_3x3 1", "sep_conv_3x3 0", "sep_conv_3x3 1",
        "sep_conv_3x3 1", "skip_connect 0", "skip_connect 0", "dil_conv_3x3 2",
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=_pairs(
        "max_pool_3x3 0", "max_pool_3x3 1", "skip_connect 2", "max_pool_3x3 1",
        "max_pool_3x3 0", "skip_connect 2", "skip_connect 2", "max_pool_3x3 1",
    ),
    reduce_concat=(2, 3, 4, 5),
)  # fmt: skip
"""Second order (Liu et al., ICLR 2019)."""

NASNET_A = Genotype(
    normal=_pairs(
        "sep_conv_5x5 1", "sep_conv_3x3 0", "sep_conv_5x5 0", "sep_conv_3x3 0", "avg_pool_3x3 1",
        "skip_connect 0", "avg_pool_3x3 0", "avg_pool_3x3 0", "sep_conv_3x3 1", "skip_connect 1",
    ),
    normal_concat=(2, 3, 4, 5, 6),
    reduce=_pairs(
        "sep_conv_5x5 1", "sep_conv_7x7 0", "max_pool_3x3 1", "sep_conv_7x7 0", "avg_pool_3x3 1",
        "sep_conv_5x5 0", "skip_connect 3", "avg_pool_3x3 2", "sep_conv_3x3 2", "max_pool_3x3 1",
    ),
    reduce_concat=(4, 5, 6),
)  # fmt: skip
"""Zoph, Vasudevan, Shlens & Le, CVPR 2018, https://arxiv.org/abs/1707.07012, figure 4."""

AMOEBANET_A = Genotype(
    normal=_pairs(
        "avg_pool_3x3 0", "max_pool_3x3 1", "sep_conv_3x3 0", "sep_conv_5x5 2", "sep_conv_3x3 0",
        "avg_pool_3x3 3", "sep_conv_3x3 1", "skip_connect 1", "skip_connect 0", "avg_pool_3x3 1",
    ),
    normal_concat=(4, 5, 6),
    reduce=_pairs(
        "avg_pool_3x3 0", "sep_conv_3x3 1", "max_pool_3x3 0", "sep_conv_7x7 2", "sep_conv_7x7 0",
        "avg_pool_3x3 1", "max_pool_3x3 0", "max_pool_3x3 1", "conv_7x1_1x7 0", "sep_conv_3x3 5",
    ),
    reduce_concat=(3, 4, 6),
)  # fmt: skip
"""Real, Aggarwal, Huang & Le, AAAI 2019, https://arxiv.org/abs/1802.01548, figure 5."""


def edges_of(genotype: Genotype, cell: str) -> tuple[GenotypeEdge, ...]:
    """Edges of the `normal` or the `reduce` cell."""
    return genotype.normal if cell == "normal" else genotype.reduce


def read(text: str, published: Mapping[str, str], operations: Sequence[str], nodes: int, space: str) -> Genotype:
    """The genotype of a text or of a published name, with the nodes and operations of a space.

    Raises:
        UsageError: It is not of this space.
    """
    whose = looks_like(text)
    if whose is not None and "Genotype" not in whose:
        raise UsageError(f"arch={text!r} is {whose}; expected a Genotype of the {space} space")
    if re.fullmatch(r"[\w-]+", text.strip()) and text.strip() not in published:
        raise UsageError(
            f"arch={text!r} is not a published cell of the {space} space; expected {' or '.join(published)}, or the "
            "text of a Genotype"
        )
    genotype = parse(published.get(text.strip(), text))
    check_operations(genotype, operations, nodes, space)
    return genotype


def check_operations(genotype: Genotype, operations: Sequence[str], nodes: int, space: str, name: str = "arch") -> None:
    """Raise `UsageError` unless both cells have this number of nodes and only operations of a space."""
    for cell, edges in (("normal", genotype.normal), ("reduction", genotype.reduce)):
        if len(edges) != 2 * nodes:
            raise UsageError(
                f"{name}: the {cell} cell has {len(edges) // 2} nodes; cells of the {space} space have {nodes} "
                "(4 in space=darts, 5 in space=nasnet)"
            )
        for operation, _ in edges:
            if operation not in operations:
                raise UsageError(
                    f"{name}: {operation!r} in the {cell} cell is not an operation of the {space} space; expected one "
                    f"of {', '.join(operations)}"
                )
