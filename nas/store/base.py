"""The interface of stores, and what they store."""

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
"""Settings that may change, with all keys below them, when a run is resumed, since they alter no trial. `root` is the
folder of a data set. The number of workers does alter trials; `search()` stores it as `scheduling` if there are
several."""


class NoStore(UsageError):
    """The store does not exist yet."""


@dataclass(frozen=True)
class Run:
    """One search.

    Args:
        name: Name, unique within its store.
        seed: Seed of everything random.
        config: Resolved settings, nested and JSON-safe.
        protocol: Facts that must be equal for results to be comparable (data split, recipe, network, fidelity).
        environment: Versions and machine that it was started with.
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
        run, trial: Run and trial of its architecture; None if it was given as a file or as text.
        space: Name of its space.
        text, canonical: Text of the architecture, and key of its function class.
        seed: Training seed.
        protocol: Data split, recipe and network.
        metrics: `test_accuracy` (fraction 0-1), `test_loss`, `train_loss` (nats), `parameters`, `flops`.
        seconds: Wall time.
        folder: Folder of its checkpoint.
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
    """A run that is open for writing, by one writer at a time."""

    @property
    def run(self) -> Run:
        """The run as it was first stored."""

    @property
    def trials(self) -> Sequence[Trial]:
        """The trials that were stored before it was opened, in the order in which they finished."""

    @property
    def elapsed(self) -> float | None:
        """Wall seconds of the run over its earlier sessions; None if version 0.1.0 stored it."""

    def save_elapsed(self, seconds: float) -> None:
        """Store the wall seconds of the run so far, at the end of a session; never raises."""

    def add(self, trial: Trial, elapsed: float = 0.0) -> None:
        """Store a trial durably: once this returns, the trial survives the end of the process.

        Args:
            trial: Trial to store.
            elapsed: Wall seconds of the run so far, over all its sessions.

        Raises:
            UserError: It could not be written, for example because the disk is full; earlier trials are safe.
        """


class Store(Protocol):
    """Storage of runs, trials and retrainings."""

    def open(self, run: Run) -> AbstractContextManager[RunRecord]:
        """Start a run, or resume the stored one of this name.

        Raises:
            UsageError: The stored run has other settings (except `FREE_KEYS`), or another process is writing it.
        """

    def prepare(self) -> None:
        """Prepare the store for writing.

        Raises:
            UserError: It cannot be written; nothing was changed.
        """

    def runs(self) -> list[Run]: ...

    def trials(self, run: str) -> list[Trial]:
        """All trials of a run by number; empty if the store has no such run."""

    def add_retraining(self, retraining: Retraining) -> None: ...

    def retrainings(self) -> list[Retraining]: ...


def check_same_run(stored: Run, wanted: Run) -> None:
    """Raise `UsageError`, with the keys that differ, unless `wanted` may resume `stored`."""
    old, new = ({**run.config, "seed": run.seed, "protocol": run.protocol} for run in (stored, wanted))
    differing = differences(old, new, is_free)
    if differing:
        raise UsageError(
            f"run {wanted.name!r} was started with {'; with '.join(differing)}. Choose another run= or restore the old "
            "value; nothing was changed."
        )


def is_free(key: str) -> bool:
    """Whether the value of this dotted key may change when a run is resumed."""
    return f"{key}.".startswith(tuple(f"{free}." for free in FREE_KEYS)) or key.endswith(".data.root")


def check_run_name(name: object) -> None:
    """Raise `UsageError` unless the name is a valid name of a run."""
    if not isinstance(name, str) or not name.strip() or len(name) > 100 or not name.isprintable():
        raise UsageError(f"run must be a name of 1 to 100 printable characters, got {name!r}")
