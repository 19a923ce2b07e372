"""The elastic MobileNetV3 space of Once-for-All.

Cai, Gan, Wang, Zhang & Han, "Once-for-All: Train One Network and Specialize it for Efficient Deployment", ICLR 2020,
https://arxiv.org/abs/1908.09791, section 4.1; Howard et al., "Searching for MobileNetV3", ICCV 2019,
https://arxiv.org/abs/1905.02244.

Five stages of 2 to 4 inverted residual layers; each layer has a kernel of 3, 5 or 7 and expands its channels by a
factor of 3, 4 or 6: (9^2 + 9^3 + 9^4)^5 = 2.18e19 networks. The stem, the first layer, the channels and strides of the
stages, the final expand layer and the feature mix layer are those of MobileNetV3-Large.

MobileNetV3-Large itself has three layers of factors that Once-for-All does not offer: 200 / 80 and twice 184 / 80. It
is among the networks of `expansions=[2.3, 2.5, 3, 4, 6]`.

Differs from Once-for-All: the feature mix layer has a bias, as in MobileNetV3 (1,280 parameters), and the size of the
images is not searched. Images of fewer than 128 pixels a side are halved less often; see `halvings`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from nas.core import Architecture, Task
from nas.errors import UsageError
from nas.space import Ordinal
from nas.supernets.base import SupernetSpace
from nas.validation import number_in, rising_numbers

if TYPE_CHECKING:
    from torch import Tensor, nn

STAGES = range(1, 6)
DEPTHS = (2, 3, 4)
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
LAYERS = range(1, DEPTHS[-1] + 1)
PUBLISHED = {
    "MobileNetV3-Large": "k3e4-k3e3/k5e3-k5e3-k5e3/k3e6-k3e2.5-k3e2.3-k3e2.3/k3e6-k3e6/k5e6-k5e6-k5e6",
    "OFA-note8-22ms": "k3e3-k3e3/k5e3-k5e3/k7e4-k3e3/k5e3-k3e4/k3e6-k7e6",
    "OFA-note8-31ms": "k5e3-k3e3/k5e4-k5e3/k3e4-k3e4-k5e4/k3e4-k5e3-k7e4/k3e6-k3e3-k5e3-k5e3",
}
"""MobileNetV3-Large, and two of Once-for-All's networks specialised for the Samsung Note8 (`note8_lat@22ms_top1@70.4`
and `note8_lat@31ms_top1@72.8` of its model zoo), by their latency."""


class MobileNetV3(SupernetSpace):
    """5 stages of 2 to 4 layers, each with a kernel and an expansion.

    Args:
        width: Multiplier of all channels, which are rounded to multiples of 8 (Once-for-All: 1.0 and 1.2).
        expansions: Factors by which a layer may expand its channels, rising, 1 to 12; None: 3, 4 and 6.
    """

    network_sizes = ("width",)
    small_network = MappingProxyType({"width": 0.25})
    search_network = MappingProxyType({"width": 1.0})

    def __init__(self, width: float = 1.0, expansions: Sequence[float] | None = None) -> None:
        _check_width("space.width", width)
        self.width = width
        self.expansions = (
            EXPANSIONS if expansions is None else rising_numbers("space.expansions", expansions, 1, 12, "[3, 4, 6]")
        )
        self.choices = self._choices()
        self.conditions = {
            f"stage{stage}.layer{layer}.{part}": {f"stage{stage}.depth": [depth for depth in DEPTHS if depth >= layer]}
            for stage in STAGES
            for layer in LAYERS
            for part in ("kernel", "expansion")
            if layer > DEPTHS[0]
        }
        offered = set(map(_number, self.expansions))
        self.published = {
            name: text for name, text in PUBLISHED.items() if offered.issuperset(re.findall(r"e(\d+(?:\.\d+)?)", text))
        }
        layers = len(STAGES) * len(LAYERS)
        self.alpha_shapes = {
            "kernel": (layers, len(KERNELS)),
            "expansion": (layers, len(self.expansions)),
            "depth": (len(STAGES), len(DEPTHS)),
        }
        self.operations = {
            "kernel": tuple(map(str, KERNELS)),
            "expansion": tuple(map(str, self.expansions)),
            "depth": tuple(map(str, DEPTHS)),
        }
        self.targets = {name: range(rows) for name, (rows, _) in self.alpha_shapes.items()}

    def _choices(self) -> Mapping[str, Sequence[float]]:
        choices: dict[str, Sequence[float]] = {}
        for stage in STAGES:
            choices[f"stage{stage}.depth"] = Ordinal(DEPTHS)
            for layer in LAYERS:
                choices[f"stage{stage}.layer{layer}.kernel"] = Ordinal(KERNELS)
                choices[f"stage{stage}.layer{layer}.expansion"] = Ordinal(self.expansions)
        return choices

    def build(
        self,
        architecture: Architecture,
        task: Task,
        network: Mapping[str, Any] | None = None,
        operations: Literal["final", "search"] = "final",
    ) -> nn.Module:
        self.validate(architecture)
        width = self._width(network or {}, "trainer.network")
        layers = self._layers(architecture)
        if operations == "search":
            from search_spaces.mobilenetv3_supernet import Subnetwork  # torch: describing the space starts without it

            positions = [
                [(KERNELS.index(kernel), self.expansions.index(expansion)) for kernel, expansion in stage]
                for stage in layers
            ]
            return Subnetwork(positions, task, width, KERNELS, self.expansions)
        from search_spaces.mobilenetv3_network import Network

        return Network(layers, task, width)

    def _width(self, network: Mapping[str, Any], key: str) -> float:
        nulls = self.search_network if key == "supernet.network" else self.small_network
        width = self.known_sizes(network, nulls, key).get("width", self.width)
        _check_width(f"{key}.width", width)
        return float(width)

    def _layers(self, architecture: Architecture) -> list[list[tuple[int, float]]]:
        """(kernel, expansion) of each layer of each stage."""
        chosen = self.settings(architecture)
        return [
            [
                (chosen[f"stage{stage}.layer{layer}.kernel"], chosen[f"stage{stage}.layer{layer}.expansion"])
                for layer in range(1, chosen[f"stage{stage}.depth"] + 1)
            ]
            for stage in STAGES
        ]

    def to_text(self, architecture: Architecture) -> str:
        """Kernel and expansion of each layer, as in `k3e4-k3e3/k5e3-…`: `-` between layers and `/` between stages."""
        return "/".join(
            "-".join(f"k{kernel}e{_number(expansion)}" for kernel, expansion in stage)
            for stage in self._layers(architecture)
        )

    def from_text(self, text: str) -> Architecture:
        """Read the layers of the stages, or the name of a published network.

        Raises:
            UsageError: The text is not of this space.
        """
        name = text.strip()
        stages = [stage.split("-") for stage in PUBLISHED.get(name, name).split("/")]
        found = [[re.fullmatch(r"k(\d+)e(\d+(?:\.\d+)?)", layer.strip()) for layer in stage] for stage in stages]
        if len(stages) != len(STAGES) or not all(all(stage) for stage in found):
            raise UsageError(
                f"arch={text!r} is not a network of MobileNetV3; expected 5 stages like "
                f"{PUBLISHED['OFA-note8-22ms']!r} or one of {', '.join(self.published)}"
            )
        values: list[int] = []
        for number, stage in enumerate(found, start=1):
            options = [(layer[1], layer[2]) for layer in stage if layer is not None]
            values.append(_position(text, f"the number of layers of stage {number}", str(len(stage)), DEPTHS))
            for kernel, expansion in options:
                values.append(_position(text, f"a kernel of stage {number}", kernel, KERNELS))
                values.append(self._expansion(text, number, expansion))
            values += [0, 0] * (len(LAYERS) - len(stage))
        return tuple(values)

    def _expansion(self, text: str, stage: int, expansion: str) -> int:
        offered = [_number(known) for known in self.expansions]
        if expansion not in offered:
            used = re.findall(r"e(\d+(?:\.\d+)?)", PUBLISHED.get(text.strip(), text))
            wanted = ",".join(sorted({*offered, *used}, key=float))
            raise UsageError(
                f"arch={text!r}: an expansion of stage {stage} is {expansion}, which is not among "
                f"{', '.join(offered)}; set space.expansions=[{wanted}]"
            )
        return offered.index(expansion)

    def supernet(self, task: Task, network: Mapping[str, Any] | None = None, partial_channels: int = 1) -> nn.Module:
        """See `SupernetSpace.supernet`; it takes no partial channels."""
        from search_spaces.mobilenetv3_supernet import Supernet

        return Supernet(task, self._width(network or {}, "supernet.network"), DEPTHS, KERNELS, self.expansions)

    def relax(self, architecture: Architecture) -> dict[str, Tensor]:
        """Probabilities of an architecture: 1 for its options, and for the first ones of layers that it lacks."""
        import torch
        import torch.nn.functional as F

        self.validate(architecture)
        values: dict[str, list[int]] = {name: [] for name in self.alpha_shapes}
        for decision, value in zip(self.choices, architecture, strict=True):
            values[decision.rpartition(".")[2]].append(value)
        return {
            name: F.one_hot(torch.tensor(rows), self.alpha_shapes[name][1]).float() for name, rows in values.items()
        }

    def derive(self, probs: Mapping[str, Tensor]) -> Architecture:
        """The likeliest option of each decision, the first among equals."""
        likeliest = {name: iter(probs[name].argmax(1).tolist()) for name in self.alpha_shapes}
        return self.reduced(tuple(next(likeliest[decision.rpartition(".")[2]]) for decision in self.choices))


def _position(text: str, what: str, option: str, options: Sequence[int]) -> int:
    texts = [str(known) for known in options]
    if option not in texts:
        raise UsageError(f"arch={text!r}: {what} is {option}; expected one of {', '.join(texts)}")
    return texts.index(option)


def _check_width(key: str, width: object) -> None:
    number_in(key, width, 0, 16, above=True)


def _number(value: float) -> str:
    """An expansion as text: 3, 2.5."""
    return f"{value:g}"
