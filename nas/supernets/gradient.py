"""A gradient search: weights and alpha of a supernet in turn, epoch after epoch, with health checks and checkpoints.

Liu, Simonyan & Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, https://arxiv.org/abs/1806.09055,
algorithm 1. The strategy owns alpha; this owns the weights, their optimizer and its schedule, cosine by epochs as in
the published code.

Every random number is a function of the search's seed and the epoch, so a search that resumes from its checkpoint
takes the course it would have taken.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.core import Architecture, Metrics
from nas.data import generators
from nas.data.base import DataSet
from nas.errors import UsageError, UserError
from nas.identity import DECISIONS
from nas.space.base import SearchSpace
from nas.space.notation import recorded_choices
from nas.supernets.base import GradientStrategy, SupernetSearch, SupernetSpace
from nas.supernets.compatibility import check_compatible, warmup
from nas.supernets.graphs import GraphStep, Step
from nas.supernets.health import (
    STOPPING_RULE,
    check_alpha,
    collapse,
    dominant_eigenvalue,
    entropy,
    skip_share,
    stops_at,
)
from nas.supernets.recipe import SupernetRecipe, check_recipe
from nas.supernets.steps import Batch, autocast, generator
from nas.supernets.weights import Weights
from nas.training.checkpoint import LOAD_ERRORS, cannot_resume, load_checkpoint, save_checkpoint
from nas.training.device import PeakMemory, configured, resolve_device
from nas.training.fit import TrainingFailed, memory_guard
from nas.training.recipe import Recipe

REMOVAL_RULE = 2
"""Version of what a discretization removes under partial channels, saved with its decisions. Version 1 (cellnas 0.1.0)
did not remove the channels that bypass an edge's operations."""


