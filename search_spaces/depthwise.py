"""Depthwise convolutions whose gradients are fast on a CPU.

The CPU kernels of torch's depthwise gradients fall back to slow code for dilated kernels and for rows of more than
three weights: on two cores the gradients of a dilated 5x5 convolution take 40 times its forward pass. Fast kernels
give the same sums:

- a dilation of 2 is an ordinary convolution on each of the four images made of every second row and column;
- the gradient in the input of a convolution of stride 1 is a convolution with the mirrored kernel;
- the gradient in a wide kernel is computed for three columns of weights at a time.

The numbers are torch's up to rounding. On CUDA, without gradients, and under autocast, it is torch's convolution
itself.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COLUMNS = 3
"""Widest kernel whose gradient the CPU computes fast."""


class DepthwiseConv2d(nn.Conv2d):
    """One kernel a channel, no bias, `same` padding: (B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and handled(x)):
            return super().forward(x)
        stride, dilation = self.stride[0], self.dilation[0]
        if (stride, dilation) == (2, 2):
            return same(every_second(x), self.weight)
        if (stride, dilation) == (1, 2) and even(x):
            return from_phases(same(phases(x), self.weight))
        if (stride, dilation) == (1, 1):
            return same(x, self.weight)
        return super().forward(x)


def handled(x: Tensor) -> bool:
    """Whether the methods of this module are the faster ones; not while torch.fx traces, when `x` is unknown."""
    if isinstance(x, torch.fx.Proxy):
        return False
    plain = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return plain and not torch.compiler.is_compiling() and x.is_contiguous(memory_format=torch.channels_last)


def even(x: Tensor) -> bool:
    """Whether an image can be divided into four phases of one size; unknown, so false, while torch.fx traces."""
    if isinstance(x, torch.fx.Proxy):
        return False
    return x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0


def phases(x: Tensor) -> Tensor:
    """(B, C, H, W) to (4 B, C, H / 2, W / 2): every second row and column, in channels-last memory."""
    batch, channels, height, width = x.shape
    blocks = x.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels).permute(2, 4, 0, 1, 3, 5)
    return blocks.reshape(4 * batch, height // 2, width // 2, channels).permute(0, 3, 1, 2)


def from_phases(x: Tensor) -> Tensor:
    """The inverse of `phases`."""
    batch, channels, height, width = x.shape
    joined = x.permute(0, 2, 3, 1).reshape(2, 2, batch // 4, height, width, channels).permute(2, 3, 0, 4, 1, 5)
    return joined.reshape(batch // 4, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


def every_second(x: Tensor) -> Tensor:
    """The pixels that a dilated convolution of stride 2 reads, in channels-last memory."""
    return x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)


def same(x: Tensor, weight: Tensor) -> Tensor:
    """Depthwise convolution of stride 1.

    Args:
        x: Images (B, C, H, W), channels-last.
        weight: Kernels (C, 1, K, K), K odd.

    Returns:
        (B, C, H, W).
    """
    result: Tensor = _Same.apply(x, weight)
    return result


class _Same(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        in_x = in_weight = None
        if ctx.needs_input_grad[0]:
            in_x = F.conv2d(gradient, weight.flip(2, 3), padding=weight.shape[-1] // 2, groups=len(weight))
        if ctx.needs_input_grad[1]:
            in_weight = _in_weight(gradient, x, weight)
        return in_x, in_weight


def _in_weight(gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    kernel, width = weight.shape[-1], x.shape[3]
    padding = kernel // 2
    if kernel <= COLUMNS:
        return _of_columns(gradient, x, weight, (padding, padding))
    padded = F.pad(x, (padding, padding))
    parts = []
    for start in range(0, kernel, COLUMNS):
        columns = min(COLUMNS, kernel - start)
        part = padded[..., start : start + width + columns - 1]
        parts.append(_of_columns(gradient, part, weight[..., :columns], (padding, 0)))
    return torch.cat(parts, 3)


def _of_columns(gradient: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
    ones, mask = (1, 1), (False, True, False)
    in_weight: Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, ones, padding, ones, False, (0, 0), len(weight), mask
    )[1]
    return in_weight
