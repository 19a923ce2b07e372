"""The interface of evaluators: a callable, and abilities that the search looks for with `isinstance`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from nas.core import Architecture, Context, Metrics, Proposal, Trial


class Evaluator(Protocol):
    """Scores a proposal; a plain function is enough."""

    def __call__(self, proposal: Proposal, context: Context) -> Metrics:
        """Final metrics of the proposal, the objective's among them.

        Raises:
            TrialFailed: This trial is lost; the search continues.
        """


@runtime_checkable
class SupportsPrepare(Protocol):
    """An evaluator with work to do once before the first trial, such as loading data."""

    def prepare(self, device: str) -> None: ...


@runtime_checkable
class SupportsProtocol(Protocol):
    """An evaluator that states what makes two of its results comparable."""

    def protocol(self) -> Mapping[str, Any]:
        """Data split, recipe, network, fidelity; JSON-safe. Results of unequal protocols are never ranked together."""


@runtime_checkable
class SupportsArchitectureMetrics(Protocol):
    """An evaluator with metrics that belong to an architecture itself and not to its function class.

    A duplicate reuses the accuracy of its class, but never its parameters: two members can differ in dead operations.
    """

    def architecture_metrics(self, architecture: Architecture) -> Metrics: ...


@runtime_checkable
class SupportsRepeatedQueries(Protocol):
    """An evaluator that must evaluate duplicates again: each query of a benchmark has a cost, or shared weights have
    changed since.
    """

    answers_every_query: bool


@runtime_checkable
class SupportsMinimized(Protocol):
    """An evaluator with metrics whose lower values are better; the leaderboard sorts accordingly."""

    minimized: Sequence[str]


@runtime_checkable
class SupportsSharedWeights(Protocol):
    """An evaluator that scores with weights it trains itself: before the first trial, or trial by trial.

    Attributes:
        sequential: Whether a score depends on the proposals before it, so that one process evaluates them in order.
        metric_names: Names of its metrics, so that any other objective is refused before the training.
        is_trained: Whether trained weights are in memory or in a checkpoint.
        checkpoint_dir: Folder for its checkpoint, set by the caller; None: nothing is saved.
    """

    sequential: bool
    metric_names: Sequence[str]
    is_trained: bool
    checkpoint_dir: Path | None

    def train_weights(
        self, device: str, trials: Sequence[Trial], report: Callable[[int, Sequence[Metrics]], None]
    ) -> None:
        """Train as far as the next trial requires, from a checkpoint if there is one; called before any evaluation.

        Args:
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            trials: Trials of earlier sessions, by number.
            report: Called after each epoch with the number of epochs and the curve so far.

        Raises:
            UserError: The weights cannot be trained, or a checkpoint cannot be used.
        """

    def scores(self, architectures: Sequence[Architecture], device: str) -> list[float]:
        """Scores with the current weights; higher is better."""


@runtime_checkable
class SupportsReporting(Protocol):
    """An evaluator, or a reporter beside one, with columns that no search may see; they are read after the run."""

    def reported(self, architecture: Architecture) -> Metrics:
        """Column -> value of an architecture, in the units of its table; empty if the table lacks it.

        Raises:
            TestSetLocked: A search is running.
        """

    def optimum(self, column: str) -> float | None:
        """The best value of a column over the whole space; None if unknown.

        Raises:
            TestSetLocked: A search is running.
        """

    def direction(self, column: str) -> Literal["maximize", "minimize"]:
        """Whether higher or lower values of a column are better."""

    def label(self, column: str) -> str:
        """The label of a column, with its unit, for the axis of a figure."""


def reporter_of(evaluator: object) -> SupportsReporting | None:
    """The object that reports on the architectures that an evaluator has scored: the evaluator, or its `reporter`."""
    reporter = evaluator if isinstance(evaluator, SupportsReporting) else getattr(evaluator, "reporter", None)
    return reporter if isinstance(reporter, SupportsReporting) else None
