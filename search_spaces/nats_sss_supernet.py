"""The supernet of the NATS-Bench size space: the widest network, of whose channels a layer takes the first.

Where a layer's number of channels is certain, its weights are sliced. Where it is not, the widest possible number is
computed, and each channel is multiplied by the probability that the layer has it (Wan et al., "FBNetV2: Differentiable
Neural Architecture Search for Spatial and Channel Dimensions", CVPR 2020, https://arxiv.org/abs/2004.05565, section
3.1), which the benchmark calls `mask_gumbel` and `mask_rl`.

The skip connection of a cell is the identity if the cell keeps its number of channels, else a projection; here both,
weighted by the probability of either.

Differs from the benchmark's code (https://github.com/D-X-Y/AutoDL-Projects, `GenericNAS301Model`), which masks only the
output of a layer and never projects: here the nodes within a cell are masked too, so that the supernet at the
probabilities of an architecture computes what that architecture does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import Task
from search_spaces.mixed import runs
from search_spaces.nasbench201_network import ResidualReduction
from search_spaces.nats_sss_network import Cell, Skeleton
from search_spaces.nats_sss_topology import CHANNELS, LAYERS, SIZES
from search_spaces.operations import ReLUConvBN

STEP = CHANNELS[0]
"""Option i has i + 1 times as many channels."""


@dataclass(frozen=True)
class Width:
    """The channels of a layer.

    Args:
        channels: The number that is computed.
        options: Indices of the possible numbers.
        probs: Probability (8,) of each number; None: there is only one.
        mask: Probability (channels,) that the layer has a channel; None: it has all.
    """

    channels: int
    options: frozenset[int]
    probs: Tensor | None = None
    mask: Tensor | None = None

    def masked(self, x: Tensor) -> Tensor:
        """Each channel of x (B, channels, H, W) times the probability that the layer has it."""
        return x if self.mask is None else x * self.mask[:, None, None].to(x.dtype)


def width_of(options: frozenset[int], probs: Tensor) -> Width:
    """The width of a layer that may have as many channels as any of these options, by their probabilities (8,)."""
    channels = CHANNELS[max(options)]
    ends = STEP * torch.arange(1, len(CHANNELS) + 1, device=probs.device)
    reached = torch.arange(channels, device=probs.device) < ends[:, None]
    return Width(channels, options, probs, probs @ reached.to(probs.dtype))


class SlicedSkeleton(Skeleton):
    """The widest layers, computed at given widths."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, (CHANNELS[-1],) * len(LAYERS), "search", project=True)

    def logits(self, images: Tensor, widths: Sequence[Width]) -> Tensor:
        """Logits (B, task.classes) at the widths of the five layers."""
        stem, block_1, cell_2, block_2, cell_3 = widths
        first, reduce_1, second, reduce_2, third = self.body
        x = stem.masked(_normalised(self.stem[1], _convolved(self.stem[0], images, stem.channels)))
        x = _cell(first, x, stem, stem)
        x = _reduction(reduce_1, x, block_1)
        x = _cell(second, x, block_1, cell_2)
        x = _reduction(reduce_2, x, block_2)
        x = _cell(third, x, block_2, cell_3)
        x = cell_3.masked(torch.relu(_normalised(self.norm, x)))
        return F.linear(x.mean((2, 3)), self.classifier.weight[:, : x.shape[1]], self.classifier.bias)


class SlicedNetwork(SlicedSkeleton):
    """forward(images) -> logits of the network with these channels, its weights sliced from the widest."""

    def __init__(self, task: Task, channels: Sequence[int]) -> None:
        super().__init__(task)
        self.widths = [Width(number, frozenset((CHANNELS.index(number),))) for number in channels]

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(images, self.widths)


class Supernet(SlicedSkeleton):
    """forward(images: (B, task.channels, H, W), probs) -> logits (B, task.classes).

    `probs` has the probabilities (5, 8) of `channels`. Names of parameters are those of `build(…,
    operations="search")`.
    """

    def forward(self, images: Tensor, probs: Mapping[str, Tensor], run_all_operations: bool = False) -> Tensor:
        flags = runs(probs, run_all_operations=run_all_operations)[SIZES]
        possible = [frozenset(option for option, run in enumerate(row) if run) or frozenset((0,)) for row in flags]
        return self.logits(images, list(map(width_of, possible, probs[SIZES])))


def _convolved(convolution: nn.Module, x: Tensor, channels: int) -> Tensor:
    """The first channels of a convolution of the first channels of its input."""
    assert isinstance(convolution, nn.Conv2d)
    weight = convolution.weight[:channels, : x.shape[1]]
    return F.conv2d(x, weight, None, convolution.stride, convolution.padding)


def _normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """Normalise by the statistics of the batch, with the first channels' parameters if there are any."""
    assert isinstance(norm, nn.BatchNorm2d)
    scale, shift = (None if value is None else value[: x.shape[1]] for value in (norm.weight, norm.bias))
    return F.batch_norm(x, None, None, scale, shift, True, 0.0, norm.eps)


def _operation(operation: nn.Module, rectified: Tensor, channels: int) -> Tensor:
    assert isinstance(operation, ReLUConvBN)
    return _normalised(operation.norm, _convolved(operation[1], rectified, channels))


def _cell(cell: nn.Module, x: Tensor, before: Width, width: Width) -> Tensor:
    """A cell whose input has one width and whose nodes have another."""
    assert isinstance(cell, Cell)

    def edge(source: int, target: int, rectified: Tensor) -> Tensor:
        return _operation(cell.edge(source, target), rectified, width.channels)

    rectified = F.relu(x)
    first = F.relu(width.masked(edge(0, 1, rectified)))
    second = F.relu(width.masked(edge(0, 2, rectified) + edge(1, 2, first)))
    return width.masked(_skipped(cell, x, before, width) + edge(1, 3, first) + edge(2, 3, second))


def _skipped(cell: Cell, x: Tensor, before: Width, width: Width) -> Tensor:
    """The skip connection: identity where the widths are equal, projection where they differ."""
    if cell.projection is None:  # the first cell
        return x
    alike = before.options & width.options
    differ = len(before.options | width.options) > 1
    projected = None
    if differ:
        projected = _normalised(cell.projection[1], _convolved(cell.projection[0], x, width.channels))
    if projected is None or not alike:
        return x if projected is None else projected
    assert before.probs is not None
    assert width.probs is not None
    share = (before.probs * width.probs).sum().to(x.dtype)  # probability that the widths are equal
    same = (
        x[:, : width.channels]
        if x.shape[1] >= width.channels
        else F.pad(x, (0, 0, 0, 0, 0, width.channels - x.shape[1]))
    )
    return share * same + (1 - share) * projected


def _reduction(block: nn.Module, x: Tensor, width: Width) -> Tensor:
    """The residual block between two stages."""
    assert isinstance(block, ResidualReduction)
    pool, convolution = block.shortcut
    hidden = width.masked(_operation(block.first, F.relu(x), width.channels))
    residual = _operation(block.second, F.relu(hidden), width.channels)
    return width.masked(_convolved(convolution, pool(x), width.channels) + residual)
