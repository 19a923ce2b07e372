"""Features of pictures without a pretrained network: 8 x 8 pixels, and histograms of oriented gradients.

Dalal & Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005,
https://lear.inrialpes.fr/people/triggs/pubs/Dalal-cvpr05.pdf: cells of 8 x 8 pixels, unsigned angles. Differs from the
paper: pictures of 32 x 32 pixels, 8 bins, one normalisation over the whole picture instead of overlapping blocks.
"""

from __future__ import annotations

import numpy as np

POOLED, GRID, CELLS, BINS = 8, 32, 4, 8


def simple_features(pixels: np.ndarray) -> np.ndarray:
    """Features of pictures, float32 (N, C * 64 + 128).

    Args:
        pixels: uint8 (N, C, H, W), in memory or mapped.
    """
    scaled = pixels.astype(np.float32) / 255
    colours = _resized(scaled, POOLED).reshape(len(scaled), -1)
    return np.concatenate((colours, _gradients(_resized(scaled.mean(1), GRID))), axis=1)


def _gradients(grey: np.ndarray) -> np.ndarray:
    """Histograms of the directions of edges in each cell: (N, CELLS * CELLS * BINS) of (N, GRID, GRID)."""
    down, right = np.gradient(grey, axis=(1, 2))
    strength = np.hypot(down, right)
    turn = np.arctan2(down, right) / np.pi % 1.0
    bins = np.minimum((turn * BINS).astype(np.int64), BINS - 1)
    side = GRID // CELLS
    histograms = np.stack([np.where(bins == number, strength, 0.0) for number in range(BINS)], axis=-1)
    cells = histograms.reshape(len(grey), CELLS, side, CELLS, side, BINS).sum((2, 4)).reshape(len(grey), -1)
    result: np.ndarray = np.sqrt(cells / np.maximum(cells.sum(1, keepdims=True), 1e-6)).astype(np.float32)
    return result


def _resized(images: np.ndarray, side: int) -> np.ndarray:
    """Images (..., side, side): averaged where they shrink, repeated where they grow."""
    for axis in (-2, -1):
        length = images.shape[axis]
        starts = np.arange(side) * length // side
        if length > side:
            widths = np.diff(np.append(starts, length)).astype(np.float32)
            sums = np.add.reduceat(images, starts, axis=axis)
            images = sums / (widths[:, None] if axis == -2 else widths)
        else:
            images = np.take(images, starts, axis=axis)
    return images
