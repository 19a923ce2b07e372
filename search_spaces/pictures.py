"""Ways to a classifier of one's own pictures, from a fixed small network to a searched cell.

Four methods share one leaderboard: a small residual network (the baseline, always there), a pretrained network whose
features are frozen, one whose last parts or whole are tuned, and a cell of NAS-Bench-201 that starts from random
weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nas.core import Architecture, Task
from nas.errors import UsageError
from nas.space.base import SearchSpace
from nas.space.decisions import Ordinal
from nas.space.graph import Graph
from nas.validation import rising_numbers, true_or_false, whole_number
from search_spaces.nasbench201 import NASBench201

if TYPE_CHECKING:
    from torch import nn

METHODS = ("baseline", "frozen", "finetuned", "searched")
PRETRAINED = ("frozen", "finetuned")
SIDES = (96, 128, 160, 224)
SHARES = MappingProxyType({"last": 0.25, "half": 0.5, "all": 1.0})
"""Option of `tuned` -> share of the pretrained body's parts that are trained."""
WIDTHS = (16, 32)
"""Channels of the first stage of a searched network."""
RATES = (0.3, 1.0, 3.0)
"""Factors of a method's usual learning rate."""
CELLS = NASBench201(channels=16, cells=1)
GOOD_CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
"""Where the search of cells starts: the cell of NAS-Bench-201 with the highest test accuracy on CIFAR-10."""
SCRATCH: Mapping[str, Any] = MappingProxyType({"optimizer": "sgd", "lr": 0.05, "weight_decay": 5e-4, "batch_size": 64})
TUNING: Mapping[str, Any] = MappingProxyType(
    {"optimizer": "adamw", "lr": 3e-4, "weight_decay": 0.01, "batch_size": 32, "label_smoothing": 0.1}
)
RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"baseline": SCRATCH, "searched": SCRATCH, "finetuned": TUNING, "frozen": {"batch_size": 32}}
)
"""Method -> settings of its training."""