@dataclass
class GradientSearch:
    """Runs the searches of a gradient strategy.

    Args:
        space: Space to search; it must have a supernet.
        data: Images; alpha is learnt on the validation part.
        recipe: How the weights are trained, for the strategy's number of epochs.
        folder: Folder for checkpoints, one per search; None: no checkpoints are saved.
        settings: Other settings that decide the course of a search, saved in the checkpoints; JSON-safe.
    """

    space: SearchSpace
    data: DataSet
    recipe: Recipe
    folder: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_recipe(self.recipe)

    def __call__(
        self,
        strategy: GradientStrategy,
        number: int,
        seed: int,
        device: str,
        report: Callable[[int, Sequence[Metrics]], None],
    ) -> SupernetSearch:
        """One search.

        Args:
            number: Number of the trial, which names the checkpoint.
            seed: Seed of everything random in it.
            report: Called at the start and after each epoch with the number of epochs and the curve so far.

        Raises:
            UserError: The batch does not fit, a number became infinite or NaN, or a checkpoint cannot be used.
        """
        resolved = resolve_device(device)
        memory = PeakMemory(resolved)
        try:
            with configured(resolved, self.recipe), memory_guard("supernet"), generators.restored():
                run = SearchRun(self, strategy, seed, resolved, self._path(number))
                result = run.search(report)
        except TrainingFailed as failure:
            # without a derived architecture there is no trial to store, but there may be a checkpoint
            path = self._path(number)
            resumable = failure.kind != "not_finite" and path is not None and path.exists()
            more = "; rerun the command to resume after the last epoch that was saved" if resumable else ""
            raise UserError(f"the search on the supernet failed: {failure.message}{more}") from None
        return replace(result, cost={"supernet_memory_mb": round(memory.mebibytes(), 1)})

    def _path(self, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"search-{number:04d}.pt"

    def identity(self, strategy: GradientStrategy, seed: int, split: str, device: str) -> dict[str, Any]:
        """Everything that decides the course of a search."""
        return {
            "space": type(self.space).__name__,
            DECISIONS: recorded_choices(self.space),
            "strategy": type(strategy).__name__,
            "seed": seed,
            "device": device,
            "split": split,
            "recipe": self.recipe.protocol() | {"epochs": strategy.epochs},
            "settings": dict(self.settings),
        }


class SearchRun:
    """One search, from its first epoch or from its checkpoint."""

    def __init__(
        self, search: GradientSearch, strategy: GradientStrategy, seed: int, device: torch.device, path: Path | None
    ) -> None:
        if not isinstance(search.space, SupernetSpace):
            raise UsageError(f"space {type(search.space).__name__} has no supernet; choose another space= or strategy=")
        self.space = search.space
        self.strategy = strategy
        self.recipe = recipe = replace(search.recipe, epochs=strategy.epochs)
        self.seed = seed
        self.path = path
        self.device = device
        split = search.data.split()
        self.identity = search.identity(strategy, seed, split.hash, device.type)
        self.task = search.data.task
        self.weights = Weights(
            self.space,
            split,
            self.task,
            recipe,
            seed=seed,
            device=device,
            partial_channels=self._partial_channels(),
            run_all_operations=not strategy.single_path,
        )
        check_compatible(strategy, recipe, len(self.weights.held_out))
        strategy.init(np.random.default_rng(seed), device)
        self.curve: list[Metrics] = []
        self.history: list[Mapping[str, Tensor]] = []  # probabilities after each epoch, for an early stop
        self.seconds = 0.0
        self.curvature_batch = recipe.batch_size
        self.decisions: list[list[int]] = []  # of a discretization, those of earlier sessions included
        self.decision_count = 0  # decisions of this session, restored ones included
        self.tuned = 0  # decisions after which the weights were tuned

    def _partial_channels(self) -> int:
        shares = self.strategy.partial_channels
        if shares > 1 and not self.space.supports_partial_channels:
            raise UsageError(
                f"strategy.partial_channels={shares}: the supernet of {type(self.space).__name__} does not support "
                "partial channels; choose another strategy= or space="
            )
        return shares

    def search(self, report: Callable[[int, Sequence[Metrics]], None]) -> SupernetSearch:
        self._load()
        with torch.no_grad():
            probs = self.strategy.probs(generator(self.seed, 0, 0))
        measured_for = next((key for key in ("eigenvalue", "early_stopping") if getattr(self.strategy, key)), None)
        self.weights.check_step(
            probs if not self.strategy.single_path else self._measured(), measured_for and f"strategy.{measured_for}"
        )
        report(self.strategy.epochs, tuple(self.curve))
        # Not an attribute: a step refers to this run, and a reference cycle would not be freed at once.
        recorded = uses_graphs(self.device, self.recipe) and not self.strategy.stochastic
        graph = GraphStep(self._step, self.recipe.batch_size) if recorded else None
        ended = self._ended()
        while ended is None:
            self.run_epoch(len(self.curve) + 1, graph)
            self._save()
            report(self.strategy.epochs, tuple(self.curve))
            ended = self._ended()
        probs = self.history[ended - 1]
        architecture = self._derived(probs)
        info: dict[str, Any] = {
            "probs": {name: (rows.double() * 1e5).round().div(1e5).tolist() for name, rows in probs.items()},
        }
        if ended < len(self.curve):
            info |= {"stopped_early_at": ended, "stopping_rule": STOPPING_RULE}
        if self.decision_count and self._partial():
            info["removal_rule"] = REMOVAL_RULE
        warning = collapse(self.space, architecture)
        if warning is not None:
            info["collapse"] = warning
        return SupernetSearch(architecture, tuple(self.curve), self.seconds, info=info)

    def _partial(self) -> bool:
        """Whether some channels bypass the operations."""
        return self.strategy.partial_channels > 1

    def _derived(self, probs: Mapping[str, Tensor]) -> Architecture:
        if self.strategy.discretization is None:
            return self.space.derive(probs)
        rng = np.random.default_rng((self.seed, 1))
        on_device = {name: rows.to(self.device) for name, rows in probs.items()}
        if self._partial():
            # channels that bypass the operations are removed with their edge, by its weight, so there must be one
            for name, (edges, _) in self.space.alpha_shapes.items():
                on_device.setdefault(f"{name}_edges", torch.ones(edges, device=self.device))
        return self.strategy.discretization(self.space, on_device, self, rng)

    def _ended(self) -> int | None:
        """The epoch, from 1, whose probabilities are the outcome; None to continue."""
        if self.strategy.early_stopping:
            stop = stops_at([metrics["alpha_eigenvalue"] for metrics in self.curve], warmup(self.strategy))
            if stop is not None:
                return stop
        return len(self.curve) if len(self.curve) >= self.strategy.epochs else None

    # --- one epoch ------------------------------------------------------------------------------------------------

    def run_epoch(self, epoch: int, graph: GraphStep | None) -> None:
        started = time.perf_counter()
        strategy, weights = self.strategy, self.weights
        strategy.start_epoch(epoch)
        self.rng = generator(self.seed, epoch, 0)
        valid = weights.batches(weights.valid, epoch, 2)
        step: Step = self._step
        if graph is not None:
            graph.start_epoch()
            step = graph
        loss = weights.epoch(epoch, strategy.epochs, lambda train: step(train, next(valid)))
        self._finish(epoch, loss)
        self.seconds += time.perf_counter() - started

    def _step(self, train: Batch, valid: Batch) -> Tensor:
        """One step of alpha and one of the weights."""
        strategy, weights = self.strategy, self.weights
        with autocast(self.device, self.recipe):
            strategy.alpha_step(weights.supernet, train, valid, weights.optimizer, self.rng)
        with torch.no_grad():
            probs = strategy.probs(self.rng)
        return weights.step(train, [probs])

    def _finish(self, epoch: int, train_loss: float) -> None:
        """Measure the state of the search."""
        probs = {name: rows.cpu() for name, rows in self.strategy.expected().items()}
        metrics = {"supernet_train_loss": train_loss}
        if self.recipe.validates_after(epoch):
            accuracy, loss = self.weights.measure(self._measured())
            metrics |= {"supernet_valid_loss": loss, "supernet_valid_accuracy": accuracy}
        check_alpha(self.strategy, metrics, f"in epoch {epoch} of {self.strategy.epochs}")
        self.weights.check_finite(metrics, f"in epoch {epoch} of {self.strategy.epochs}")
        metrics["skip_share"] = skip_share(self.space, self.space.derive(probs))
        metrics["alpha_entropy"] = entropy(probs)
        if self.strategy.eigenvalue or self.strategy.early_stopping:
            metrics["alpha_eigenvalue"] = self._eigenvalue(epoch)
        self.history.append(probs)
        self.curve.append(metrics)

    def _measured(self) -> Mapping[str, Tensor]:
        """Probabilities that the supernet is validated at: of the likeliest cell if the method samples cells."""
        if not self.strategy.single_path:
            return self.strategy.expected()
        return self.space.relax(self.space.derive(self.strategy.expected()))

    def _eigenvalue(self, epoch: int) -> float:
        """The dominant eigenvalue; if memory runs out, on fewer images, here and in the epochs that follow.

        It takes more memory than a step, and no epoch should be lost for it.

        Raises:
            TrainingFailed: There is not enough memory for two images.
        """
        while True:
            try:
                with memory_guard("supernet"):
                    return self._curvature(epoch)
            except TrainingFailed as failure:
                if self.curvature_batch < 4:
                    raise
                reason = failure.message
            # only here are the failure and the memory that its traceback held released
            self.curvature_batch //= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            warnings.warn(
                f"the eigenvalue after epoch {epoch} is measured on {self.curvature_batch} images: {reason}",
                stacklevel=2,
            )

    def _curvature(self, epoch: int) -> float:
        """At least in single precision: products with a Hessian of rounded numbers would be noise."""
        images, labels = next(self.weights.batches(self.weights.valid, epoch, 3))
        images, labels = images[: self.curvature_batch], labels[: self.curvature_batch]
        probs = self.strategy.probs(generator(self.seed, epoch, 4))
        logits = self.weights.supernet(images, probs, run_all_operations=self.weights.run_all_operations)
        loss = nn.functional.cross_entropy(logits, labels)
        return dominant_eigenvalue(loss, self.strategy.alphas(), generator(self.seed, epoch, 5))

    # --- for a discretization that evaluates the supernet ---------------------------------------------------------

    def score(self, probs: Mapping[str, Tensor]) -> float:
        return self.weights.measure(probs)[0]

    def decide(self, decision: Callable[[], Sequence[int]]) -> Sequence[int]:
        self.decision_count += 1
        if self.decision_count > len(self.decisions):
            started = time.perf_counter()
            self.decisions.append(list(decision()))
            self.seconds += time.perf_counter() - started
        return self.decisions[self.decision_count - 1]

    def tune(self, probs: Mapping[str, Tensor], epochs: int) -> None:
        """Continue to train, and save the weights with all decisions."""
        if self.decision_count <= self.tuned:
            return  # done by an earlier session
        started = time.perf_counter()
        self.weights.set_lr(self.recipe.lr_min or self.recipe.lr / 10)
        for epoch in range(epochs):
            number = self.strategy.epochs + 1 + self.tuned * epochs + epoch
            self.weights.start(number)
            losses = [self.weights.step(batch, [probs]) for batch in self.weights.training_batches(number)]
            self.weights.check_finite({"loss": float(torch.stack(losses).mean())}, "while a cell was derived")
            self.weights.check_time("while a cell was derived")
        self.tuned = self.decision_count
        self.seconds += time.perf_counter() - started
        self._save()

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def _save(self) -> None:
        if self.path is None:
            return
        state = {
            **self.weights.state_dict(),
            "strategy": self.strategy.state_dict(),
            "curve": [dict(metrics) for metrics in self.curve],
            "history": [dict(probs) for probs in self.history],
            "seconds": self.seconds,
            "decided": self.decisions[: self.decision_count],
            "tuned": self.tuned,
        }
        if self.strategy.early_stopping:
            state["stopping_rule"] = STOPPING_RULE
        if self._partial():
            state["removal_rule"] = REMOVAL_RULE
        save_checkpoint(self.path, self.identity, state)

    def _load(self) -> None:
        state = None if self.path is None else load_checkpoint(self.path, self.identity)
        if state is None:
            return
        if self.strategy.early_stopping and state.get("stopping_rule") != STOPPING_RULE:
            raise UsageError(
                f"the checkpoint {self.path} comes from a search by an earlier version of cellnas, whose "
                "strategy.early_stopping=true ended searches far too early; remove it to start again"
            )
        if self._partial() and state.get("decided") and state.get("removal_rule") != REMOVAL_RULE:
            raise UsageError(
                f"the checkpoint {self.path} comes from a search by an earlier version of cellnas, which removed only "
                "a part of each edge when it derived the cell; remove it to start again"
            )
        try:
            self.weights.load_state_dict(state)
            self.strategy.load_state_dict(state["strategy"])
            self.curve, self.history, self.seconds = state["curve"], state["history"], state["seconds"]
            self.decisions, self.tuned = state["decided"], state["tuned"]
        except LOAD_ERRORS as error:
            raise cannot_resume(self.path, error) from None


def uses_graphs(device: torch.device, recipe: Recipe) -> bool:
    """Whether steps run as CUDA graphs."""
    return device.type == "cuda" and isinstance(recipe, SupernetRecipe) and recipe.graphs
