"""The DARTS cell space.

Liu, Simonyan & Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, https://arxiv.org/abs/1806.09055, sections
2.1 and 3.1.1.

A normal and a reduction cell of 4 nodes. Each node is the sum of two operations on two different earlier states; the
output is the concatenation of the nodes. The pair of inputs is one decision, so that every product of decisions is a
cell: 1.08e18 of them. The supernet has 7 operations and `none` on all 14 edges of a cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nas.core import Architecture, Task
from nas.errors import UsageError
from nas.space.graph import Graph
from nas.supernets.base import SupernetSpace
from search_spaces.cells import SIZES, SMALL_SIZES, Network, Operations, check_sizes
from search_spaces.darts_topology import CELLS, EDGES, NODES, OPERATIONS, PAIRS, SUPERNET_OPERATIONS
from search_spaces.genotype import (
    DARTS_V1,
    DARTS_V2,
    Genotype,
    canonical_cell,
    edges_of,
    graphs,
    read,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


def _choices() -> dict[str, tuple[str, ...]]:
    choices: dict[str, tuple[str, ...]] = {}
    for cell in CELLS:
        for node, pairs in enumerate(PAIRS, start=2):
            choices[f"{cell}_{node}_inputs"] = tuple(f"{first},{second}" for first, second in pairs)
            choices[f"{cell}_{node}_first"] = choices[f"{cell}_{node}_second"] = OPERATIONS
    return choices


class DARTS(SupernetSpace):
    """Two cells x 4 nodes x (a pair of inputs, two of 7 operations).

    Args:
        channels: Channels of the first cells' nodes, at least 2 (published: 36).
        cells: Cells of the network, the two reductions included, at least 3 (published: 20).
        auxiliary: Add an auxiliary head for training.
    """

    choices = MappingProxyType(_choices())
    network_sizes = SIZES
    small_network = SMALL_SIZES
    search_network = MappingProxyType({"channels": 16, "cells": 8})
    published = MappingProxyType({"DARTS_V1": str(DARTS_V1), "DARTS_V2": str(DARTS_V2)})
    alpha_shapes = MappingProxyType({cell: (len(EDGES), len(SUPERNET_OPERATIONS)) for cell in CELLS})
    operations = MappingProxyType(dict.fromkeys(CELLS, SUPERNET_OPERATIONS))
    targets = MappingProxyType(dict.fromkeys(CELLS, tuple(target for _, target in EDGES)))
    supports_partial_channels = True

    def __init__(self, channels: int = 36, cells: int = 20, auxiliary: bool = False) -> None:
        self.channels, self.cells, self.auxiliary = channels, cells, auxiliary
        check_sizes("space", self._own())

    def build(
        self,
        architecture: Architecture,
        task: Task,
        network: Mapping[str, Any] | None = None,
        operations: Operations = "final",
    ) -> nn.Module:
        self.validate(architecture)
        return Network(genotype(architecture), task, **self._sizes(network or {}), operations=operations)

    def _own(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SIZES}

    def _sizes(self, network: Mapping[str, Any], key: str = "trainer.network") -> dict[str, Any]:
        sizes = self._own() | self.known_sizes(network, key=key)
        check_sizes(key, sizes)
        return sizes

    def to_text(self, architecture: Architecture) -> str:
        """The published text, `Genotype(normal=[('sep_conv_3x3', 0), …], …)`, with the sources of a node in order."""
        return str(genotype(architecture))

    def graphs(self, architecture: Architecture) -> dict[str, Graph]:
        return graphs(genotype(architecture))

    def from_text(self, text: str) -> Architecture:
        """Read a genotype, or the name of a published one: `DARTS_V1`, `DARTS_V2`.

        Raises:
            UsageError: The text is not of this space.
        """
        given = read(text, self.published, OPERATIONS, NODES, "DARTS")
        values: list[int] = []
        for cell, concat in zip(CELLS, (given.normal_concat, given.reduce_concat), strict=True):
            if set(concat) != set(range(2, 2 + NODES)):
                raise UsageError(
                    f"arch: {cell}_concat is {list(concat)}; cells of the DARTS space concatenate all their nodes"
                )
            edges = edges_of(given, cell)
            for node in range(NODES):
                pair = sorted(edges[2 * node : 2 * node + 2], key=lambda edge: edge[1])
                sources = tuple(source for _, source in pair)
                if sources not in PAIRS[node]:
                    raise UsageError(
                        f"arch: node {2 + node} of the {cell} cell has source {sources[0]} twice; expected two "
                        "different ones in the DARTS space"
                    )
                values += [PAIRS[node].index(sources), *(OPERATIONS.index(operation) for operation, _ in pair)]
        return tuple(values)

    def canonical(self, architecture: Architecture) -> str:
        """Invariant to the numbering of nodes; see `canonical_cell`."""
        return _canonical(tuple(architecture))

    # --- supernet ------------------------------------------------------------------------------------------------

    def supernet(self, task: Task, network: Mapping[str, Any] | None = None, partial_channels: int = 1) -> nn.Module:
        """See `SupernetSpace.supernet`; `partial_channels` divides `channels`."""
        from search_spaces.darts_supernet import Supernet

        sizes = self._sizes(network or {}, "supernet.network")
        if sizes.pop("auxiliary"):
            raise UsageError("supernet.network.auxiliary=true: a supernet has no auxiliary head; set it to false")
        return Supernet(task, **sizes, partial_channels=partial_channels)

    def relax(self, architecture: Architecture) -> dict[str, Tensor]:
        """Probabilities of an architecture: 1 for the operations of its edges, and for `none` on the others."""
        import torch

        self.validate(architecture)
        probs = {}
        for cell in CELLS:
            probs[cell] = torch.zeros(self.alpha_shapes[cell])
            chosen = {
                (source, 2 + position // 2): operation
                for position, (operation, source) in enumerate(edges_of(genotype(architecture), cell))
            }
            for row, edge in enumerate(EDGES):
                probs[cell][row, SUPERNET_OPERATIONS.index(chosen.get(edge, "none"))] = 1.0
        return probs

    def derive(self, probs: Mapping[str, Tensor]) -> Architecture:
        """The paper's rule (section 2.4): the likeliest operation of each edge except `none`, and the two edges
        into each node whose operation is likeliest, times the weight of the edge if it has one; first among equals."""
        from search_spaces.mixed import weighted_edges

        values: list[int] = []
        for cell in CELLS:
            strengths, best = weighted_edges(probs, cell)[:, 1:].detach().cpu().max(1)
            for node in range(NODES):
                rows = [row for row, (_, target) in enumerate(EDGES) if target == 2 + node]
                chosen = sorted(sorted(rows, key=lambda row: -strengths[row].item())[:2])
                sources = tuple(EDGES[row][0] for row in chosen)
                values += [PAIRS[node].index(sources), *(int(best[row]) for row in chosen)]
        return tuple(values)


def genotype(architecture: Architecture) -> Genotype:
    """The genotype of an architecture of the DARTS space."""
    cells = []
    for start in (0, 3 * NODES):
        edges = []
        for node in range(NODES):
            inputs, first, second = architecture[start + 3 * node : start + 3 * node + 3]
            sources = PAIRS[node][inputs]
            edges += [(OPERATIONS[first], sources[0]), (OPERATIONS[second], sources[1])]
        cells.append(tuple(edges))
    concat = tuple(range(2, 2 + NODES))
    return Genotype(cells[0], concat, cells[1], concat)


@lru_cache(maxsize=100_000)
def _canonical(architecture: Architecture) -> str:
    whole = genotype(architecture)
    cells = (canonical_cell(whole.normal, whole.normal_concat), canonical_cell(whole.reduce, whole.reduce_concat))
    return f"normal {cells[0]} | reduce {cells[1]}"
