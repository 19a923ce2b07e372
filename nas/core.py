"""The nouns of cellnas: the page to read first.

A *strategy* proposes architectures of a *search space*, an *evaluator* scores them, `nas.search.search` is the
only loop between them, and a *store* keeps every trial. This module holds what they exchange and what each must
offer; it imports nothing of the project and nothing of torch.

Optional abilities are types of their own (`Preparable`, `Comparable`, `DescribesArchitecture`), asked for once with
`isinstance`, so that a plain function is an evaluator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from numpy.random import Generator

    from nas.space import SearchSpace

Architecture: TypeAlias = tuple[int, ...]
"""One option index per decision of the space, in the order of its `choices`; hashable and JSON-safe."""

Metrics: TypeAlias = Mapping[str, float]
"""Metric name -> value. Accuracies are fractions 0-1, times seconds, parameters and FLOPs (MACs) counts."""

NOT_IN_TABLE = "not_in_table"  # kind of failure of a proposal that a table of a sample lacks; it costs nothing


# --- errors ------------------------------------------------------------------------------------------------------


class UserError(Exception):
    """Something the user can mend, told in one sentence: the value, what was expected, the key to change."""


class UsageError(UserError, ValueError):
    """The command or the arguments are wrong in themselves (exit code 2); nothing was started."""


class TrialFailed(Exception):
    """Ends one trial, not the search.

    Args:
        kind: stored with the trial: `not_finite`, `out_of_memory`, `time_limit`, `not_in_table`, or an own word.
        message: one sentence for a person, with what to try.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def shown(value: object) -> str:
    """A value as a user writes it."""
    return "null" if value is None else repr(value)


