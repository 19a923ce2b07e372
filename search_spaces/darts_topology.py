"""The graph of a DARTS cell, and the operations on its edges."""

from __future__ import annotations

from itertools import combinations

OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
SUPERNET_OPERATIONS = ("none", *OPERATIONS)
"""Operations of the supernet's edges, in the published order."""
NODES = 4
CELLS = ("normal", "reduce")
PAIRS = tuple(tuple(combinations(range(2 + node), 2)) for node in range(NODES))
"""The possible pairs of sources of each node."""
EDGES = tuple((source, 2 + node) for node in range(NODES) for source in range(2 + node))
"""(source, target) of the supernet's edges, in the published order."""
