"""A store in memory, which lives as long as the process: for tests, studies of strategies and first steps in Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from nas.core import Trial
from nas.errors import UsageError
from nas.store.base import Retraining, Run, RunRecord, RunStatus, check_same_run, now, owner, storable
from nas.store.tally import state_of, tally_of


@dataclass
class _Stored:
    """A run with what belongs to it."""

    run: Run
    trials: list[Trial] = field(default_factory=list)  # as they finished
    elapsed: float | None = None
    planned: int | None = None
    started: str | None = None
    updated: str | None = None
    ended: str | None = None


class _Record:
    def __init__(self, stored: _Stored) -> None:
        self.run = stored.run
        self.trials = list(stored.trials)
        self.elapsed = stored.elapsed
        self._stored = stored

    def end_session(self, seconds: float, ended: str) -> None:
        self._stored.elapsed, self._stored.updated, self._stored.ended = seconds, now(), ended

    def add(self, trial: Trial, elapsed: float = 0.0) -> None:
        self._stored.trials.append(storable(trial))
        self._stored.elapsed, self._stored.updated = elapsed, now()


@dataclass
class MemoryStore:
    """Stores everything in lists."""

    _runs: dict[str, _Stored] = field(default_factory=dict)
    _retrainings: list[Retraining] = field(default_factory=list)
    _writing: dict[str, object] = field(default_factory=dict, repr=False)

    @contextmanager
    def open(self, run: Run, planned: int | None = None) -> Iterator[RunRecord]:
        writer = object()
        if self._writing.setdefault(run.name, writer) is not writer:  # atomic, so that two threads cannot both pass
            raise UsageError(
                f"run {run.name!r} is being written by another search of this process; wait until it ends or choose "
                "another run="
            )
        try:
            stored = self._runs.get(run.name)
            if stored is None or not stored.trials:  # a run without trials does not reserve its name
                stored = self._runs[run.name] = _Stored(run)
            else:
                check_same_run(stored.run, run)
            stored.planned, stored.started, stored.ended = planned, now(), None
            stored.updated = stored.started
            yield _Record(stored)
        finally:
            del self._writing[run.name]

    def prepare(self) -> None:
        """Memory is always ready."""

    def runs(self) -> list[Run]:
        return [stored.run for stored in self._runs.values()]

    def status(self, run: str) -> RunStatus:
        if run not in self._runs:
            raise UsageError(f"there is no run {run!r} in the store")
        stored = self._runs[run]
        tally, state = tally_of(stored.run, stored.trials), state_of(stored.ended, run in self._writing)
        return RunStatus(
            stored.run, state, tally.trials, tally.failed, stored.planned, tally.best, tally.score, stored.elapsed,
            stored.started, stored.updated, owner(),
        )  # fmt: skip

    def statuses(self) -> list[RunStatus]:
        return [self.status(run) for run in self._runs]

    def trials(self, run: str) -> list[Trial]:
        return sorted(self._runs[run].trials, key=lambda trial: trial.number) if run in self._runs else []

    def trial(self, run: str, number: int) -> Trial | None:
        return next((trial for trial in self.trials(run) if trial.number == number), None)

    def add_retraining(self, retraining: Retraining) -> None:
        self._retrainings.append(retraining)

    def retrainings(self) -> list[Retraining]:
        return list(self._retrainings)
