"""Two images and their labels in one: mixup and CutMix.

Mixup: Zhang, Cisse, Dauphin & Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
https://arxiv.org/abs/1710.09412, eq. 1. CutMix: Yun, Han, Oh, Chun, Choe & Yoo, "CutMix: Regularization Strategy to
Train Strong Classifiers with Localizable Features", ICCV 2019, https://arxiv.org/abs/1905.04899, eq. 1 and 2.

As in both papers' experiments, a batch has one share, and its images are mixed with a permutation of themselves. Mixing
comes after crop, flip, cutout and normalisation. Differs from CutMix on CIFAR-10, where half of the batches stay
as they are: every batch is mixed. With both, each batch is mixed by either with equal chance, which neither paper does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed.

    Args:
        partner: (B,) for each image, the position in the batch of the one that it is mixed with.
        share: Lambda, the weight of the image's own label, 0 to 1.
        box: Rows and columns that CutMix takes from the partner; None: mixup.
    """

    partner: Tensor
    share: float
    box: tuple[slice, slice] | None = None

    def images(self, images: Tensor) -> Tensor:
        """The mixed batch.

        Args:
            images: (B, C, H, W) in channels-last memory.

        Returns:
            (B, C, H, W) in channels-last memory; `images` is unchanged.
        """
        pixels = images.permute(0, 2, 3, 1)
        if self.box is None:
            mixed = torch.lerp(pixels[self.partner], pixels, self.share)
        else:
            rows, columns = self.box
            mixed = pixels.clone()
            mixed[:, rows, columns] = pixels[:, rows, columns][self.partner]
        return mixed.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Mixer:
    """Draws how batches are mixed.

    Args:
        mixup, cutmix: Alpha of the Beta(alpha, alpha) that lambda is drawn from; 0: off.
        height, width: Size of an image in pixels.
    """

    mixup: float
    cutmix: float
    height: int
    width: int

    def draw(self, sizes: Sequence[int], generator: torch.Generator, device: torch.device) -> list[Mix | None]:
        """How each batch of an epoch is mixed; None: not at all, and nothing is drawn.

        Args:
            sizes: Images of each batch.
            generator: A CPU generator; one number is drawn from it, which seeds the rest.
            device: Device of the images.
        """
        if not self.mixup and not self.cutmix:
            return [None] * len(sizes)
        rng = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))
        # all at once, so that no step waits for the device
        partners = torch.from_numpy(np.concatenate([rng.permutation(size) for size in sizes])).to(device)
        return [self._mix(partner, rng) for partner in torch.split(partners, list(sizes))]

    def _mix(self, partner: Tensor, rng: np.random.Generator) -> Mix:
        cut = self.cutmix > 0 and (self.mixup == 0 or bool(rng.random() < 0.5))
        alpha = self.cutmix if cut else self.mixup
        share = float(rng.beta(alpha, alpha))
        if not cut:
            return Mix(partner, share)
        return self.cut(partner, share, int(rng.integers(self.height)), int(rng.integers(self.width)))

    def cut(self, partner: Tensor, share: float, row: int, column: int) -> Mix:
        """CutMix with a box of 1 - share of the image's area, clipped at the border; the share is the remaining area.

        Args:
            partner: (B,) as in `Mix`.
            share: Lambda as it was drawn, 0 to 1.
            row, column: Centre of the box.
        """
        rows = _span(row, round(self.height * math.sqrt(1 - share)), self.height)
        columns = _span(column, round(self.width * math.sqrt(1 - share)), self.width)
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return Mix(partner, 1 - area / (self.height * self.width), (rows, columns))


def _span(centre: int, length: int, most: int) -> slice:
    """`length` pixels around a centre, as far as they lie in the image."""
    start = centre - length // 2
    return slice(max(start, 0), min(start + length, most))
