"""Operations of cells, as the final networks of NAS-Bench-201, DARTS, NASNet and AmoebaNet use them.

Every operation maps (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride)). Its `norm`
constructs its normalisation: `nn.BatchNorm2d` in a final network, `batch_statistics` in a network that shares the
weights of a supernet.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.depthwise import DepthwiseConv2d, even

Norm: TypeAlias = Callable[[int], nn.Module]

batch_statistics: Norm = partial(nn.BatchNorm2d, affine=False, track_running_stats=False)
"""Normalisation of supernets: without parameters, as in DARTS (a scale would compensate alpha), and by the statistics
of the batch at all times, since running ones belong to no single cell of the many that share the weights."""


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution without bias, batch normalisation; `same` padding."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
            norm(out_channels),
        )

    @property
    def norm(self) -> nn.Module:
        return self[2]

    def rectified(self, x: Tensor) -> Tensor:
        """From the rectified input to the values that are normalised."""
        output: Tensor = self[1](x)
        return output


class AvgPool3x3(nn.Module):
    """3x3 mean that does not count the padding."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, self.stride, padding=1, count_include_pad=False)


class MaxPool3x3(nn.Module):
    """3x3 maximum."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, self.stride, padding=1)


class FactorizedReduce(nn.Module):
    """The skip connection of stride 2: two 1x1 convolutions that look at different pixels, side by side."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        half = out_channels // 2
        # Slices implement the strides: torch's strided 1x1 convolution of fewer than 8 channels-last channels
        # writes past its memory on a CPU (2.15)
        self.first = nn.Conv2d(in_channels, half, 1, bias=False)
        self.second = nn.Conv2d(in_channels, out_channels - half, 1, bias=False)
        self.norm = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(self.rectified(F.relu(x)))
        return normalised

    def rectified(self, x: Tensor) -> Tensor:
        """From the rectified input to the values that are normalised."""
        height, width = x.shape[2:]
        shifted = x if even(x) else F.pad(x, (0, width % 2, 0, height % 2))  # both halves have one size
        return torch.cat((self.first(x[:, :, ::2, ::2]), self.second(shifted[:, :, 1::2, 1::2])), 1)


class SeparableConv(nn.Module):
    """ReLU, depthwise and pointwise convolution, normalisation; twice, the stride in the first."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.depthwise1 = DepthwiseConv2d(channels, kernel, stride)
        self.pointwise1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm1 = norm(channels)
        self.depthwise2 = DepthwiseConv2d(channels, kernel)
        self.pointwise2 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(self.rectified(F.relu(x)))
        return normalised

    def rectified(self, x: Tensor) -> Tensor:
        """From the rectified input to the values that are normalised."""
        middle = self.norm1(self.pointwise1(self.depthwise1(x)))
        output: Tensor = self.pointwise2(self.depthwise2(F.relu(middle, inplace=True)))
        return output


class DilatedConv(nn.Module):
    """ReLU, depthwise convolution of dilation 2, pointwise convolution, normalisation."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv2d(channels, kernel, stride, dilation=2)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(self.rectified(F.relu(x)))
        return normalised

    def rectified(self, x: Tensor) -> Tensor:
        """From the rectified input to the values that are normalised."""
        output: Tensor = self.pointwise(self.depthwise(x))
        return output


class StripConv(nn.Module):
    """`conv_7x1_1x7`: ReLU, a 1x7 and a 7x1 convolution, normalisation; each carries the stride along its length."""

    def __init__(self, channels: int, stride: int = 1, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.row = nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False)
        self.column = nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False)
        self.norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(self.column(self.row(F.relu(x))))
        return normalised


def cell_operation(name: str, channels: int, stride: int, norm: Norm, *, normalised_pools: bool) -> nn.Module:
    """An operation of the DARTS and NASNet spaces by its published name.

    Args:
        normalised_pools: Normalise after pooling, as the search networks of DARTS do and its final ones do not.
    """
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, norm)
    if name == "conv_7x1_1x7":
        return StripConv(channels, stride, norm)
    if name in ("avg_pool_3x3", "max_pool_3x3"):
        pool = AvgPool3x3(stride) if name == "avg_pool_3x3" else MaxPool3x3(stride)
        return nn.Sequential(pool, norm(channels)) if normalised_pools else pool
    kind, kernel = name.rsplit("_", 1)
    size = int(kernel.split("x")[0])
    return (SeparableConv if kind == "sep_conv" else DilatedConv)(channels, size, stride, norm)
