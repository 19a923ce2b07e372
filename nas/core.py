"""The core types of cellnas. Read this module first.

A *strategy* proposes architectures of a *search space*, an *evaluator* scores them, `nas.search` is the only loop
between them, and a *store* keeps every trial. This module holds what they exchange; it imports no torch, and from the
project only errors and checks of values. The interface of each part is in the `base.py` of its package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import index
from typing import Any, Literal, TypeAlias

from nas.errors import UsageError
from nas.validation import as_written, one_of

Architecture: TypeAlias = tuple[int, ...]
"""One option index per decision of the space, in the order of its `choices`; hashable and JSON-safe."""

Metrics: TypeAlias = Mapping[str, float]
"""Metric name -> value. Accuracies are fractions 0-1, times seconds, parameters and FLOPs (MACs) counts."""

UNCOUNTED_PREFIX = "uncounted:"
"""Prefix of a metric that names an operator whose work is missing from `flops`; its value is the number of calls."""


def uncounted(metrics: Iterable[str]) -> list[str]:
    """Names of the operators whose work is missing from the `flops` of these metrics."""
    return sorted(name.removeprefix(UNCOUNTED_PREFIX) for name in metrics if name.startswith(UNCOUNTED_PREFIX))


@dataclass(frozen=True, slots=True)
class Task:
    """The shape of an image classification problem; every data set states its own.

    Args:
        channels: Channels of an image.
        height, width: Size of an image in pixels.
        classes: Number of labels.

    Integers of NumPy and torch are converted to Python's.
    """

    channels: int
    height: int
    width: int
    classes: int

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "classes"):
            value = getattr(self, name)
            if type(value) not in (int, bool):
                with suppress(TypeError):  # the data set's check refuses other values
                    object.__setattr__(self, name, index(value))


@dataclass(frozen=True, slots=True)
class Proposal:
    """A request of a strategy: evaluate this architecture.

    Args:
        architecture: Point of the space.
        fidelity: Epochs to train; None: the evaluator's full length.
        info: JSON-safe notes of the strategy (bracket, rung, parent …), stored with the trial.
    """

    architecture: Architecture
    fidelity: int | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trial:
    """One evaluated proposal: what the strategy receives by `tell`, and what the store keeps.

    Args:
        number: 0, 1, 2 … in the order of `ask`; identifies the trial within its run.
        proposal: Proposal that was evaluated.
        text: Architecture in the field's notation.
        canonical: Key of the function class; equal only for architectures that compute the same function.
        seed: Training seed, a function of the run's seed, `canonical` and the repeat.
        status: `completed` or `failed`.
        metrics: Final values; empty if the trial failed before it had any.
        seconds: Wall time of the evaluation; 0 if its result was reused.
        cost: Other measurements of the machine (`peak_memory_mb` …). Unlike `metrics`, they differ from run to run.
        reused_from: Number of the trial with an equivalent architecture whose result was reused, or None.
        error_kind, error: Kind of the failure and its message, or None.
        curve: Metrics after each epoch, first epoch first; empty for evaluators without epochs.
        told_before: Number of trials that the strategy had been told when it proposed this one.
        traceback: Python traceback of the failure, as text; None if it completed or its worker died.
    """

    number: int
    proposal: Proposal
    text: str
    canonical: str
    seed: int
    status: Literal["completed", "failed"]
    metrics: Metrics
    seconds: float
    cost: Metrics = field(default_factory=dict)
    reused_from: int | None = None
    error_kind: str | None = None
    error: str | None = None
    curve: Sequence[Metrics] = ()
    told_before: int = 0
    traceback: str | None = None

    @property
    def completed(self) -> bool:
        return self.status == "completed"


@dataclass(frozen=True)
class Objective:
    """The objective of a search.

    Args:
        metric: Name of the metric to optimise.
        direction: `maximize` or `minimize`.
    """

    metric: str = "valid_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric:
            raise UsageError(f"objective.metric must be the name of a metric, got {as_written(self.metric)}")
        one_of("objective.direction", self.direction, ("maximize", "minimize"))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Objective:
        """The objective of a run, from its stored settings."""
        stored = config.get("objective") or {}
        return cls(**{key: stored[key] for key in ("metric", "direction") if key in stored})

    def score(self, trial: Trial) -> float:
        """The objective of a completed trial, higher is better.

        Raises:
            UsageError: The trial has no such metric, for example because it failed; check `trial.completed` first.
        """
        if self.metric not in trial.metrics:
            reason = (
                f"it failed: {trial.error}" if trial.error else f"it has {', '.join(sorted(trial.metrics)) or 'none'}"
            )
            raise UsageError(
                f"trial {trial.number} has no metric {self.metric!r} ({reason}); a strategy receives failed trials too "
                "and must check trial.completed before objective.score(trial)"
            )
        value = trial.metrics[self.metric]
        return value if self.direction == "maximize" else -value

    def best(self, trials: Sequence[Trial]) -> Trial | None:
        """The incumbent: the completed trial with the highest score, the earliest of equals; None without one."""
        completed = [trial for trial in trials if trial.completed]
        return max(completed, key=self.score, default=None)


@dataclass(frozen=True, slots=True)
class Context:
    """The arguments of an evaluator besides the proposal.

    Args:
        seed: Training seed; the same seed and proposal give the same metrics on the same device.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        report: Call it after each epoch with that epoch's metrics; they become the trial's curve.
        measured: Call it with the name and value of something that differs from run to run (memory, latency). It
            becomes part of the trial's `cost`, since `metrics` must be reproducible.
    """

    seed: int
    device: str
    report: Callable[[Metrics], None]
    measured: Callable[[str, float], None]
