"""The pretrained classifiers of torchvision, with its default weights for ImageNet."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.backbones.base import Backbone, Body
from nas.errors import UsageError, UserError
from nas.runtime.streams import say

FIXED = ("vit_", "maxvit_", "inception_")
"""Starts of the names of classifiers that take images of their own size only."""
MOST = 0.6
"""Share of a network's weights from which a part is taken apart."""


@lru_cache(maxsize=1)
def classifiers() -> tuple[str, ...]:
    """Names of the classifiers that torchvision has weights for."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return tuple(names)


class TorchvisionBackbone(Backbone):
    """A classifier of torchvision without its last linear layer.

    Args:
        name: Name of the classifier, such as `resnet18`.
        download: Whether its weights may be downloaded.

    Raises:
        UsageError: Its weights are not on this machine and must not be downloaded, or it has no final linear layer.
    """

    def __init__(self, name: str, *, download: bool = False) -> None:
        from torchvision.models import get_model_weights

        self.name = name
        self.weights = get_model_weights(name).DEFAULT
        self.file = Path(torch.hub.get_dir()) / "checkpoints" / self.weights.url.rpartition("/")[2]
        if not self.file.is_file() and not download:
            megabytes = self.weights.meta.get("_file_size", 0)
            raise UsageError(
                f"backbone={name} needs weights of {megabytes:.0f} MB, and {self.file} does not exist; set "
                "download=true to download them, or backbone=efficientnet_lite0, whose weights come with a package"
            )
        preset = self.weights.transforms()
        self.side = int(preset.crop_size[0])
        self.mean, self.std = tuple(preset.mean), tuple(preset.std)
        self.fixed_side = name.startswith(FIXED)
        self.features = _features(name)

    def body(self) -> Body:
        network = _network(self.name)
        network.load_state_dict(self._state())
        return _TorchvisionBody(_without_classifier(network, self.name)[0])

    def _state(self) -> dict[str, Tensor]:
        if not self.file.is_file():
            megabytes = self.weights.meta.get("_file_size", 0)
            say(f"downloading the weights of {self.name}, {megabytes:.0f} MB, to {self.file}")
        try:
            state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
                self.weights.url, map_location="cpu", check_hash=True, progress=False, weights_only=True
            )
        except Exception as error:  # noqa: BLE001 (of the network, the hash, or the file)
            raise UserError(
                f"the weights of backbone={self.name} cannot be read ({' '.join(str(error).split())[:100]}); delete "
                f"{self.file} if it exists and set download=true, or set backbone=efficientnet_lite0"
            ) from None
        return state


class _TorchvisionBody(Body):
    def __init__(self, network: nn.Module) -> None:
        super().__init__(())
        self.network = network
        self.__dict__["units"] = tuple(_units(network))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images)
        return features.flatten(1)


def _network(name: str) -> nn.Module:
    from torchvision.models import get_model

    more: dict[str, bool] = {}
    if name in ("googlenet", "inception_v3"):  # as torchvision builds them for its weights
        more = {"aux_logits": True, "init_weights": False, "transform_input": True}
    network: nn.Module = get_model(name, weights=None, **more)
    return network


def _without_classifier(network: nn.Module, name: str) -> tuple[nn.Module, int]:
    """The network with its last linear layer replaced by nothing, and the number of features."""
    linear = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    linear = [(path, module) for path, module in linear if module.out_features == 1000 and "aux" not in path.lower()]
    if not linear:
        raise UsageError(f"backbone={name} does not end with a linear layer; expected such as resnet18")
    path, last = linear[-1]
    parent, _, child = path.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return network, last.in_features


def _features(name: str) -> int:
    try:
        with torch.device("meta"):
            return _without_classifier(_network(name), name)[1]
    except NotImplementedError:  # its initial weights are computed from one another
        return _without_classifier(_network(name), name)[1]


def _units(network: nn.Module) -> list[nn.Module]:
    """The parts of a network with weights, in the order in which they are registered; a list of parts, and a part with
    most of the weights, are taken apart."""
    units: list[nn.Module] = []
    whole = _weights(network)
    for child in network.children():
        own = _weights(child)
        parted = isinstance(child, nn.Sequential | nn.ModuleList) or own > MOST * whole
        if own:
            units += _units(child) if parted and any(map(_weights, child.children())) else [child]
    return units


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
