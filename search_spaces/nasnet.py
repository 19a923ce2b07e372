"""The cell space of NASNet and AmoebaNet.

Zoph, Vasudevan, Shlens & Le, "Learning Transferable Architectures for Scalable Image Recognition", CVPR 2018,
https://arxiv.org/abs/1707.07012, section 3.1; Real, Aggarwal, Huang & Le, AAAI 2019, https://arxiv.org/abs/1802.01548.

A normal and a reduction cell of 5 nodes; each is the sum of two operations on any two earlier states, which may be the
same. The nodes that no other uses are concatenated.

Differs from the papers: the operations are those that their best cells, written as DARTS writes them, draw from
(AmoebaNet's, and the dilated 5x5 convolution of DARTS), and the skeleton is that of DARTS, with one output of the cell
for both cells that follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nas.core import Architecture, Task
from nas.errors import UsageError
from nas.space.base import SearchSpace
from nas.space.graph import Graph
from search_spaces.cells import SIZES, SMALL_SIZES, Network, check_sizes
from search_spaces.darts_topology import OPERATIONS as DARTS_OPERATIONS
from search_spaces.genotype import (
    AMOEBANET_A,
    NASNET_A,
    Genotype,
    canonical_cell,
    edges_of,
    graphs,
    loose_ends,
    read,
)

if TYPE_CHECKING:
    from torch import nn

OPERATIONS = (*DARTS_OPERATIONS, "sep_conv_7x7", "conv_7x1_1x7")
NODES = 5
CELLS = ("normal", "reduce")


def _choices() -> dict[str, tuple[str, ...]]:
    choices: dict[str, tuple[str, ...]] = {}
    for cell in CELLS:
        for node in range(2, 2 + NODES):
            sources = tuple(map(str, range(node)))
            for side in ("first", "second"):
                choices[f"{cell}_{node}_{side}_input"] = sources
                choices[f"{cell}_{node}_{side}"] = OPERATIONS
    return choices


class NASNet(SearchSpace):
    """Two cells x 5 nodes x two (input, one of 9 operations).

    Args:
        channels: Channels of the first cells' nodes, at least 2.
        cells: Cells of the network, the two reductions included, at least 3.
        auxiliary: Add an auxiliary head for training.
    """

    choices = MappingProxyType(_choices())
    network_sizes = SIZES
    small_network = SMALL_SIZES
    published = MappingProxyType({"NASNet-A": str(NASNET_A), "AmoebaNet-A": str(AMOEBANET_A)})

    def __init__(self, channels: int = 36, cells: int = 20, auxiliary: bool = False) -> None:
        self.channels, self.cells, self.auxiliary = channels, cells, auxiliary
        check_sizes("space", self._own())

    def build(self, architecture: Architecture, task: Task, network: Mapping[str, Any] | None = None) -> nn.Module:
        sizes = self._own() | self.known_sizes(network or {})
        check_sizes("trainer.network", sizes)
        self.validate(architecture)
        return Network(genotype(architecture), task, **sizes, operations="final")

    def _own(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SIZES}

    def to_text(self, architecture: Architecture) -> str:
        """The text of DARTS, `Genotype(normal=[('sep_conv_5x5', 1), …], …)`."""
        return str(genotype(architecture))

    def graphs(self, architecture: Architecture) -> dict[str, Graph]:
        return graphs(genotype(architecture))

    def from_text(self, text: str) -> Architecture:
        """Read a genotype, or the name of a published one: `NASNet-A`, `AmoebaNet-A`.

        Raises:
            UsageError: The text is not of this space.
        """
        given = read(text, self.published, OPERATIONS, NODES, "NASNet")
        values: list[int] = []
        for cell, concat in zip(CELLS, (given.normal_concat, given.reduce_concat), strict=True):
            edges = edges_of(given, cell)
            if set(concat) != set(loose_ends(edges)):
                raise UsageError(
                    f"arch: {cell}_concat is {list(concat)}; cells of the NASNet space concatenate the nodes that no "
                    f"other uses, here {list(loose_ends(edges))}"
                )
            for operation, source in edges:
                values += [source, OPERATIONS.index(operation)]
        return tuple(values)

    def canonical(self, architecture: Architecture) -> str:
        """Invariant to the order of a node's inputs and to the numbering of nodes; see `canonical_cell`."""
        return _canonical(tuple(architecture))


def genotype(architecture: Architecture) -> Genotype:
    """The genotype of an architecture of the NASNet space."""
    pairs = [
        (OPERATIONS[operation], source) for source, operation in zip(architecture[::2], architecture[1::2], strict=True)
    ]
    normal, reduce = tuple(pairs[: 2 * NODES]), tuple(pairs[2 * NODES :])
    return Genotype(normal, loose_ends(normal), reduce, loose_ends(reduce))


@lru_cache(maxsize=100_000)
def _canonical(architecture: Architecture) -> str:
    whole = genotype(architecture)
    cells = (canonical_cell(whole.normal, whole.normal_concat), canonical_cell(whole.reduce, whole.reduce_concat))
    return f"normal {cells[0]} | reduce {cells[1]}"
