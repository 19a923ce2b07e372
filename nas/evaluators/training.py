"""Score an architecture by training it and measuring its accuracy on the validation images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.core import Architecture, Context, Metrics, Proposal
from nas.data.base import DataSet
from nas.data.images import Split
from nas.errors import TrialFailed, UsageError, UserError
from nas.files import atomic_write
from nas.space.base import SearchSpace
from nas.space.tuned import TunedSpace
from nas.training.architecture import TrainingImages, count_architecture, train_architecture
from nas.training.device import PeakMemory, resolve_device
from nas.training.findings import FindingsReporter
from nas.training.fit import TrainingFailed, memory_guard
from nas.training.recipe import Recipe
from nas.training.tuning import check_tuned, tuned_protocol, tuned_recipe


def predictions_file(text: str, seed: int) -> str:
    """Name of the file with the validation probabilities of a trial.

    Args:
        text: Its architecture.
        seed: Its training seed.
    """
    return f"{hashlib.blake2b(f'{seed} {text}'.encode(), digest_size=8).hexdigest()}.npy"


def _write_predictions(path: Path, logits: Tensor) -> None:
    """Write the probabilities of logits (N, classes) as float32.

    Raises:
        UserError: The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.save(file, logits.softmax(1).numpy())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); free up disk space") from None


class TrainingEvaluator:
    """Trains each proposal from scratch on the training images and scores it on the validation images.

    Metrics of a trial: `valid_accuracy` (fraction 0-1), `valid_loss`, `train_loss` (nats), `parameters` and `flops`
    (multiply-accumulates per image), with `uncounted:NAME` for each operator whose work `flops` does not include.
    Measured cost: `peak_memory_mb` (MiB; of the process on a CPU).

    Args:
        space: Space that builds the networks.
        data: Training images; the test images stay locked.
        trainer: Recipe. A proposal's fidelity replaces its number of epochs, and an architecture of a space with
            tuned settings replaces those.

    Raises:
        UsageError: A tuned setting does not fit the recipe.
    """

    predictions_dir: Path | None
    """Folder for the validation probabilities of each trial (`predictions_file`), set by the caller; None: they are not
    kept."""

    def __init__(self, space: SearchSpace, data: DataSet, trainer: Recipe) -> None:
        check_tuned(space, trainer)
        self.space = space
        self.data = data
        self.trainer = trainer
        self.network = space.known_sizes(trainer.network)
        self._split: Split | None = None
        self._images: TrainingImages | None = None
        self._findings = FindingsReporter()
        self.predictions_dir: Path | None = None

    def use(self, split: Split) -> None:
        """Take images that have been read, instead of reading them again."""
        self._split = split

    def protocol(self) -> Mapping[str, Any]:
        """Data split, recipe and size of the network."""
        recipe = tuned_protocol(self.space, self.trainer.protocol() | {"network": self.network})
        return {"data": self.data.name, "split": self._the_split().hash, "recipe": recipe}

    def prepare(self, device: str) -> None:
        """Load the images onto the device.

        Raises:
            UserError: They are missing, damaged, or too many for the device.
        """
        self._load(device)

    def architecture_metrics(self, architecture: Architecture) -> Metrics:
        """`parameters` and `flops` of the network that would be trained."""
        recipe = tuned_recipe(self.space, architecture, self.trainer)
        return count_architecture(self.space, architecture, self.data.task, recipe)

    def __call__(self, proposal: Proposal, context: Context) -> Metrics:
        images = self._images or self._load(context.device)
        device = images.train.pixels.device
        memory = PeakMemory(device)
        outputs: list[Tensor] | None = None if self.predictions_dir is None else []
        try:
            recipe = self._recipe(proposal)
            if recipe.train_images != self._loaded().train_images:
                images = replace(images, train=images.train.first(recipe.train_images))
            trained = train_architecture(
                self.space,
                proposal.architecture,
                images,
                recipe,
                seed=context.seed,
                device=device,
                report=context.report,
                findings=self._findings,
                outputs=outputs,
            )
        except TrainingFailed as failure:
            raise TrialFailed(failure.kind, failure.message) from None
        finally:
            context.measured("peak_memory_mb", round(memory.mebibytes(), 1))
        if self.predictions_dir is not None and outputs:
            text = self.space.to_text(proposal.architecture)
            _write_predictions(self.predictions_dir / predictions_file(text, context.seed), torch.cat(outputs))
        return {**trained.counts, **trained.metrics}

    def _recipe(self, proposal: Proposal) -> Recipe:
        try:
            recipe = tuned_recipe(self.space, proposal.architecture, self.trainer)
            if proposal.fidelity is not None and "epochs" in self.space.trainer_settings(proposal.architecture):
                raise UsageError("epochs are tuned, and the strategy chooses them too; leave out tune.epochs")
            return recipe if proposal.fidelity is None else replace(recipe, epochs=proposal.fidelity)
        except UsageError as error:
            raise TrialFailed("unfit_settings", str(error)) from None

    def __getstate__(self) -> dict[str, Any]:
        """Without the images: each process loads its own."""
        return self.__dict__ | {"_split": None, "_images": None}

    def _load(self, device: str) -> TrainingImages:
        target = resolve_device(device)
        try:
            with memory_guard():
                images = TrainingImages.of_split(self.data.task, self._the_split(), self._loaded()).to(target)
        except TrainingFailed as failure:
            raise UserError(f"the images do not fit onto {target}: {failure.message}") from None
        self._images = images
        return images

    def _loaded(self) -> Recipe:
        """The recipe that says which images are loaded: all that a trial may train on."""
        if type(self.space).trainer_settings is SearchSpace.trainer_settings:
            return self.trainer
        numbers = self.space.tune.choices.get("train_images", ()) if isinstance(self.space, TunedSpace) else (None,)
        if not numbers:
            return self.trainer
        return replace(self.trainer, train_images=None if None in numbers else max(numbers))

    def _the_split(self) -> Split:
        if self._split is None:
            self._split = self.data.split()
            if len(self._split.train) < 2:
                raise UserError(f"{self.data.name} has fewer than two training images")
        return self._split
