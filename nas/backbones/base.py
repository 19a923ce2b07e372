"""The interface of pretrained networks: a body that gives features, and what its pixels must look like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    import numpy as np

EXTRACTION_BATCH = 50


class Body(nn.Module):
    """A network without its classifier: normalised RGB images (B, 3, S, S) to features (B, F).

    Args:
        units: Its parts in the order of the forward pass, which are frozen or tuned one by one; parameters outside of
            them belong to the first.
    """

    def __init__(self, units: Sequence[nn.Module]) -> None:
        super().__init__()
        self.__dict__["units"] = tuple(units)  # not registered: a subclass holds them where it needs them

    units: tuple[nn.Module, ...]

    def tune(self, share: float) -> None:
        """Let the last parts be trained and freeze the others.

        Args:
            share: Share of the parts that are trained, 0 (none) to 1 (all).
        """
        first = len(self.units) - round(share * len(self.units))
        self.requires_grad_(first == 0)
        for unit in self.units[first:]:
            unit.requires_grad_(True)

    def fold(self) -> None:
        """Fold each batch normalisation that follows a convolution in a sequence into it, since it only scales.

        The features stay the same up to rounding, and a processor computes them in about two thirds of the time. For a
        body that is not trained.
        """
        self.eval()
        for module in self.modules():
            if isinstance(module, nn.Sequential):
                for first, second in pairwise(range(len(module))):
                    convolution, normalisation = module[first], module[second]
                    if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                        module[first], module[second] = fuse_conv_bn_eval(convolution, normalisation), nn.Identity()
            elif isinstance(module, nn.ReLU | nn.ReLU6):
                module.inplace = True


class Backbone(ABC):
    """A pretrained network.

    Attributes:
        name: Option of `backbone=`.
        features: Number F of its features.
        side: Side in pixels of the images that it was trained on.
        fixed_side: Whether it takes images of no other side.
        mean, std: Per channel, of pixel values scaled to 0-1, by which its images are normalised.
    """

    name: str
    features: int
    side: int
    fixed_side: bool = False
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @abstractmethod
    def body(self) -> Body:
        """A new body with the pretrained weights."""

    def sides(self, wanted: Sequence[int]) -> tuple[int, ...]:
        """The sides among some that it takes; its own, if it takes no other."""
        return (self.side,) if self.fixed_side else tuple(wanted)

    def normalised(self, pixels: Tensor, side: int) -> Tensor:
        """Images as the body takes them: float32 (B, 3, side, side).

        Args:
            pixels: uint8 or float (B, C, H, W) with values 0-255; grey images are repeated to three channels.
        """
        scaled = resized(coloured(pixels.float()), side) / 255
        mean, std = (torch.tensor(value, device=pixels.device).view(-1, 1, 1) for value in (self.mean, self.std))
        return (scaled - mean) / std

    @torch.inference_mode()
    def extract(
        self,
        pixels: Tensor,
        device: torch.device | str = "cpu",
        side: int | None = None,
        report: Callable[[int], None] = lambda _: None,
    ) -> np.ndarray:
        """Features of images, float32 (N, F).

        Args:
            pixels: uint8 (N, C, H, W), C 1 or 3.
            device: Device that computes.
            side: Side that the images are resized to; None: the backbone's own. Smaller ones are quicker.
            report: Called after each batch with the number of images so far.
        """
        body = self.body()
        body.fold()
        body.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        parts = []
        for start in range(0, len(pixels), EXTRACTION_BATCH):
            batch = self.normalised(pixels[start : start + EXTRACTION_BATCH].to(device), side or self.side)
            parts.append(body(batch.contiguous(memory_format=torch.channels_last)).float().cpu())
            report(min(start + EXTRACTION_BATCH, len(pixels)))
        features: np.ndarray = torch.cat(parts).numpy()
        return features


def coloured(images: Tensor) -> Tensor:
    """Images of three channels (B, 3, H, W); grey ones repeat theirs."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def resized(images: Tensor, side: int) -> Tensor:
    """Images (B, C, side, side), bicubic, with antialiasing where they shrink."""
    if images.shape[-2:] == (side, side):
        return images
    shrinks = min(images.shape[-2:]) > side
    if shrinks:
        return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    return F.interpolate(images, size=(side, side), mode="bicubic", align_corners=False)
