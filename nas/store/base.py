"""The interface of stores, and what they store."""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from nas.core import Metrics, Objective, Trial
from nas.errors import UsageError
from nas.identity import differences
from nas.store.protocol import EvaluationProtocol, RetrainingProtocol

if TYPE_CHECKING:
    from sqlalchemy import Connection

FREE_KEYS = ("budget", "store", "dir", "run", "progress", "format", "data.root", "data.cache", "table.root",
             "executor", "workers", "supernet.graphs", "choices.experiment", "choices.executor", "choices.store",
             "scheduling.in_flight", "config_dir", "minimized", "sweep",
             "space.download")  # fmt: skip
"""Settings that may change, with all keys below them, when a run is resumed, since they alter no trial. `root` is the
folder of a data set, `cache` that of its decoded pictures. Which executor runs the trials alters none, but the number
of workers does; `search()` stores it as `scheduling` if there are several. `sweep` is the name of the sweep that a run
belongs to. Whether weights may be downloaded changes nothing once they are there."""


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
    def objective(self) -> Objective:
        """The objective that it was searched with."""
        return Objective.from_config(self.config)

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


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands.

    Args:
        run: The run.
        state: `running`: a process is writing it; `finished`: its last session used up its budget or proposed
            everything; `failed`: it ended with failures; `interrupted`: anything else, so the same command resumes it.
        trials, failed: Number of its stored trials, and of those that failed.
        planned: Number of trials that its last session's budget allows; None: not limited, or not recorded.
        best: Number of its best trial; None without a completed one.
        score: Objective of that trial.
        seconds: Wall seconds over all its sessions.
        started, updated: When its last session started and stored something, UTC in ISO 8601; None if not recorded.
        owner: `user@host, process N` of its last session; None if not recorded.
    """

    run: Run
    state: Literal["running", "finished", "failed", "interrupted"]
    trials: int
    failed: int
    planned: int | None = None
    best: int | None = None
    score: float | None = None
    seconds: float | None = None
    started: str | None = None
    updated: str | None = None
    owner: str | None = None


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

    def end_session(self, seconds: float, ended: str) -> None:
        """Store that this session ends; never raises.

        Args:
            seconds: Wall seconds of the run so far, over all its sessions.
            ended: Why it ends: `budget`, `finished` or `failures` as in `SearchResult`, or `interrupted`.
        """

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

    def open(self, run: Run, planned: int | None = None) -> AbstractContextManager[RunRecord]:
        """Start a run, or resume the stored one of this name.

        Args:
            run: The run, with its present settings.
            planned: Number of trials that the budget allows; None: not limited by a number.

        Raises:
            UsageError: The stored run has other settings (except `FREE_KEYS`), or another process is writing it.
        """

    def prepare(self) -> None:
        """Prepare the store for writing.

        Raises:
            UserError: It cannot be written; nothing was changed.
        """

    def runs(self) -> list[Run]:
        """All runs, the oldest first."""

    def status(self, run: str) -> RunStatus:
        """Where a run stands.

        Raises:
            UsageError: The store has no such run.
        """

    def statuses(self) -> list[RunStatus]:
        """Where every run stands, the oldest first."""

    def trials(self, run: str) -> list[Trial]:
        """All trials of a run by number; empty if the store has no such run."""

    def trial(self, run: str, number: int) -> Trial | None:
        """One trial of a run; None if there is none of this number."""

    def add_retraining(self, retraining: Retraining) -> None: ...

    def retrainings(self) -> list[Retraining]: ...


@runtime_checkable
class SupportsReading(Protocol):
    """A store in a database, which can be queried by SQL."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that cannot change the store, in one transaction.

        Raises:
            UserError: The store does not exist or cannot be read, or, from the caller's block, a query failed.
        """


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
    return f"{key}.".startswith(tuple(f"{free}." for free in FREE_KEYS)) or key.endswith((".data.root", ".data.cache"))


def check_run_name(name: object) -> None:
    """Raise `UsageError` unless the name is a valid name of a run."""
    if not isinstance(name, str) or not name.strip() or len(name) > 100 or not name.isprintable():
        raise UsageError(f"run must be a name of 1 to 100 printable characters, got {name!r}")


def owner() -> str:
    """This process, for people: `user@host, process N`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without this user in its table
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{platform.node()}, process {os.getpid()}"


def now() -> str:
    """The present time, UTC in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def storable(trial: Trial) -> Trial:
    """The trial with messages that every database accepts: NUL and lone surrogates as in Python's source."""
    if trial.error_kind is None and trial.error is None and trial.traceback is None:
        return trial
    kind, error, traceback = map(_plain, (trial.error_kind, trial.error, trial.traceback))
    if (kind, error, traceback) == (trial.error_kind, trial.error, trial.traceback):
        return trial
    return replace(trial, error_kind=kind, error=error, traceback=traceback)


def _plain(text: str | None) -> str | None:
    return text and text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")
