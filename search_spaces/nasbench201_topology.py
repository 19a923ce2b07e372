"""The graph of a NAS-Bench-201 cell, and the operations on its edges."""

from __future__ import annotations

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) in the order of the official string: by target, then by source."""
NODES = 4
CELL = "cell"
"""Name of the one set of probabilities."""
CONVOLUTIONS = {OPERATIONS.index("nor_conv_1x1"): 1, OPERATIONS.index("nor_conv_3x3"): 3}
