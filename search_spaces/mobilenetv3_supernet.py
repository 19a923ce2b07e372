"""The supernet of the MobileNetV3 space: one layer of the largest sizes, of which smaller ones are slices.

Cai, Gan, Wang, Zhang & Han, "Once-for-All: Train One Network and Specialize it for Efficient Deployment", ICLR 2020,
https://arxiv.org/abs/1908.09791, section 3.3. A smaller kernel is the centre of the next larger one times a matrix
that the channels of a layer share; fewer channels are the first ones; fewer layers are the first ones.

Mixtures, which the paper does not have, are sums as in DARTS (eq. 2): of the normalised depthwise convolutions over
the kernels, of the normalised outputs over the expansions, of the outputs of a stage over its depths. At probabilities
of 0 and 1 they are the sub-network.

Differs from the published code: normalisation is by the statistics of the batch at all times, with the shared scale and
shift, so no sub-network needs to have its statistics measured; there is no dropout; channels are not sorted by
importance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import Task
from search_spaces.depthwise import handled, same
from search_spaces.mixed import EPSILON, runs
from search_spaces.mobilenetv3_network import LayerShape, Skeleton, SqueezeExcitation

KERNEL, EXPANSION, DEPTH = "kernel", "expansion", "depth"
"""Sets of probabilities: a row for each layer, for each layer, and for each stage."""

Chosen: TypeAlias = Sequence[tuple[int, Tensor | None]]
"""Positions of the options to run, each with its weight; None: 1."""

batch_statistics = partial(nn.BatchNorm2d, track_running_stats=False)


class ElasticLayer(nn.Module):
    """An inverted residual layer of any kernel and expansion; its weights are those of the largest.

    Args:
        shape: Channels and stride.
        kernels: Sides of the kernels, rising.
        expansions: Expansions, rising.
    """

    def __init__(self, shape: LayerShape, kernels: Sequence[int], expansions: Sequence[float]) -> None:
        super().__init__()
        self.kernels = tuple(kernels)
        self.middles = tuple(shape.middle(expansion) for expansion in expansions)
        self.stride = shape.stride
        self.is_residual = shape.is_residual
        most = self.middles[-1]
        self.activation = shape.stage.activation()
        self.expand = nn.Conv2d(shape.in_channels, most, 1, bias=False)
        self.expand_norm = batch_statistics(most)
        self.depthwise = nn.Conv2d(most, most, kernels[-1], groups=most, bias=False)
        self.matrices = nn.ParameterDict(
            {f"{large}_to_{small}": torch.eye(small**2) for small, large in pairwise(kernels)}
        )
        self.depthwise_norm = batch_statistics(most)
        self.squeeze = SqueezeExcitation(most) if shape.stage.squeeze else None
        self.project = nn.Conv2d(most, shape.out_channels, 1, bias=False)
        self.project_norm = batch_statistics(shape.out_channels)

    def forward(self, x: Tensor, kernels: Chosen, expansions: Chosen) -> Tensor:
        """The layer; without an option to run its output is zero, or `x` if it is residual.

        Args:
            x: Maps (B, in_channels, H, W).
            kernels, expansions: Options to run.
        """
        output: Tensor | None = None
        if kernels and expansions:
            # all that comes before the squeeze works on each channel alone: the widest has the narrower ones
            widest = max(self.middles[option] for option, _ in expansions)
            middle = F.conv2d(x, self.expand.weight[:widest])
            middle = self.activation(_normalised(middle, self.expand_norm))
            mixed = _sum([(self._convolved(middle, option), weight) for option, weight in kernels])
            middle = self.activation(mixed)
            output = _sum([(self._projected(middle, option), weight) for option, weight in expansions])
        if output is None:
            stride = self.stride
            output = x.new_zeros((len(x), len(self.project.weight), *x[0, 0, ::stride, ::stride].shape))
        return x + output if self.is_residual else output

    def _convolved(self, x: Tensor, option: int) -> Tensor:
        weight = self._kernel(self.kernels[option])[: x.shape[1]]
        if self.stride == 1 and torch.is_grad_enabled() and handled(x):
            y = same(x, weight)
        else:
            y = F.conv2d(x, weight, stride=self.stride, padding=weight.shape[-1] // 2, groups=len(weight))
        return _normalised(y, self.depthwise_norm)

    def _kernel(self, side: int) -> Tensor:
        """Kernels (C, 1, side, side) of all channels."""
        weight: Tensor = self.depthwise.weight
        for small, large in reversed([*pairwise(self.kernels)]):
            if large > side:
                edge = (large - small) // 2
                centre = weight[:, :, edge : edge + small, edge : edge + small].reshape(-1, small**2)
                weight = (centre @ self.matrices[f"{large}_to_{small}"].t()).view(-1, 1, small, small)
        return weight

    def _projected(self, middle: Tensor, option: int) -> Tensor:
        channels = self.middles[option]
        x = middle[:, :channels]
        if self.squeeze is not None:
            x = _squeezed(x, self.squeeze)
        return _normalised(F.conv2d(x, self.project.weight[:, :channels]), self.project_norm)


def _squeezed(x: Tensor, squeeze: SqueezeExcitation) -> Tensor:
    """The squeeze and excitation of the first channels."""
    channels, reduced = x.shape[1], squeeze.reduced(x.shape[1])
    scale = _first(squeeze.reduce, x.mean((2, 3), keepdim=True), reduced, channels)
    scale = _first(squeeze.expand, squeeze.relu(scale), channels, reduced)
    scaled: Tensor = x * squeeze.sigmoid(scale)
    return scaled


def _first(convolution: nn.Conv2d, x: Tensor, out_channels: int, in_channels: int) -> Tensor:
    """A 1x1 convolution with a bias between the first channels."""
    assert convolution.bias is not None
    return F.conv2d(x, convolution.weight[:out_channels, :in_channels], convolution.bias[:out_channels])


def _normalised(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Normalised by the statistics of the batch, with the scale and the shift of its first channels."""
    channels = x.shape[1]
    return F.batch_norm(x, None, None, norm.weight[:channels], norm.bias[:channels], True, 0.0, EPSILON)


