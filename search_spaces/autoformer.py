"""The space of vision transformers of AutoFormer.

Chen, Peng, Fu & Ling, "AutoFormer: Searching Transformers for Visual Recognition", ICCV 2021,
https://arxiv.org/abs/2107.00651, section 3.2 and table 1: the channels of a token, the number of layers, and for each
layer its heads of 64 channels and its MLP ratio. Three families of ranges: tiny, small and base. Counted as in the
paper, with the decisions of layers that are not there, they have 1.7e16 architectures.

The released AutoFormer-T (https://github.com/microsoft/Cream) has layers of MLP ratio 3, outside of the published range
of its family. It is among the networks of `mlp_ratios=[3, 3.5, 4]`.

Differs from the paper: images may have any size; small images have smaller patches, see `patch`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nas.core import Architecture, Task
from nas.errors import UsageError
from nas.space import Ordinal
from nas.space.base import SearchSpace
from nas.validation import number_in, one_of, rising_numbers, whole_number

if TYPE_CHECKING:
    from torch import nn

HEAD = 64
"""Channels of a head at width 1."""
PATCHES = 7
"""Patches of a side that an image has at least, if the size of a patch is chosen for it."""


@dataclass(frozen=True)
class Family:
    """Ranges of a supernet of the paper.

    Args:
        embeddings: Channels of a token at width 1.
        depths: Numbers of layers.
        heads, ratios: Heads and MLP ratios of a layer.
        published: Name -> text of a released network.
    """

    embeddings: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    ratios: tuple[float, ...]
    published: Mapping[str, str]


FAMILIES = MappingProxyType(
    {
        "tiny": Family(
            (192, 216, 240),
            (12, 13, 14),
            (3, 4),
            (3.5, 4),
            {"AutoFormer-T": "192/h3r3.5-h3r3.5-h3r3-h3r3.5-h3r3-h3r3-h3r4-h3r4-h3r3.5-h3r4-h4r3.5-h3r4-h3r3.5"},
        ),
        "small": Family(
            (320, 384, 448),
            (12, 13, 14),
            (5, 6, 7),
            (3, 3.5, 4),
            {"AutoFormer-S": "384/h6r3-h6r3.5-h5r3-h7r3.5-h5r4-h5r4-h5r4-h6r4-h6r4-h7r4-h7r4-h6r3.5-h7r4"},
        ),
        "base": Family(
            (528, 576, 624),
            (14, 15, 16),
            (8, 9, 10),
            (3, 3.5, 4),
            {
                "AutoFormer-B": "576/h9r3.5-h9r3.5-h9r4-h9r3.5-h9r4-h10r3.5-h9r3.5-h9r3-h10r4-h9r4-h10r3-h9r4-h9r3"
                "-h10r3.5"
            },
        ),
    }
)
NETWORKS = {name: text for family in FAMILIES.values() for name, text in family.published.items()}


class AutoFormer(SearchSpace):
    """Tokens' channels, number of layers, and each layer's heads and MLP ratio.

    Args:
        family: Ranges: `tiny`, `small` or `base`.
        mlp_ratios: Hidden channels of an MLP as multiples of a token's, rising, 0.5 to 16; None: those of the family.
        width: Multiplier of the channels of tokens and heads (published: 1).
        patch: Side of a patch (pixels; published: 16, for images of 224); None: the largest power of two up to 16 of
            which an image has 7 or more a side, at least 2: 4 for images of 32 pixels, 2 for images of 8.
    """

    network_sizes = ("width", "patch")
    small_network = MappingProxyType({"width": 0.125, "patch": None})

    def __init__(
        self,
        family: str = "tiny",
        mlp_ratios: Sequence[float] | None = None,
        width: float = 1.0,
        patch: int | None = None,
    ) -> None:
        one_of("space.family", family, list(FAMILIES))
        self.family, self.ranges = family, FAMILIES[family]
        self.ratios = (
            self.ranges.ratios
            if mlp_ratios is None
            else rising_numbers("space.mlp_ratios", mlp_ratios, 0.5, 16, "[3.5, 4]")
        )
        self.width, self.patch = width, patch
        _check_sizes("space", width, patch)
        fewest, most = self.ranges.depths[0], self.ranges.depths[-1]
        self.choices = {
            "embedding": Ordinal(self.ranges.embeddings),
            "depth": Ordinal(self.ranges.depths),
        }
        for layer in range(1, most + 1):
            self.choices[f"layer{layer}.heads"] = Ordinal(self.ranges.heads)
            self.choices[f"layer{layer}.mlp_ratio"] = Ordinal(self.ratios)
        self.conditions = {
            f"layer{layer}.{part}": {"depth": [depth for depth in self.ranges.depths if depth >= layer]}
            for layer in range(fewest + 1, most + 1)
            for part in ("heads", "mlp_ratio")
        }
        offered = set(map(_number, self.ratios))
        self.published = {
            name: text
            for name, text in self.ranges.published.items()
            if offered.issuperset(re.findall(r"r(\d+(?:\.\d+)?)", text))
        }

    def build(self, architecture: Architecture, task: Task, network: Mapping[str, Any] | None = None) -> nn.Module:
        from search_spaces.autoformer_network import Network  # torch: describing the space starts without it

        self.validate(architecture)
        sizes = {"width": self.width, "patch": self.patch} | self.known_sizes(network or {})
        width, patch = sizes["width"], sizes["patch"]
        _check_sizes("trainer.network", width, patch)
        if patch is not None and patch > max(task.height, task.width):
            raise UsageError(
                f"patches of {patch}x{patch} pixels are larger than the images, {task.height}x{task.width}; set a "
                "smaller space.patch or trainer.network={patch: …}, or null"
            )
        embedding, layers = self._chosen(architecture)
        return Network(
            layers,
            task,
            embedding=max(1, round(embedding * width)),
            channels=max(1, round(HEAD * width)),
            patch=_patch(task) if patch is None else patch,
        )

    def _chosen(self, architecture: Architecture) -> tuple[int, list[tuple[int, float]]]:
        """Channels of a token, and (heads, MLP ratio) of each layer."""
        chosen = self.settings(architecture)
        layers = range(1, chosen["depth"] + 1)
        return chosen["embedding"], [(chosen[f"layer{n}.heads"], chosen[f"layer{n}.mlp_ratio"]) for n in layers]

    def to_text(self, architecture: Architecture) -> str:
        """Channels of a token, then heads and MLP ratio of each layer, as in `192/h3r3.5-h3r4-…`."""
        embedding, layers = self._chosen(architecture)
        return f"{embedding}/" + "-".join(f"h{heads}r{_number(ratio)}" for heads, ratio in layers)

    def from_text(self, text: str) -> Architecture:
        """Read the layers, or the name of a published network.

        Raises:
            UsageError: The text is not of this space.
        """
        name = text.strip()
        embedding, _, rest = NETWORKS.get(name, name).partition("/")
        found = [re.fullmatch(r"h(\d+)r(\d+(?:\.\d+)?)", layer.strip()) for layer in rest.split("-")]
        if not all(found):
            raise UsageError(
                f"arch={text!r} is not a network of AutoFormer; expected text like '192/h3r3.5-h3r4-…' with "
                f"{self.ranges.depths[0]} to {self.ranges.depths[-1]} layers, or one of {', '.join(NETWORKS)}"
            )
        options = [(layer[1], layer[2]) for layer in found if layer is not None]
        values = [
            self._position(text, "the embedding", embedding, self.ranges.embeddings),
            self._position(text, "the number of layers", str(len(options)), self.ranges.depths),
        ]
        for number, (heads, ratio) in enumerate(options, start=1):
            values.append(self._position(text, f"the number of heads of layer {number}", heads, self.ranges.heads))
            if ratio not in map(_number, self.ratios):
                wanted = ",".join(sorted({*map(_number, self.ratios), *(ratio for _, ratio in options)}, key=float))
                raise UsageError(
                    f"arch={text!r}: the MLP ratio of layer {number} is {ratio}, which is not among "
                    f"{', '.join(map(_number, self.ratios))}; set space.mlp_ratios=[{wanted}]"
                )
            values.append([*map(_number, self.ratios)].index(ratio))
        return (*values, *[0] * (len(self.choices) - len(values)))

    def _position(self, text: str, what: str, option: str, options: Sequence[int]) -> int:
        texts = [str(known) for known in options]
        if option not in texts:
            raise UsageError(
                f"arch={text!r}: {what} is {option}, but space.family={self.family} has {', '.join(texts)}; the "
                f"families are {', '.join(FAMILIES)}"
            )
        return texts.index(option)


def _patch(task: Task) -> int:
    """Side of the patches of such images, if none is set."""
    side = min(task.height, task.width)
    return max((size for size in (16, 8, 4) if side // size >= PATCHES), default=2)


def _check_sizes(key: str, width: object, patch: object) -> None:
    number_in(f"{key}.width", width, 0, 16, above=True)
    if patch is not None:
        whole_number(f"{key}.patch", patch)


def _number(value: float) -> str:
    """A number as text: 4, 3.5."""
    return f"{value:g}"