def whole_number(key: str, value: object, least: int = 1, most: int = 2**63 - 1) -> None:
    """Raise `UsageError` naming `key` unless `value` is an int from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        limit = "" if most == 2**63 - 1 and not (isinstance(value, int) and value > most) else f" and at most {most}"
        raise UsageError(f"{key} must be a whole number of at least {least}{limit}, got {shown(value)}")


def number_in(key: str, value: object, low: float, high: float, *, above: bool = False, null: bool = False) -> None:
    """Raise `UsageError` naming `key` unless `value` is a finite number from `low` to `high`.

    Args:
        above: the low end itself is excluded.
        null: None passes.
    """
    if value is None and null:
        return
    good = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if not good or not low <= value <= high or (above and value == low):  # type: ignore[operator]
        span = f"above {low:g}" if above else f"at least {low:g}"
        span += f" and at most {high:g}" if isfinite(high) else ""
        raise UsageError(f"{key} must be a number {span}{' or null' if null else ''}, got {shown(value)}")


def one_of(key: str, value: object, options: Sequence[str]) -> None:
    """Raise `UsageError` naming `key` and the options unless `value` is among them."""
    if value not in options:
        raise UsageError(f"{key} must be one of {', '.join(options)}, got {shown(value)}")


# --- what is exchanged -------------------------------------------------------------------------------------------


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
    asked_after: int = 0

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


# --- what each part must offer -----------------------------------------------------------------------------------


class Strategy(Protocol):
    """A search method; made with `space=` and `objective=`, and knowing nothing else."""

    def reset(self, rng: Generator) -> None:
        """Start anew; the only random initialisation (controller weights and the like)."""

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal | None:
        """The next proposal. Pure: two calls with equal generators give equal proposals and change nothing.

        Args:
            rng: this trial's own random numbers; valid during the call only.
            pending: proposals asked for but not told yet, oldest first.

        Returns:
            None to wait for a pending trial; None with nothing pending ends the search.
        """

    def tell(self, trial: Trial) -> None:
        """The only change of state: a strategy is a fold over the trials it was told, so resume is replay.

        Failed trials are told too: `objective.score(trial)` needs `trial.completed`.
        """


class Evaluator(Protocol):
    """Scores a proposal; a plain function will do."""

    def __call__(self, proposal: Proposal, context: Context) -> Metrics:
        """Final metrics of the proposal, the objective's among them.

        Raises:
            TrialFailed: this trial is lost, the search goes on.
        """


@runtime_checkable
class Preparable(Protocol):
    """An evaluator with work to do once before the first trial, such as loading data."""

    def prepare(self, device: str) -> None: ...


@runtime_checkable
class Comparable(Protocol):
    """An evaluator that says what makes two of its results comparable."""

    def protocol(self) -> Mapping[str, Any]:
        """JSON-safe: data split, recipe, network, fidelity. Results of unequal protocols are never ranked together."""


@runtime_checkable
class DescribesArchitecture(Protocol):
    """An evaluator with metrics that belong to an architecture itself and not to its function class.

    A duplicate reuses the accuracy of its class, but never its parameters: two members can differ in dead operations.
    """

    def architecture_metrics(self, architecture: Architecture) -> Metrics: ...


@runtime_checkable
class AnswersEveryQuery(Protocol):
    """An evaluator that must be asked again about a duplicate: a benchmark whose every query costs, shared weights that
    have changed since."""

    answers_every_query: bool


@runtime_checkable
class DeclaresMinimized(Protocol):
    """An evaluator that names those of its metrics that are better lower; the leaderboard sorts by it."""

    minimized: Sequence[str]


@runtime_checkable
class Learns(Protocol):
    """An evaluator that scores with weights which it trains itself: before the first trial, or trial by trial.

    Attributes:
        sequential: whether a score depends on the proposals before it, so that this process evaluates them in order.
        metric_names: of its metrics, so that another objective is refused before the training.
        at_hand: whether the weights are trained, or kept in a checkpoint.
    """

    sequential: bool
    metric_names: Sequence[str]
    at_hand: bool

    def keep_in(self, folder: Path) -> None:
        """Keep checkpoints in a folder from now on."""

    def begin(self, device: str, trials: Sequence[Trial], report: Callable[[int, Sequence[Metrics]], None]) -> None:
        """Train as far as is due before the next trial, or go on from a checkpoint; called before any evaluation.

        Args:
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            trials: those of earlier sessions, by number.
            report: called after each epoch with the number of epochs and the curve so far.

        Raises:
            UserError: the weights cannot be trained, or a checkpoint cannot be used.
        """

    def scores(self, architectures: Sequence[Architecture], device: str) -> list[float]:
        """Scores with the weights as they are now, higher is better."""


@runtime_checkable
class Reports(Protocol):
    """An evaluator that knows columns which no search may see, joined after the run."""

    def reported(self, architecture: Architecture) -> Metrics:
        """Column -> value of an architecture, in the units of its table.

        Raises:
            TestSetLocked: a search is running.
        """

    def optimum(self, column: str) -> float | None:
        """The best value of a column over the whole space; None where unknown.

        Raises:
            TestSetLocked: a search is running.
        """

    def direction(self, column: str) -> Literal["maximize", "minimize"]:
        """Which way a column is better."""

    def label(self, column: str) -> str:
        """The column in words, with its unit, for the axis of a figure."""


class StrategyFactory(Protocol):
    """Makes a strategy: the class itself, or `functools.partial` of it with settings."""

    def __call__(self, *, space: SearchSpace, objective: Objective) -> Strategy: ...


class Listener(Protocol):
    """Watches a search: progress bar, TensorBoard. It cannot change anything."""

    def start(self, run: str, trials: Sequence[Trial], total: int | None, objective: Objective) -> None:
        """Called once, with the trials of a resumed run and the number of trials planned (None: unknown)."""

    def told(self, trial: Trial) -> None: ...

    def close(self) -> None:
        """Called once, also after an error or an interruption."""


@runtime_checkable
class WatchesEpochs(Protocol):
    """A listener that also watches the training of a supernet: of a search that a trial's architecture comes from, or
    of the weights that an evaluator scores with."""

    def epoch(self, number: int | None, epochs: int, curve: Sequence[Metrics]) -> None:
        """Called at the start of such a training and after each of its epochs.

        Args:
            number: of the trial; None: of the evaluator.
            epochs: planned.
            curve: metrics of the epochs so far, those of earlier sessions included.
        """
