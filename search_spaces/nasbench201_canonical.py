"""The function classes of NAS-Bench-201 cells: which of them compute the same function."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import permutations, product
from typing import Any, TypeAlias

from nas.core import Architecture
from search_spaces.nasbench201_topology import CONVOLUTIONS, EDGES, OPERATIONS

Term: TypeAlias = tuple[Any, ...]
"""An addend: ("x",) the cell's input, ("pool", sum) or ("conv", kernel, edge, sum). A sum is a sorted tuple of them."""


@lru_cache(maxsize=5**6)
def canonical_form(architecture: Architecture) -> tuple[str, tuple[int, ...]]:
    """The cell as a formula in which only provable equalities are used.

    Skip connections are contracted, sums flattened and unordered, `none` and a pooling of nothing removed. A
    convolution of a dead input is kept: its normalisation still adds a learnable constant. A convolution that is used
    twice differs from two convolutions of the same input, which have weights of their own. The linearity of pooling is
    not used, so some equal cells have different keys.

    Returns:
        The key, and the edges of its convolutions in the order of its numbering: two cells with equal keys compute the
        same function when the convolutions at equal positions carry the same weights.
    """
    sums: list[tuple[Term, ...]] = [(("x",),), (), (), ()]
    plain: list[tuple[str, ...]] = [("x",), (), (), ()]  # the addends as text, convolutions without names
    shapes: list[dict[int, str]] = [{}, {}, {}, {}]  # edge -> text of each convolution that a node depends on
    for edge, (value, (source, target)) in enumerate(zip(architecture, EDGES, strict=True)):
        inputs = sums[source]
        if OPERATIONS[value] == "skip_connect":
            sums[target] += inputs
            plain[target] += plain[source]
        elif value in CONVOLUTIONS:
            shape = f"conv{CONVOLUTIONS[value]}#({'+'.join(sorted(plain[source])) or '0'})"
            sums[target] += (("conv", CONVOLUTIONS[value], edge, inputs),)
            plain[target] += (shape,)
            shapes[target][edge] = shape
        elif OPERATIONS[value] == "avg_pool_3x3" and inputs:
            sums[target] += (("pool", inputs),)
            plain[target] += (f"pool({'+'.join(sorted(plain[source]))})",)
        else:
            continue
        shapes[target] |= shapes[source]
    formula = sums[3]

    # Which edge carries a convolution does not matter, only which positions share one. Convolutions of unlike shape
    # cannot be confused, so only those of equal shape are renamed among each other, and the least text is the key.
    groups: dict[str, list[int]] = {}
    for edge, shape in sorted(shapes[3].items(), key=lambda item: (item[1], item[0])):
        groups.setdefault(shape, []).append(edge)
    orders = product(*(permutations(edges) for edges in groups.values()))
    candidates = (tuple(edge for group in order for edge in group) for order in orders)
    return min(
        (_write(formula, {edge: str(number) for number, edge in enumerate(edges)}), edges) for edges in candidates
    )


def _write(formula: tuple[Term, ...], names: Mapping[int, str]) -> str:
    """The formula as text, its addends sorted."""
    return "+".join(sorted(_write_term(term, names) for term in formula)) or "0"


def _write_term(term: Term, names: Mapping[int, str]) -> str:
    if term[0] == "x":
        return "x"
    if term[0] == "pool":
        return f"pool({_write(term[1], names)})"
    _, kernel, edge, inputs = term
    return f"conv{kernel}#{names[edge]}({_write(inputs, names)})"


def published_key(architecture: Architecture) -> str:
    """The paper's own rule for unique topologies; 6,466 over the 15,625 cells.

    An operation on a dead input is dead, dead addends are kept, skip connections are contracted, and convolutions have
    no identity. It merges cells that compute different functions (a convolution used twice and two convolutions), and
    keeps some equal ones apart (a contracted sum is not sorted again, so the count depends on how the signs sort: dead,
    composed, input). Only the test that holds this count relies on it.
    """
    nodes = ["x"]
    for target in range(1, 4):
        addends = []
        for value, (source, end) in zip(architecture, EDGES, strict=True):
            if end != target:
                continue
            if OPERATIONS[value] == "none" or nodes[source] == "#":
                addends.append("#")
            elif OPERATIONS[value] == "skip_connect":
                addends.append(nodes[source])
            else:
                addends.append(f"({nodes[source]})@{OPERATIONS[value]}")
        nodes.append("+".join(sorted(addends)))
    return nodes[3]
