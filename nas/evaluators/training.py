"""Score an architecture by training it and measuring its accuracy on the validation images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from nas.core import Architecture, Context, Metrics, Proposal
from nas.data import generators
from nas.data.base import DataSet
from nas.data.images import Images, Split
from nas.errors import TrialFailed, UserError
from nas.space.base import SearchSpace
from nas.training import count
from nas.training.built import built_from
from nas.training.check import check_network
from nas.training.device import PeakMemory, configured, resolve_device
from nas.training.findings import Teller
from nas.training.fit import TrainingFailed, fit, memory_guard
from nas.training.recipe import Recipe
from nas.training.seeding import random_numbers_kept


class TrainingEvaluator:
    """Trains each proposal from scratch on the training part and validates it on the other.

    Metrics of a trial: `valid_accuracy` (fraction 0-1), `valid_loss`, `train_loss` (nats), `parameters` and `flops`
    (multiply-accumulates an image), with `uncounted:NAME` for each operator whose work is not in it. Measured cost:
    `peak_memory_mb` (MiB; of the process on a CPU).

    Args:
        space: builds the networks.
        data: training images; the test images stay locked.
        trainer: the recipe. A proposal's fidelity replaces its number of epochs.
    """

    def __init__(self, space: SearchSpace, data: DataSet, trainer: Recipe) -> None:
        self.space = space
        self.data = data
        self.trainer = trainer
        self.network = space.known_sizes(trainer.network)
        self._split: Split | None = None
        self._parts: tuple[Images, Images] | None = None
        self._teller = Teller()

    def protocol(self) -> Mapping[str, Any]:
        """Data split, recipe and size of the network."""
        recipe = self.trainer.protocol() | {"network": self.network}
        return {"data": self.data.name, "split": self._the_split().hash, "recipe": recipe}

    def prepare(self, device: str) -> None:
        """Load the images onto the device.

        Raises:
            UserError: they are missing, damaged, or too many for the device.
        """
        place = resolve_device(device)
        split, recipe = self._the_split(), self.trainer
        try:
            with memory_guard():
                train, valid = split.train.first(recipe.train_images), split.valid.first(recipe.valid_images)
                self._parts = train.to(place), valid.to(place)
        except TrainingFailed as failure:
            raise UserError(f"the images do not fit onto {place}: {failure.message}") from None

    def architecture_metrics(self, architecture: Architecture) -> Metrics:
        """`parameters` and `flops` of the network that would be trained."""
        with random_numbers_kept(torch.device("cpu")):
            return count.architecture(self.space.build(architecture, self.data.task, self.network), self.data.task)

    def __call__(self, proposal: Proposal, context: Context) -> Metrics:
        if self._parts is None:
            self.prepare(context.device)
        assert self._parts is not None
        train, valid = self._parts
        recipe = self.trainer if proposal.fidelity is None else replace(self.trainer, epochs=proposal.fidelity)
        device = train.pixels.device
        memory = PeakMemory(device)
        try:
            with configured(device, recipe), memory_guard(), generators.kept():
                network = built_from(
                    context.seed, lambda: self.space.build(proposal.architecture, self.data.task, self.network)
                )
                self._teller.take(check_network(network, train, self.data.task, recipe))
                metrics = count.architecture(network, self.data.task)
                metrics |= fit(network.to(device), train, valid, recipe, seed=context.seed, report=context.report)
        except TrainingFailed as failure:
            raise TrialFailed(failure.kind, failure.message) from None
        finally:
            context.measured("peak_memory_mb", round(memory.mebibytes(), 1))
        return metrics

    def __getstate__(self) -> dict[str, Any]:
        """Without the images: each process loads its own."""
        return self.__dict__ | {"_split": None, "_parts": None}

    def _the_split(self) -> Split:
        if self._split is None:
            self._split = self.data.split()
            if len(self._split.train) < 2:
                raise UserError(f"{self.data.name} has fewer than two training images")
        return self._split
