"""The weights of a supernet, with the images that they are trained and measured on.

Every random number is a function of a seed and the epoch, so a training that resumes from its checkpoint takes
the course it would have taken.
"""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nas.core import Task
from nas.data.images import Images, Split
from nas.errors import UsageError
from nas.supernets.base import SupernetSpace
from nas.supernets.memory_estimate import check_batch_memory, free_memory, need
from nas.supernets.recipe import check_recipe
from nas.supernets.steps import Batch, generator, measure, weight_optimizer, weight_step
from nas.training.architecture import build_seeded
from nas.training.augment import Augmenter
from nas.training.check import check_supernet
from nas.training.findings import FindingsReporter, listed
from nas.training.fit import TrainingFailed, batches
from nas.training.memory_format import contiguous, to_channels_last, to_contiguous
from nas.training.recipe import Recipe
from nas.training.seeding import seed_all

TRAIN = 1
"""Number of the stream of random numbers that orders an epoch's training images; callers use the others."""
LAYERS = 6
"""Number of the stream that layers such as dropout draw from."""


class Weights:
    """A supernet with its optimizer.

    Args:
        space: Space whose supernet is trained.
        split: Images; the weights are trained on the training part and measured on the validation part.
        task: Shape of the images and number of classes.
        recipe: How the weights are trained; its epochs are the length of the schedule.
        seed: Seed of initialisation, order and augmentation.
        device: Device to train on.
        partial_channels: K of PC-DARTS; 1: all channels.
        run_all_operations: Whether each step reaches all weights, and not only those of sampled paths.

    Raises:
        UsageError: The recipe asks for something that a supernet does not support.
    """

    def __init__(
        self,
        space: SupernetSpace,
        split: Split,
        task: Task,
        recipe: Recipe,
        *,
        seed: int,
        device: torch.device,
        partial_channels: int = 1,
        run_all_operations: bool,
    ) -> None:
        check_recipe(recipe)
        self.recipe = recipe
        self.task = task
        self.seed = seed
        self.device = device
        self.run_all_operations = run_all_operations
        self._started = time.monotonic()
        self.train = self._augmenter(split.train.first(recipe.train_images).to(device))
        self.held_out = split.valid.first(recipe.valid_images).to(device)
        self.valid = self._augmenter(self.held_out)
        supernet = build_seeded(
            seed, lambda: space.supernet(task, sizes(space, recipe), partial_channels=partial_channels), "supernet"
        )
        lazy = [name for name, value in (*supernet.named_parameters(), *supernet.named_buffers()) if is_lazy(value)]
        if lazy:
            raise UsageError(
                f"the supernet of {type(space).__name__} has lazy modules ({listed(lazy)}), whose sizes are unknown "
                "before its weights are optimised; give them explicit sizes"
            )
        self.supernet: nn.Module = supernet.to(device)
        if recipe.channels_last:
            to_channels_last(self.supernet, device)
        self.optimizer = weight_optimizer(self.supernet, recipe, run_all_operations=run_all_operations)

    def _augmenter(self, images: Images) -> Augmenter:
        return Augmenter(images, self.recipe.crop, self.recipe.flip, self.recipe.cutout)

    def set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def batches(self, augmenter: Augmenter, epoch: int, part: int) -> Iterator[Batch]:
        """Batches of an epoch, and then of further rounds, without end.

        Args:
            part: Number of the stream of random numbers.
        """
        for number in itertools.count():
            yield from self._round(augmenter, epoch, part, number)

    def training_batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The training images once, without the first `skip` batches."""
        return self._round(self.train, epoch, TRAIN, 0, skip)

    def _round(self, augmenter: Augmenter, epoch: int, part: int, number: int, skip: int = 0) -> Iterator[Batch]:
        draws = augmenter.draw(generator(self.seed, epoch, part, number))
        for start, stop in itertools.islice(batches(len(augmenter), self.recipe.batch_size), skip, None):
            images, labels = augmenter.batch(draws, start, stop)
            yield images if self.recipe.channels_last else contiguous(images), labels

    @property
    def steps_an_epoch(self) -> int:
        return sum(1 for _ in batches(len(self.train), self.recipe.batch_size))

    def start(self, part: int) -> None:
        """Start a part of the training, such as an epoch, that may follow a checkpoint.

        What layers draw in it, as dropout does, is a function of the seed and the part.
        """
        seed_all(generator(self.seed, part, LAYERS).initial_seed())
        self.supernet.train()

    def epoch(self, epoch: int, epochs: int, step: Callable[[Batch], Tensor]) -> float:
        """One pass over the training images at the epoch's learning rate, cosine by epochs as DARTS has it.

        Args:
            epoch: Number of the epoch, from 1.
            epochs: Length of the schedule.
            step: Trains on a batch and returns its loss.

        Returns:
            Mean loss of the steps (nats).
        """
        self.set_lr(self.recipe.learning_rate((epoch - 1) / epochs))
        self.start(epoch)
        total, images = torch.zeros((), device=self.device), 0
        for batch in self.training_batches(epoch):
            total += step(batch) * len(batch[1])
            images += len(batch[1])
            self.check_time(f"in epoch {epoch} of {epochs}")
        return total.item() / images

    def step(self, batch: Batch, paths: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """See `steps.weight_step`."""
        return weight_step(
            self.supernet, paths, batch, self.optimizer, self.recipe, run_all_operations=self.run_all_operations
        )

    def measure(self, probs: Mapping[str, Tensor]) -> tuple[float, float]:
        """Accuracy (fraction 0-1) and mean cross-entropy (nats) on the validation images."""
        return measure(self.supernet, self._on_device(probs), self.held_out, self.recipe)

    def check_step(self, probs: Mapping[str, Tensor], curvature: str | None = None) -> None:
        """Raise `UserError`, with the largest batch that fits, unless a step at these probabilities does.

        An estimate, made before the first step. The output of the supernet is checked like that of every network.

        Args:
            probs: Probabilities on any device.
            curvature: Setting that asks for the eigenvalue after each epoch, for the message; None: no setting does.

        Raises:
            TrainingFailed: The supernet cannot be trained.
        """
        on_device = self._on_device(probs)
        findings, reason = check_supernet(self.supernet, on_device, self.held_out, self.task, self.recipe)
        FindingsReporter(trainings=1).add(findings)
        if reason:
            warnings.warn(
                f"the supernet does not run in channels-last memory format ({reason}); it is trained in contiguous "
                "format, as supernet.channels_last=false does without this warning",
                stacklevel=2,
            )
            self.recipe = replace(self.recipe, channels_last=False)
            to_contiguous(self.supernet)
        free = free_memory(self.device)
        parts: list[tuple[Augmenter, str | None]] = [(self.train, None)]
        if curvature is not None:
            parts.append((self.valid, curvature))
        for images, setting in parts:
            fixed, each = need(
                self.supernet,
                on_device,
                self.task,
                channels_last=self.recipe.channels_last,
                curvature=setting is not None,
            )
            batch = min(self.recipe.batch_size, len(images))
            check_batch_memory(fixed, each, batch, "supernet.batch_size", free, curvature=setting)

    def _on_device(self, probs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Probabilities on the device of the weights; those of a single architecture come from the CPU."""
        return {name: rows.to(self.device) for name, rows in probs.items()}

    def check_time(self, when: str) -> None:
        limit = self.recipe.time_limit
        if limit is not None and time.monotonic() - self._started > limit:
            raise TrainingFailed(
                "time_limit",
                f"training exceeded supernet.time_limit={limit:g} s {when}; raise the limit",
            )

    def check_finite(self, metrics: Mapping[str, float], when: str) -> None:
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise TrainingFailed(
                    "not_finite", f"{name} became {value} {when}. Try supernet.lr={self.recipe.lr / 10:g}"
                )

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.supernet.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.supernet.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])


def sizes(space: SupernetSpace, recipe: Recipe) -> dict[str, Any]:
    """Sizes of the supernet; a null in the recipe stands for the published size."""
    return space.known_sizes(recipe.network, space.search_network, "supernet.network")
