"""Images and labels as tensors, and their split into a training and a validation part."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Labelled images in memory.

    Args:
        pixels: uint8, (N, C, H, W).
        labels: int64, (N,), 0 to classes - 1.
        mean, std: Per channel, of pixel values scaled to 0-1; for normalisation. Those of test images are replaced by
            those of the training images.
        mirror: Whether a mirrored image keeps its label (true of objects, not of digits).
    """

    pixels: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mirror: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Images:
        """The images at these positions."""
        return replace(self, pixels=self.pixels[index], labels=self.labels[index])

    def first(self, count: int | None) -> Images:
        """At most the first `count` images, all for None; those of a split hold the classes in equal shares."""
        if count is None or count >= len(self):
            return self
        return replace(self, pixels=self.pixels[:count], labels=self.labels[:count])

    def to(self, device: torch.device) -> Images:
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Split:
    """Training images split for search.

    Args:
        train, valid: Disjoint; any prefix of either holds the classes in nearly equal shares.
        hash: 16 hexadecimal digits over the images, labels and their order in both parts.
    """

    train: Images
    valid: Images
    hash: str

    def whole(self) -> Images:
        """Both parts together, for retraining."""
        return replace(
            self.train,
            pixels=torch.cat((self.train.pixels, self.valid.pixels)),
            labels=torch.cat((self.train.labels, self.valid.labels)),
        )


def stratified(labels: np.ndarray, share: float, salt: str) -> tuple[np.ndarray, np.ndarray]:
    """Split positions in two parts with equal shares of every class.

    The order comes from a hash of each position, not from a random generator, so it is the same under every version of
    every library.

    Args:
        labels: (N,) class of each position.
        share: Fraction of each class that goes into the first part, 0-1; both parts get one of each class at least.
        salt: Selects one of the possible orders.

    Returns:
        Two disjoint int64 arrays of positions. Each interleaves the classes, so that every prefix is balanced.
    """
    ranks = np.array(
        [
            int.from_bytes(hashlib.blake2b(f"{salt} {i}".encode(), digest_size=7).digest(), "big")
            for i in range(len(labels))
        ]
    )
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    positions: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(ranks[members], kind="stable")]
        cut = min(max(round(share * len(members)), 1), len(members) - 1)
        for side, chosen in enumerate((members[:cut], members[cut:])):
            parts[side].append(chosen)
            positions[side].append((np.arange(len(chosen)) + 0.5) / max(len(chosen), 1))
    first, second = (
        np.concatenate(part)[np.argsort(np.concatenate(position), kind="stable")]
        for part, position in zip(parts, positions, strict=True)
    )
    return first, second
