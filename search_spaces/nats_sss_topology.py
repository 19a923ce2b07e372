"""The layers of a network of the NATS-Bench size space, and the edges of its cell."""

from __future__ import annotations

from nas.space.decisions import Integer

LAYERS = ("stem", "block_1", "cell_2", "block_2", "cell_3")
"""The first cell has the channels of the stem; the blocks are the residual ones between the stages."""
CHANNELS = Integer(8, 64, step=8)
SIZES = "channels"
"""Name of the one set of probabilities."""
CONVOLUTIONS = ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3))
"""The edges of the cell that are 3x3 convolutions; that from 0 to 3 is the skip connection."""
