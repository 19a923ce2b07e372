"""The nouns of cellnas: the page to read first.

A *strategy* proposes architectures of a *search space*, an *evaluator* scores them, `nas.search` is the only loop
between them, and a *store* keeps every trial. This module holds what they exchange; it imports neither torch nor
anything of the project but errors and checks of values. What each part offers is in the `base.py` of its package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import index
from typing import Any, Literal, TypeAlias

from nas.errors import UsageError
from nas.validation import one_of, shown

Architecture: TypeAlias = tuple[int, ...]
"""One option index per decision of the space, in the order of its `choices`; hashable and JSON-safe."""

Metrics: TypeAlias = Mapping[str, float]
"""Metric name -> value. Accuracies are fractions 0-1, times seconds, parameters and FLOPs (MACs) counts."""

UNCOUNTED = "uncounted:"
"""Prefix of a metric that names an operator whose work is missing in `flops`; its value is the number of calls."""


def uncounted(metrics: Iterable[str]) -> list[str]:
    """Names of the operators whose work is missing in the `flops` of these metrics."""
    return sorted(name.removeprefix(UNCOUNTED) for name in metrics if name.startswith(UNCOUNTED))


@dataclass(frozen=True, slots=True)
class Task:
    """The shape of an image classification problem; every data set states its own.

    Args:
        channels, height, width: of one image, pixels.
        classes: number of labels.

    NumPy's and torch's whole numbers become Python's.
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
    """What a strategy asks to have evaluated.

    Args:
        architecture: the point of the space.
        fidelity: epochs to train, or None for the evaluator's own full length.
        info: JSON-safe remarks of the strategy (bracket, rung, neighbour of …), stored with the trial.
    """

    architecture: Architecture
    fidelity: int | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trial:
    """One evaluated proposal; what a strategy is told and what the store keeps.

    Args:
        number: 0, 1, 2 … in the order of asking; names the trial within its run.
        proposal: what was evaluated.
        text: the architecture in the field's notation.
        canonical: key of the function class; equal only for architectures that compute the same function.
        seed: training seed, a function of the run's seed, `canonical` and the repeat.
        status: `completed` or `failed`.
        metrics: final values; empty where the trial failed before any.
        seconds: wall time of the evaluation, 0 where it was reused.
        cost: what else the machine measured (`peak_memory_mb` …). Unlike `metrics`, it differs from run to run.
        reused_from: number of the equal trial whose result this one carries, or None.
        error_kind, error: kind and sentence of the failure, or None.
        curve: metrics after each epoch, first epoch first; empty for evaluators without epochs.
        asked_after: how many trials the strategy had been told when it proposed this one.
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

    @property
    def completed(self) -> bool:
        return self.status == "completed"


@dataclass(frozen=True)
class Objective:
    """What the search optimises.

    Args:
        metric: name of the metric that counts.
        direction: `maximize` or `minimize`.
    """

    metric: str = "valid_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric:
            raise UsageError(f"objective.metric must be the name of a metric, got {shown(self.metric)}")
        one_of("objective.direction", self.direction, ("maximize", "minimize"))

    def score(self, trial: Trial) -> float:
        """The objective of a completed trial as a number of which higher is better.

        Raises:
            UsageError: the trial failed and has no such metric; strategies ask `trial.completed` first.
        """
        if self.metric not in trial.metrics:
            reason = (
                f"it failed: {trial.error}" if trial.error else f"it has {', '.join(sorted(trial.metrics)) or 'none'}"
            )
            raise UsageError(
                f"trial {trial.number} has no metric {self.metric!r} ({reason}); a strategy is told failed trials too "
                "and must ask trial.completed before objective.score(trial)"
            )
        value = trial.metrics[self.metric]
        return value if self.direction == "maximize" else -value

    def best(self, trials: Sequence[Trial]) -> Trial | None:
        """The incumbent: the completed trial of highest score, the earliest among equals; None without one."""
        done = [trial for trial in trials if trial.completed]
        return max(done, key=self.score, default=None)


@dataclass(frozen=True, slots=True)
class Context:
    """What an evaluation is given besides the proposal.

    Args:
        seed: the training seed; the same seed and proposal give the same metrics on the same device.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        report: call it after each epoch with that epoch's metrics; they become the trial's curve.
        measured: call it with a name and a value that differs from run to run (memory, latency); it becomes part of
            the trial's `cost`, since its metrics must repeat.
    """

    seed: int
    device: str
    report: Callable[[Metrics], None]
    measured: Callable[[str, float], None]