class Pictures(SearchSpace):
    """Methods, their networks and their training.

    Args:
        methods: Some of `METHODS`, the baseline among them.
        backbone: Pretrained network of the methods `frozen` and `finetuned`, as `nas.backbones.make_backbone` takes it;
            None: neither of them.
        download: Whether its weights may be downloaded.
        sides: Sides in pixels that images may be resized to for its frozen features, rising.
        finetuned_sides: The same where it is tuned, which takes three times as long.
        shares: Some of `SHARES`: how much of it may be tuned.
        epochs: Method -> epochs of a trial; 10 for a method that is missing. `frozen` needs none.
        train_images: Method -> training images of a trial, at most; missing: all.

    Raises:
        UsageError: One of them is not as stated.
    """

    def __init__(
        self,
        *,
        methods: Sequence[str] = METHODS,
        backbone: str | None = "efficientnet_lite0",
        download: bool = False,
        sides: Sequence[int] = SIDES,
        finetuned_sides: Sequence[int] = SIDES[:3],
        shares: Sequence[str] = tuple(SHARES),
        epochs: Mapping[str, int] | None = None,
        train_images: Mapping[str, int] | None = None,
    ) -> None:
        _check_subset("space.methods", methods, METHODS, "baseline")
        _check_subset("space.shares", shares, tuple(SHARES))
        true_or_false("space.download", download)
        for key, pixels in (("space.sides", sides), ("space.finetuned_sides", finetuned_sides)):
            for side in rising_numbers(key, pixels, 32, 1024, "[96, 224]"):
                whole_number(key, side)
        for key, numbers in (("epochs", epochs or {}), ("train_images", train_images or {})):
            for method, number in numbers.items():
                if method not in METHODS:
                    raise UsageError(f"space.{key}.{method} is not a method; expected one of {', '.join(METHODS)}")
                whole_number(f"space.{key}.{method}", number, least=1)
        self.methods = tuple(name for name in METHODS if name in methods and (backbone or name not in PRETRAINED))
        self.backbone, self.download = backbone, download
        self.epochs, self.train_images = dict(epochs or {}), dict(train_images or {})
        self.choices: dict[str, Any] = {"method": self.methods}
        self.conditions: dict[str, Mapping[str, Any]] = {}
        if "frozen" in self.methods:
            self._decide("side", Ordinal(tuple(sides)), ["frozen"])
        if "finetuned" in self.methods:
            self._decide("finetuned_side", Ordinal(tuple(finetuned_sides)), ["finetuned"])
            self._decide("tuned", Ordinal(tuple(name for name in SHARES if name in shares)), ["finetuned"])
        rated = [name for name in self.methods if name != "frozen"]
        self._decide("rate", Ordinal(RATES), rated)
        if "searched" in self.methods:
            self._decide("width", Ordinal(WIDTHS), ["searched"])
            for edge, operations in CELLS.choices.items():
                self._decide(edge, operations, ["searched"])

    def _decide(self, name: str, options: Any, methods: Sequence[str]) -> None:
        self.choices[name] = options
        self.conditions[name] = {"method": tuple(methods)}

    def build(self, architecture: Architecture, task: Task, network: Mapping[str, Any] | None = None) -> nn.Module:
        from search_spaces.pictures_networks import PretrainedNetwork, ReducedNetwork, SmallResNet

        chosen = self.settings(architecture)
        if chosen["method"] in PRETRAINED:
            from nas.backbones import make_backbone

            backbone = make_backbone(str(self.backbone), download=self.download)
            side = int(chosen["side" if chosen["method"] == "frozen" else "finetuned_side"])
            if side not in backbone.sides((side,)):
                raise UsageError(
                    f"backbone={self.backbone} takes images of {backbone.side} pixels only; set space.sides and "
                    f"space.finetuned_sides to [{backbone.side}]"
                )
            if chosen["method"] == "frozen":
                return PretrainedNetwork(backbone, task, side, 0.0)
            return PretrainedNetwork(backbone, task, side, SHARES[chosen["tuned"]])
        if chosen["method"] == "baseline":
            return ReducedNetwork(task, SmallResNet)
        cell, sizes = self.cell(architecture), {"channels": chosen["width"], "cells": 1}
        return ReducedNetwork(task, lambda small: CELLS.build(cell, small, sizes))

    def trainer_settings(self, architecture: Architecture) -> dict[str, Any]:
        chosen = self.settings(architecture)
        method = chosen["method"]
        settings = dict(RECIPES[method])
        epochs = 1 if method == "frozen" else self.epochs.get(method, 10)
        if chosen.get("width") == WIDTHS[-1]:
            epochs = max(1, epochs // 2)  # it takes three times as long
        if "lr" in settings:
            settings["lr"] *= chosen["rate"]
        images = {"train_images": self.train_images[method]} if method in self.train_images else {}
        return {**settings, "epochs": epochs, "warmup_epochs": min(1, epochs // 4), **images}

    def training_protocol(self) -> dict[str, Any]:
        """What two searches must share for their trials to be comparable: each method's recipe and length."""
        lengths = {"epochs": self.epochs, "train_images": self.train_images}
        return {"recipes": {name: dict(RECIPES[name]) for name in self.methods}, **lengths}

    def cell(self, architecture: Architecture) -> Architecture:
        """The cell of a searched architecture, in NAS-Bench-201."""
        chosen = self.settings(architecture)
        return tuple(CELLS.index(edge, chosen[edge]) for edge in CELLS.choices)

    def to_text(self, architecture: Architecture) -> str:
        chosen = self.settings(architecture)
        cell = [f"cell={CELLS.to_text(self.cell(architecture))}"] if chosen["method"] == "searched" else []
        return ";".join([f"{name}={value}" for name, value in chosen.items() if name not in CELLS.choices] + cell)

    def from_text(self, text: str) -> Architecture:
        before, separator, cell = text.partition(";cell=")
        if not separator:
            return super().from_text(text)
        edges = CELLS.settings(CELLS.from_text(cell))
        return super().from_text(";".join([before, *(f"{edge}={operation}" for edge, operation in edges.items())]))

    def canonical(self, architecture: Architecture) -> str:
        if self.settings(architecture)["method"] != "searched":
            return self.to_text(architecture)
        before = self.to_text(architecture).partition(";cell=")[0]
        return f"{before};cell={CELLS.canonical(self.cell(architecture))}"

    def graphs(self, architecture: Architecture) -> Mapping[str, Graph]:
        searched = self.settings(architecture)["method"] == "searched"
        return CELLS.graphs(self.cell(architecture)) if searched else {}

    def first_architectures(self) -> list[Architecture]:
        """What to try before anything else, in order: each method at its usual settings, the baseline's other
        learning rates, since a winner that was tuned must not be compared with a baseline that was not, then the
        other sides and shares."""
        sides, finetuned_sides, shares = (
            [str(option) for option in self.choices.get(name, ())] for name in ("side", "finetuned_side", "tuned")
        )
        cell = f"width=16;cell={GOOD_CELL}"
        wanted = {
            "baseline": ["rate=1.0"],
            "frozen": [f"side={side}" for side in reversed(sides[-2:])],
            "finetuned": [
                f"finetuned_side={side};tuned={share};rate=1.0"
                for side in finetuned_sides[-1:]
                for share in shares[::-1]
            ],
            "searched": [f"rate=1.0;{cell}"],
        }
        rates = [f"method=baseline;rate={rate}" for rate in RATES if rate != 1.0]
        rounds = max(len(texts) for texts in wanted.values())
        texts = [
            f"method={method};{wanted[method][turn]}"
            for turn in range(rounds)
            for method in self.methods
            if turn < len(wanted[method])
        ]
        texts[len(self.methods) : len(self.methods)] = rates
        return [self.from_text(text) for text in texts]


def _check_subset(key: str, given: Any, known: Sequence[str], needed: str | None = None) -> None:
    """Raise `UsageError` unless a setting is a list of known options, with the one that is needed."""
    if not isinstance(given, Sequence) or isinstance(given, str) or not given or not set(given) <= set(known):
        raise UsageError(f"{key}={given!r} must be a list of some of {', '.join(known)}")
    if needed is not None and needed not in given:
        raise UsageError(f"{key}={list(given)} lacks {needed}, which everything else is compared with; add it")