def _sum(terms: Sequence[tuple[Tensor, Tensor | None]]) -> Tensor:
    """The sum of at least one term times its weight."""
    weighted = [term if weight is None else term * weight for term, weight in terms]
    return weighted[0] if len(weighted) == 1 else torch.stack(weighted).sum(0)


class Supernet(Skeleton):
    """forward(images: (B, task.channels, H, W), probs) -> logits (B, task.classes).

    `probs` has (20, 3) probabilities for `kernel`, (20, expansions) for `expansion`, rows being the four layers of each
    stage, and (5, 3) for `depth`. Names of parameters are those of `build(…, operations="search")`.

    Args:
        depths: Numbers of layers that a stage may have, rising.
        kernels, expansions: Options of each layer, rising.
    """

    def __init__(
        self, task: Task, width: float, depths: Sequence[int], kernels: Sequence[int], expansions: Sequence[float]
    ) -> None:
        def layer(_stage: int, _position: int, shape: LayerShape) -> ElasticLayer:
            return ElasticLayer(shape, kernels, expansions)

        super().__init__(task, width, [max(depths)] * 5, layer, norm=batch_statistics, dropout=0.0)
        self.depths = tuple(depths)

    def forward(self, images: Tensor, probs: Mapping[str, Tensor], run_all_operations: bool = False) -> Tensor:
        run = runs(probs, run_all_operations=run_all_operations)
        chosen = {
            name: [_chosen(row, flags) for row, flags in zip(probs[name], run[name], strict=True)] for name in run
        }
        x = self.features(images)
        row = 0
        for stage, depths in zip(self.stages, chosen[DEPTH], strict=True):
            x = self._stage(x, stage, depths, chosen[KERNEL][row:], chosen[EXPANSION][row:])
            row += len(stage)  # type: ignore[arg-type]  # a ModuleList
        return self.logits(x)

    def _stage(
        self, x: Tensor, stage: nn.Module, depths: Chosen, kernels: Sequence[Chosen], expansions: Sequence[Chosen]
    ) -> Tensor:
        weights = {self.depths[option]: weight for option, weight in depths}
        outputs = []
        for depth in range(1, max(weights, default=1) + 1):
            x = stage[depth - 1](x, kernels[depth - 1], expansions[depth - 1])  # type: ignore[index]
            if depth in weights:
                outputs.append((x, weights[depth]))
        return _sum(outputs) if outputs else torch.zeros_like(x)


def _chosen(row: Tensor, flags: Sequence[bool]) -> list[tuple[int, Tensor | None]]:
    return [(option, row[option]) for option, runs_it in enumerate(flags) if runs_it]


class Subnetwork(Skeleton):
    """The network that computes what the supernet does at an architecture; its weights are those of the supernet.

    Args:
        layers: Positions (kernel, expansion) of the options of each layer of each stage.
        kernels, expansions: Options of each layer, rising.
    """

    def __init__(
        self,
        layers: Sequence[Sequence[tuple[int, int]]],
        task: Task,
        width: float,
        kernels: Sequence[int],
        expansions: Sequence[float],
    ) -> None:
        def layer(_stage: int, _position: int, shape: LayerShape) -> ElasticLayer:
            return ElasticLayer(shape, kernels, expansions)

        super().__init__(task, width, [len(stage) for stage in layers], layer, norm=batch_statistics, dropout=0.0)
        self.layers = layers

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)
        for stage, options in zip(self.stages, self.layers, strict=True):
            for position, (kernel, expansion) in enumerate(options):
                x = stage[position](x, [(kernel, None)], [(expansion, None)])  # type: ignore[index]  # a ModuleList
        return self.logits(x)
