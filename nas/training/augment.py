"""Batches computed on the device from uint8 images: crop, flip, cutout and normalisation in one pass over the batch.

Random numbers are drawn on the CPU for a whole epoch at once, so a seed gives the same images on every device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.images import Images


@dataclass(frozen=True)
class Draws:
    """An epoch's random numbers, one per image, in the order of the batches.

    Args:
        order: (N,) a permutation of the images.
        top, left: (N,) first row and column of the crop within the padded image.
        flip: (N,) whether the image is mirrored.
        cut_row, cut_column: (N,) centre of the cutout square.
    """

    order: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor
    cut_row: Tensor
    cut_column: Tensor


class Augmenter:
    """Training batches of a set of images.

    Args:
        images: Stored on their device as (N, H + 2 p, W + 2 p, C) uint8, so that a gathered batch is channels-last.
        crop: Padding p on each side as a fraction of the image's side, before a random crop back to its size.
        flip: Mirror half of the images at random, if the data set says that a mirrored image keeps its label.
        cutout: Side of the square that is set to the mean colour (DeVries & Taylor 2017,
            https://arxiv.org/abs/1708.04552), as a fraction of the image's side; 0 for none.
    """

    def __init__(self, images: Images, crop: float, flip: bool, cutout: float) -> None:
        _, _, self.height, self.width = images.pixels.shape
        self.padding = (round(crop * self.height), round(crop * self.width))
        self.flip = flip and images.mirror
        self.cutout = (round(cutout * self.height), round(cutout * self.width))
        vertical, horizontal = self.padding
        padded = F.pad(images.pixels, (horizontal, horizontal, vertical, vertical))
        self.pixels = padded.permute(0, 2, 3, 1).contiguous()
        self.labels = images.labels
        self.device = images.pixels.device
        self.scale, self.shift = normalisation(images)
        self.rows = torch.arange(self.height, device=self.device)
        self.columns = torch.arange(self.width, device=self.device)

    def __len__(self) -> int:
        return len(self.labels)

    def draw(self, generator: torch.Generator) -> Draws:
        """Random numbers for one epoch.

        Args:
            generator: A CPU generator.
        """
        count = len(self)

        def below(high: int) -> Tensor:
            return torch.randint(high, (count,), generator=generator).to(self.device)

        order = torch.randperm(count, generator=generator).to(self.device)
        top, left = (below(2 * padding + 1) for padding in self.padding)
        flip = below(2).bool() if self.flip else torch.zeros(count, dtype=torch.bool, device=self.device)
        cut_row, cut_column = below(self.height), below(self.width)
        return Draws(order, top, left, flip, cut_row, cut_column)

    def batch(self, draws: Draws, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Images `start` to `stop` of the epoch.

        Returns:
            float32 images (B, C, H, W) in channels-last memory, and labels (B,).
        """
        part = slice(start, stop)
        index = draws.order[part]
        columns = torch.where(draws.flip[part, None], self.columns.flip(0), self.columns)
        rows = self.rows + draws.top[part, None]
        columns = columns + draws.left[part, None]
        pixels = self.pixels[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        images = pixels.float().mul_(self.scale).add_(self.shift)
        if all(self.cutout):
            images = images.masked_fill_(self._cut(draws.cut_row[part], draws.cut_column[part]), 0.0)
        return images.permute(0, 3, 1, 2), self.labels[index]

    def _cut(self, row: Tensor, column: Tensor) -> Tensor:
        """(B, H, W, 1) mask of squares around the centres, clipped at the border as in the paper."""
        height, width = self.cutout
        down = self.rows - row[:, None] + height // 2
        right = self.columns - column[:, None] + width // 2
        inside_rows, inside_columns = (down >= 0) & (down < height), (right >= 0) & (right < width)
        return (inside_rows[:, :, None] & inside_columns[:, None, :])[..., None]


def normalisation(images: Images) -> tuple[Tensor, Tensor]:
    """Scale and shift, (C,) each, that map a pixel value 0-255 to its normalised value."""
    device = images.pixels.device
    mean, std = torch.tensor(images.mean, device=device), torch.tensor(images.std, device=device)
    return 1.0 / (255.0 * std), -mean / std


def plain_batch(images: Images, start: int, stop: int) -> Tensor:
    """Images `start` to `stop`, normalised only: float32 (B, C, H, W) in channels-last memory."""
    scale, shift = normalisation(images)
    pixels = images.pixels[start:stop].permute(0, 2, 3, 1).contiguous()
    return pixels.float().mul_(scale).add_(shift).permute(0, 3, 1, 2)
