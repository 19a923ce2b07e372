"""The networks of the MobileNetV3 space (Howard et al., ICCV 2019, https://arxiv.org/abs/1905.02244, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from nas.core import Task
from nas.space.naming import named
from search_spaces.depthwise import DepthwiseConv2d
from search_spaces.operations import Norm

STEM, LAST, FEATURES = 16, 960, 1280
"""Channels of the stem and the first layer, of the final expand layer, and of the feature mix layer."""
DROPOUT = 0.1
"""Share of the features that training drops, as Once-for-All has it."""
SMALLEST_MAP = 4
"""Pixels of a side that the last maps keep: those of images of 128 pixels, the smallest that Once-for-All trains on."""


@dataclass(frozen=True)
class Stage:
    """What the layers of a stage share.

    Args:
        channels: Output channels at width 1.
        halves: Whether its first layer halves the size of the maps.
        activation: Constructs the activations.
        squeeze: Whether its layers squeeze and excite.
    """

    channels: int
    halves: bool
    activation: Callable[[], nn.Module]
    squeeze: bool


STAGES = (
    Stage(24, True, nn.ReLU, False),
    Stage(40, True, nn.ReLU, True),
    Stage(80, True, nn.Hardswish, False),
    Stage(112, False, nn.Hardswish, True),
    Stage(160, True, nn.Hardswish, True),
)
HALVINGS = 1 + sum(stage.halves for stage in STAGES)
"""Layers of stride 2 in the published network, the stem included."""


@dataclass(frozen=True)
class LayerShape:
    """Shape of a layer of a stage.

    Args:
        stage: The stage that it belongs to.
        in_channels, out_channels: Channels of its input and its output.
        stride: Stride of its depthwise convolution.
    """

    stage: Stage
    in_channels: int
    out_channels: int
    stride: int

    def middle(self, expansion: float) -> int:
        """Channels between its two 1x1 convolutions."""
        return divisible(self.in_channels * expansion)

    @property
    def is_residual(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels


def divisible(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and never more than a tenth below `channels`; MobileNets' rounding."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def halvings(task: Task) -> int:
    """Layers of stride 2 of a network for these images; the last ones keep theirs.

    All five of images of 128 pixels or more. Smaller images, of which too little would be left, skip the first ones:
    of images of 32 pixels the stem and the first stage keep the size.
    """
    side = min(task.height, task.width)
    return max(number for number in range(HALVINGS + 1) if number == 0 or -(-side // 2**number) >= SMALLEST_MAP)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a function of the means of all (Hu et al., CVPR 2018), with a hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, self.reduced(channels), 1)
        self.relu = nn.ReLU()
        self.expand = nn.Conv2d(self.reduced(channels), channels, 1)
        self.sigmoid = nn.Hardsigmoid()

    @staticmethod
    def reduced(channels: int) -> int:
        """Channels between the two convolutions."""
        return divisible(channels // 4)

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.sigmoid(self.expand(self.relu(self.reduce(x.mean((2, 3), keepdim=True)))))
        return x * scale


class InvertedResidual(nn.Module):
    """1x1 convolution to more channels, depthwise convolution, 1x1 convolution back; forward(x) -> its output.

    Args:
        shape: Channels and stride.
        kernel: Side of the depthwise kernel (odd).
        expansion: Channels between the 1x1 convolutions, as a multiple of `in_channels`; None: no first convolution.
        norm: Constructs the normalisations.
    """

    def __init__(self, shape: LayerShape, kernel: int, expansion: float | None, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        middle = shape.in_channels if expansion is None else shape.middle(expansion)
        activation = shape.stage.activation
        self.is_residual = shape.is_residual
        self.expand = nn.Sequential()
        if expansion is not None:
            self.expand = nn.Sequential(nn.Conv2d(shape.in_channels, middle, 1, bias=False), norm(middle), activation())
        self.depthwise = nn.Sequential(DepthwiseConv2d(middle, kernel, shape.stride), norm(middle), activation())
        self.squeeze = SqueezeExcitation(middle) if shape.stage.squeeze else nn.Identity()
        self.project = nn.Sequential(nn.Conv2d(middle, shape.out_channels, 1, bias=False), norm(shape.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.project(self.squeeze(self.depthwise(self.expand(x))))
        return x + output if self.is_residual else output


class Skeleton(nn.Module):
    """The part that final networks and supernets share: everything except the layers of the five stages.

    Args:
        width: Multiplier of all channels.
        depths: Layers of each stage.
        layer: Constructs a layer from its stage (0 to 4), its position there and its shape.
        norm: Constructs the normalisations.
        dropout: Share of the features that training drops.
    """

    def __init__(
        self,
        task: Task,
        width: float,
        depths: Sequence[int],
        layer: Callable[[int, int, LayerShape], nn.Module],
        *,
        norm: Norm = nn.BatchNorm2d,
        dropout: float = DROPOUT,
    ) -> None:
        super().__init__()
        kept = HALVINGS - halvings(task)
        strides = iter([1] * kept + [2] * (HALVINGS - kept))
        channels = divisible(STEM * width)
        self.stem = nn.Sequential(
            nn.Conv2d(task.channels, channels, 3, next(strides), 1, bias=False), norm(channels), nn.Hardswish()
        )
        first = LayerShape(Stage(STEM, False, nn.ReLU, False), channels, channels, 1)
        self.first = InvertedResidual(first, 3, None, norm)
        self.stages = nn.ModuleList()
        for number, (stage, depth) in enumerate(zip(STAGES, depths, strict=True)):
            layers = nn.ModuleList()
            for position in range(depth):
                stride = next(strides) if stage.halves and position == 0 else 1
                shape = LayerShape(stage, channels, divisible(stage.channels * width), stride)
                layers.append(layer(number, position, shape))
                channels = shape.out_channels
            self.stages.append(layers)
        last, features = divisible(LAST * width), divisible(FEATURES * width)
        self.final_expand = nn.Sequential(nn.Conv2d(channels, last, 1, bias=False), norm(last), nn.Hardswish())
        self.feature_mix = nn.Sequential(nn.Linear(last, features), nn.Hardswish(), nn.Dropout(dropout))
        self.classifier = nn.Linear(features, task.classes)

    def features(self, images: Tensor) -> Tensor:
        """The input of the first stage."""
        x: Tensor = self.first(self.stem(images))
        return x

    def logits(self, x: Tensor) -> Tensor:
        """From the output of the last stage."""
        pooled = self.final_expand(x).mean((2, 3))  # deterministic on CUDA, unlike AdaptiveAvgPool2d
        logits: Tensor = self.classifier(self.feature_mix(pooled))
        return logits


class Network(Skeleton):
    """forward(images: (B, task.channels, H, W)) -> logits (B, task.classes).

    Args:
        layers: (kernel, expansion) of each layer of each stage.
        width: Multiplier of all channels.
    """

    def __init__(self, layers: Sequence[Sequence[tuple[int, float]]], task: Task, width: float) -> None:
        super().__init__(task, width, [len(stage) for stage in layers], partial(_layer, layers))

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)
        for number, stage in enumerate(self.stages, start=1):
            for layer in stage:  # type: ignore[attr-defined]  # a ModuleList
                x = layer(x)
            x = named(x, f"stage_{number}")
        return self.logits(x)


def _layer(
    layers: Sequence[Sequence[tuple[int, float]]], stage: int, position: int, shape: LayerShape
) -> InvertedResidual:
    return InvertedResidual(shape, *layers[stage][position])
