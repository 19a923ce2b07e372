"""Weights that many architectures share: trained on sampled paths before a search, or on each proposal in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nas.core import Architecture, Metrics
from nas.errors import UsageError
from nas.supernets.base import SupernetSpace
from nas.supernets.paths import Sampler
from nas.supernets.steps import Batch
from nas.supernets.weights import Weights
from nas.training.checkpoint import LOAD_ERRORS, cannot_resume, load_checkpoint, save_checkpoint

SAVED_EVERY = 10.0
"""Seconds between checkpoints of weights that learn from proposals; a resumed search learns later proposals again."""


@dataclass
class SharedSupernet:
    """Weights and the state of their training.

    Args:
        space: Space whose supernet it is.
        weights: Untrained weights.
        path: File for the checkpoint; None: no checkpoint is saved.
        identity: Everything that decides the course of the training; JSON-safe.
    """

    space: SupernetSpace
    weights: Weights
    path: Path | None
    identity: Mapping[str, Any]
    seconds: float = 0.0

    def score(self, architecture: Architecture) -> tuple[float, float]:
        """Accuracy (fraction 0-1) and loss (nats) of an architecture on the validation images."""
        return self.weights.measure(self.relaxed(architecture))

    def relaxed(self, architecture: Architecture) -> dict[str, Tensor]:
        """Its probabilities on the device of the weights."""
        probs = self.space.relax(architecture)
        return {name: rows.to(self.weights.device) for name, rows in probs.items()}

    def save(self, state: Mapping[str, Any]) -> None:
        if self.path is not None:
            state = {**self.weights.state_dict(), "seconds": self.seconds, **state}
            save_checkpoint(self.path, self.identity, state)

    def load(self, *names: str) -> list[Any] | None:
        """Restore the weights, and return what was saved under these names; None without a checkpoint.

        Raises:
            UserError: The checkpoint is damaged or of another training; it is left as it is.
        """
        state = None if self.path is None else load_checkpoint(self.path, self.identity)
        if state is None:
            return None
        try:
            values = [list(state[name]) for name in names]
            self.seconds = float(state["seconds"])
            self.weights.load_state_dict(state)
        except LOAD_ERRORS as error:
            raise cannot_resume(self.path, error) from None
        return values


@dataclass
class PretrainedSupernet(SharedSupernet):
    """Weights trained on sampled single paths, epoch after epoch.

    Args:
        sampler: Draws the paths of a step.
    """

    sampler: Sampler = field(kw_only=True)
    curve: list[Metrics] = field(default_factory=list, init=False)

    def train(self, report: Callable[[int, Sequence[Metrics]], None]) -> None:
        """Train to the end, from the checkpoint if there is one.

        Args:
            report: Called at the start and after each epoch with the number of epochs and the curve so far.

        Raises:
            TrainingFailed: A loss became infinite or NaN, or time ran out.
        """
        epochs = self.weights.recipe.epochs
        (self.curve,) = self.load("curve") or ([],)
        report(epochs, tuple(self.curve))
        self.weights.check_step(self.relaxed(self.space.sample(np.random.default_rng(self.weights.seed))))
        while len(self.curve) < epochs:
            self._epoch(len(self.curve) + 1, epochs)
            report(epochs, tuple(self.curve))

    def _epoch(self, epoch: int, epochs: int) -> None:
        started = time.perf_counter()
        rng = np.random.default_rng((self.weights.seed, epoch))

        def step(batch: Batch) -> Tensor:
            return self.weights.step(batch, [self.relaxed(path) for path in self.sampler(self.space, rng)])

        metrics = {"supernet_train_loss": self.weights.epoch(epoch, epochs, step)}
        self.weights.check_finite(metrics, f"in epoch {epoch} of {epochs}")
        self.curve.append(metrics)
        self.seconds += time.perf_counter() - started
        self.save({"curve": [dict(entry) for entry in self.curve]})


@dataclass
class OnlineSupernet(SharedSupernet):
    """Weights trained for some steps on each proposal, at a learning rate that falls step by step.

    Args:
        steps: Batches per proposal.
    """

    steps: int = field(kw_only=True)
    learnt: list[Architecture] = field(default_factory=list, init=False)

    def resume(self, proposals: Sequence[Architecture]) -> None:
        """Train the weights on these proposals, from the checkpoint if there is one.

        Raises:
            UserError: The checkpoint has learnt from proposals that are not among these.
            TrainingFailed: As `learn`.
        """
        (learnt,) = self.load("learnt") or ([],)
        self.learnt = [tuple(architecture) for architecture in learnt]
        self.saved = time.monotonic()
        self.weights.check_step(self.relaxed(self.space.sample(np.random.default_rng(self.weights.seed))))
        known = len(self.learnt)
        if self.learnt != list(proposals[:known]):
            raise UsageError(
                f"the checkpoint {self.path} has learnt from {known} proposals, which are not those of this run; "
                "remove it to start again, or set another run="
            )
        for architecture in proposals[known:]:
            self.learn(architecture)

    def learn(self, architecture: Architecture) -> float:
        """Train on a proposal.

        Returns:
            Mean loss of the steps (nats).

        Raises:
            TrainingFailed: The loss became infinite or NaN, or time ran out.
        """
        # all these proposals are in the store by now, so a checkpoint is never ahead of it
        if self.learnt and time.monotonic() - self.saved > SAVED_EVERY:
            self.save_proposals()
        started = time.perf_counter()
        weights = self.weights
        weights.start(len(self.learnt))
        probs = self.relaxed(architecture)
        length = weights.steps_an_epoch
        first = len(self.learnt) * self.steps
        total = 0.0
        for number in range(first, first + self.steps):
            weights.set_lr(weights.recipe.learning_rate(min(1.0, number / (weights.recipe.epochs * length))))
            total += weights.step(self._batch(*divmod(number, length)), [probs]).item()
            weights.check_time(f"at proposal {len(self.learnt)}")
        loss = total / self.steps
        weights.check_finite({"train_loss": loss}, f"at proposal {len(self.learnt)}")
        self.learnt.append(tuple(architecture))
        self.seconds += time.perf_counter() - started
        return loss

    def save_proposals(self) -> None:
        """Write the checkpoint."""
        self.save({"learnt": [list(architecture) for architecture in self.learnt]})
        self.saved = time.monotonic()

    def _batch(self, epoch: int, position: int) -> Batch:
        """A batch by its position in its epoch, counted from 0."""
        if getattr(self, "_at", None) != (epoch, position):
            self._stream = self.weights.training_batches(epoch + 1, skip=position)
        self._at = epoch, position + 1
        return next(self._stream)
