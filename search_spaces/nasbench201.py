"""The NAS-Bench-201 cell space.

Dong & Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020,
https://arxiv.org/abs/2001.00326, section 2.

A cell is the complete graph over 4 nodes; each of its 6 edges carries one of 5 operations, each node is the sum of
its incoming edges: 15,625 cells. The skeleton is a 3x3 stem, three stages of `cells` equal cells with `channels`, 2 and
4 times `channels` filters, residual blocks of stride 2 between them, and a linear classifier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations, pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nas.core import Architecture, Task
from nas.errors import UsageError
from nas.space.graph import Edge, Graph
from nas.supernets.base import SupernetSpace
from nas.validation import whole_number
from search_spaces.genotype import looks_like
from search_spaces.nasbench201_canonical import canonical_form
from search_spaces.nasbench201_topology import CELL, EDGES, NODES, OPERATIONS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from search_spaces.cells import Operations

PATHS = tuple(
    tuple(EDGES.index(step) for step in pairwise((0, *between, NODES - 1)))
    for count in range(NODES - 1)
    for between in combinations(range(1, NODES - 1), count)
)
"""The paths from the input of a cell to its output, as indices of their edges."""


class NASBench201(SupernetSpace):
    """6 edges x 5 operations.

    Args:
        channels: Filters of the first stage (benchmark: 16).
        cells: Cells in each of the three stages (benchmark: 5).
    """

    choices = MappingProxyType({f"{source}->{target}": OPERATIONS for source, target in EDGES})
    network_sizes = ("channels", "cells")
    small_network = MappingProxyType({"channels": 8, "cells": 1})
    search_network = MappingProxyType({"channels": 16, "cells": 5})
    alpha_shapes = MappingProxyType({CELL: (len(EDGES), len(OPERATIONS))})
    operations = MappingProxyType({CELL: OPERATIONS})
    targets = MappingProxyType({CELL: tuple(target for _, target in EDGES)})
    supports_partial_channels = True

    def __init__(self, channels: int = 16, cells: int = 5) -> None:
        whole_number("space.channels", channels)
        whole_number("space.cells", cells)
        self.channels = channels
        self.cells = cells

    def build(
        self,
        architecture: Architecture,
        task: Task,
        network: Mapping[str, Any] | None = None,
        operations: Operations = "final",
    ) -> nn.Module:
        from search_spaces.nasbench201_network import Network  # torch: comparisons on a table start without it

        self.validate(architecture)
        return Network(architecture, task, **self._sizes(network or {}), operations=operations)

    def _sizes(self, network: Mapping[str, Any], key: str = "trainer.network") -> dict[str, Any]:
        sizes = {"channels": self.channels, "cells": self.cells} | self.known_sizes(network, key=key)
        for name, value in sizes.items():
            whole_number(f"{key}.{name}", value)
        return sizes

    def to_text(self, architecture: Architecture) -> str:
        """The official string, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`."""
        return _text(architecture)

    def graphs(self, architecture: Architecture) -> dict[str, Graph]:
        names = [str(node) for node in range(NODES)]
        edges = [
            Edge(names[source], names[target], OPERATIONS[value])
            for value, (source, target) in zip(architecture, EDGES, strict=True)
        ]
        return {CELL: Graph(names, edges, inputs=names[:1], outputs=names[-1:])}

    def from_text(self, text: str) -> Architecture:
        """Read the official string.

        Raises:
            UsageError: The text is not of this space.
        """
        example = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
        nodes = [node.strip().strip("|").split("|") for node in text.strip().split("+")]
        if [len(node) for node in nodes] != [1, 2, 3]:
            whose = f" but {name}" if (name := looks_like(text)) and "Genotype" in name else ""
            raise UsageError(f"arch={text!r} is not a NAS-Bench-201 string{whose}; expected 3 nodes like {example!r}")
        values = []
        for node in nodes:
            for source, edge in enumerate(node):
                operation, _, origin = edge.partition("~")
                if operation not in OPERATIONS or origin != str(source):
                    raise UsageError(
                        f"arch={text!r}: {edge!r} is not an edge of NAS-Bench-201; "
                        f"expected OPERATION~{source} with one of {', '.join(OPERATIONS)}"
                    )
                values.append(OPERATIONS.index(operation))
        return tuple(values)

    def canonical(self, architecture: Architecture) -> str:
        """Key of the function class; 5,875 over the 15,625 cells. See `canonical_form`."""
        return canonical_form(architecture)[0]

    # --- supernet ------------------------------------------------------------------------------------------------

    def supernet(self, task: Task, network: Mapping[str, Any] | None = None, partial_channels: int = 1) -> nn.Module:
        """See `SupernetSpace.supernet`; `partial_channels` divides `channels`."""
        from search_spaces.nasbench201_supernet import Supernet

        return Supernet(task, **self._sizes(network or {}, "supernet.network"), partial_channels=partial_channels)

    def relax(self, architecture: Architecture) -> dict[str, Tensor]:
        """Probabilities of an architecture: 1 for the operation of each edge."""
        import torch
        import torch.nn.functional as F

        self.validate(architecture)
        return {CELL: F.one_hot(torch.tensor(architecture), len(OPERATIONS)).float()}

    def derive(self, probs: Mapping[str, Tensor]) -> Architecture:
        """The likeliest cell with a path from its input to its output; the first among equals.

        Differs from the benchmark's authors, who take the likeliest operation of each edge regardless: normalisation
        after `none` keeps a supernet from learning what `none` costs (Liu et al., section 2.4), so a search may favour
        it on every path through the cell. Where their cell is connected, both are the same.
        """
        import torch

        rows = probs[CELL].detach().cpu().double()
        likeliest = rows.argmax(1)
        if _connected(likeliest.tolist()):
            return tuple(likeliest.tolist())
        best = rows.clone()
        best[:, OPERATIONS.index("none")] = 0.0
        cells = []
        for path in PATHS:
            cell = likeliest.clone()
            for edge in path:
                cell[edge] = best[edge].argmax()
            cells.append(cell)
        chances = torch.stack([rows.gather(1, cell[:, None]).prod() for cell in cells])
        return tuple(cells[int(chances.argmax())].tolist()) if chances.max() > 0 else tuple(likeliest.tolist())


def _connected(architecture: Sequence[int]) -> bool:
    """Whether a path leads from the input of a cell to its output."""
    return any(all(OPERATIONS[architecture[edge]] != "none" for edge in path) for path in PATHS)


@lru_cache(maxsize=5**6)
def _text(architecture: Architecture) -> str:
    edges = [f"{OPERATIONS[value]}~{source}" for value, (source, _) in zip(architecture, EDGES, strict=True)]
    return "+".join(f"|{'|'.join(edges[start:stop])}|" for start, stop in ((0, 1), (1, 3), (3, 6)))
