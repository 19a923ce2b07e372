"""A backbone by its name."""

from __future__ import annotations

from nas.backbones.base import Backbone
from nas.errors import UsageError


def make_backbone(name: str, *, download: bool = False) -> Backbone:
    """A pretrained network by its name.

    Args:
        name: `efficientnet_lite0`, whose weights come with a package, or a classifier of torchvision such as
            `resnet18`.
        download: Whether weights that are not on this machine may be downloaded.

    Raises:
        UsageError: There is none of this name, its package is missing, or its weights are missing and must not be
            downloaded.
    """
    from nas.backbones.efficientnet_lite0 import EfficientNetLite0
    from nas.backbones.torchvision_models import TorchvisionBackbone, classifiers

    if name == EfficientNetLite0.name:
        return EfficientNetLite0()
    if name in classifiers():
        return TorchvisionBackbone(name, download=download)
    raise UsageError(
        f"backbone={name} is unknown; expected {EfficientNetLite0.name}, null, or a classifier of torchvision such as "
        "resnet18 or mobilenet_v3_small"
    )
