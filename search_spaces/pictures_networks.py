"""Networks for pictures of any size: a pretrained body with a linear classifier, and a small residual network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.backbones import Backbone
from nas.backbones.base import coloured, resized
from nas.core import Task
from nas.space.network import SupportsPretrainedFeatures

WORKING_SIDE = 48
"""Side in pixels that larger images are averaged down to, roughly, before a network that starts from random weights."""


class PretrainedNetwork(nn.Module, SupportsPretrainedFeatures):
    """forward(images: (B, 1 or 3, H, W)) -> logits (B, task.classes).

    Batch normalisation keeps its pretrained statistics: those of a few images would be worse.

    Args:
        backbone: Pretrained network.
        task: Task of the images.
        side: Side in pixels that images are resized to before the body.
        share: Share of the body's parts that are trained, from the end, 0 to 1.
    """

    def __init__(self, backbone: Backbone, task: Task, side: int, share: float) -> None:
        super().__init__()
        self.side = side
        self.mean, self.std = backbone.mean, backbone.std
        self.register_buffer("scale", torch.ones(3, 1, 1))
        self.register_buffer("shift", torch.zeros(3, 1, 1))
        self.body = backbone.body()
        self.body.tune(share)
        if share == 0:
            self.body.fold()
            self.body.requires_grad_(False)
        self.head = nn.Linear(backbone.features, task.classes)

    scale: Tensor
    shift: Tensor

    def train(self, mode: bool = True) -> PretrainedNetwork:
        super().train(mode)
        self.body.eval()
        return self

    def normalised_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        own_mean, own_std = (torch.tensor(value) for value in (self.mean, self.std))
        data_mean, data_std = (torch.tensor(tuple(value)).expand(3) for value in (mean, std))
        self.scale.copy_((data_std / own_std).view(3, 1, 1))
        self.shift.copy_(((data_mean - own_mean) / own_std).view(3, 1, 1))

    def features(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(resized(coloured(images), self.side) * self.scale + self.shift)
        return features

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


class ReducedNetwork(nn.Module):
    """A network on images that are averaged down to about `WORKING_SIDE` first.

    Args:
        task: Task of the images.
        make: Makes the network for the task of the smaller images.
    """

    def __init__(self, task: Task, make: Callable[[Task], nn.Module]) -> None:
        super().__init__()
        self.factor = max(1, round(min(task.height, task.width) / WORKING_SIDE))
        small = Task(task.channels, task.height // self.factor, task.width // self.factor, task.classes)
        self.network = make(small)

    def forward(self, images: Tensor) -> Tensor:
        if self.factor > 1:
            images = F.avg_pool2d(images, self.factor)
        logits: Tensor = self.network(images)
        return logits


class SmallResNet(nn.Module):
    """A residual network of 8 layers for small images (He et al., CVPR 2016, section 4.2, with n = 1).

    Differs from the paper: wider, and a shortcut that changes the size has a convolution.

    Args:
        task: Task of the images.
        width: Channels of the first of three stages; the others have 2 and 4 times as many.
    """

    def __init__(self, task: Task, width: int = 32) -> None:
        super().__init__()
        self.stem = _normalised(task.channels, width, 3)
        self.stages = nn.Sequential(
            _Residual(width, width, 1), _Residual(width, 2 * width, 2), _Residual(2 * width, 4 * width, 2)
        )
        self.head = nn.Linear(4 * width, task.classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stages(F.relu(self.stem(images)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class _Residual(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = _normalised(channels, out, 3, stride)
        self.second = _normalised(out, out, 3)
        self.shortcut = nn.Identity() if stride == 1 and channels == out else _normalised(channels, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


def _normalised(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out),
    )
