"""What a store keeps and offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from nas.core import Metrics, Trial
from nas.errors import UsageError
from nas.identity import differences
from nas.store.protocol import EvaluationProtocol, RetrainingProtocol

FREE_KEYS = ("budget", "store", "dir", "run", "progress", "format", "data.root", "table.root", "executor", "workers",
             "supernet.graphs", "choices.experiment", "scheduling.in_flight", "config_dir", "minimized")  # fmt: skip
"""Settings that a continued run may change, with all below them: they alter no trial. A data set's folder is `root`.
How many workers there are does alter trials; `search()` keeps that as `scheduling`, where there are several."""


class NoStore(UsageError):
    """There is nothing yet where the store should be."""


@dataclass(frozen=True)
class Run:
    """One search.

    Args:
        name: unique within its store.
        seed: of the whole run.
        config: the resolved settings, nested and JSON-safe.
        protocol: what makes its results comparable with others (data split, recipe, network, fidelity).
        environment: versions and machine that it was started with.
    """

    name: str
    seed: int
    config: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def evaluation(self) -> EvaluationProtocol:
        """The protocol, to read."""
        return EvaluationProtocol(self.protocol)


@dataclass(frozen=True)
class Retraining:
    """One network trained from scratch on training and validation images and tested once.

    Args:
        run, trial: where its architecture was found; None where it came from a file or from text.
        space: name of its space.
        text, canonical: the architecture.
        seed: training seed.
        protocol: data split, recipe and network.
        metrics: `test_accuracy` (fraction 0-1), `test_loss`, `train_loss` (nats), `parameters`, `flops`.
        seconds: wall time.
        folder: where its checkpoint is.
    """

    run: str | None
    trial: int | None
    space: str
    text: str
    canonical: str
    seed: int
    protocol: Mapping[str, Any]
    metrics: Metrics
    seconds: float
    folder: str

    @property
    def training(self) -> RetrainingProtocol:
        """The protocol, to read."""
        return RetrainingProtocol.from_json(self.protocol)


class RunRecord(Protocol):
    """A run opened for writing; nobody else can write to it meanwhile."""

    @property
    def run(self) -> Run:
        """The run as it was begun."""

    @property
    def trials(self) -> Sequence[Trial]:
        """The trials that were stored before it was opened, in the order in which they were finished."""

    @property
    def elapsed(self) -> float | None:
        """Wall seconds of the run over its earlier sessions; None where that was not kept."""

    def keep_elapsed(self, seconds: float) -> None:
        """Keep the wall seconds of the run so far, at the end of a session; never raises."""

    def add(self, trial: Trial, elapsed: float = 0.0) -> None:
        """Keep a trial for good: once this returns, it survives the end of the process.

        Args:
            trial: What to keep.
            elapsed: Wall seconds of the run so far, over all its sessions.

        Raises:
            UserError: it could not be written (disk full …); nothing stored before is harmed.
        """


class Store(Protocol):
    """Where runs, trials and retrainings are kept."""

    def open(self, run: Run) -> AbstractContextManager[RunRecord]:
        """Begin a run, or continue the one of this name.

        Raises:
            UsageError: the stored run has other settings (`FREE_KEYS` aside), or another process is writing it.
        """

    def prepare(self) -> None:
        """Make ready for writing.

        Raises:
            UserError: nothing can be written there; what is there is left as it is.
        """

    def runs(self) -> list[Run]: ...

    def trials(self, run: str) -> list[Trial]:
        """All trials of a run by number; empty where there is no such run."""

    def add_retraining(self, retraining: Retraining) -> None: ...

    def retrainings(self) -> list[Retraining]: ...


def check_same_run(stored: Run, wanted: Run) -> None:
    """Raise `UsageError`, with the keys that differ, unless `wanted` may continue `stored`."""
    old, new = ({**run.config, "seed": run.seed, "protocol": run.protocol} for run in (stored, wanted))
    differing = differences(old, new, is_free)
    if differing:
        raise UsageError(
            f"run {wanted.name!r} was started with {'; with '.join(differing)}. Choose another run= or restore the old "
            "value; nothing was changed."
        )


def is_free(key: str) -> bool:
    """Whether a continued run may have another value of this dotted key."""
    return f"{key}.".startswith(tuple(f"{free}." for free in FREE_KEYS)) or key.endswith(".data.root")


def check_run_name(name: object) -> None:
    """Raise `UsageError` unless a run can have this name."""
    if not isinstance(name, str) or not name.strip() or len(name) > 100 or not name.isprintable():
        raise UsageError(f"run must be a name of 1 to 100 printable characters, got {name!r}")
