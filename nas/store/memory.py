"""A store in memory, which lives as long as the process: for tests, studies of strategies and first steps in Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from nas.core import Trial
from nas.errors import UsageError
from nas.store.base import Retraining, Run, RunRecord, check_same_run


@dataclass
class _Record:
    run: Run
    trials: list[Trial]
    stored: list[Trial]
    clock: dict[str, float]

    @property
    def elapsed(self) -> float | None:
        return self.clock.get(self.run.name)

    def end_session(self, seconds: float, ended: str) -> None:
        self.clock[self.run.name] = seconds

    def add(self, trial: Trial, elapsed: float = 0.0) -> None:
        self.stored.append(trial)
        self.clock[self.run.name] = elapsed


@dataclass
class MemoryStore:
    """Stores everything in lists."""

    _runs: dict[str, tuple[Run, list[Trial]]] = field(default_factory=dict)
    _retrainings: list[Retraining] = field(default_factory=list)
    _elapsed: dict[str, float] = field(default_factory=dict)
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
            stored, trials = self._runs.get(run.name, (run, []))
            if trials:
                check_same_run(stored, run)
            else:
                stored = run  # a run without trials does not reserve its name
                self._elapsed.pop(run.name, None)
            self._runs[run.name] = stored, trials
            yield _Record(stored, list(trials), trials, self._elapsed)
        finally:
            del self._writing[run.name]

    def prepare(self) -> None:
        """Memory is always ready."""

    def runs(self) -> list[Run]:
        return [run for run, _ in self._runs.values()]

    def trials(self, run: str) -> list[Trial]:
        return list(self._runs[run][1]) if run in self._runs else []

    def add_retraining(self, retraining: Retraining) -> None:
        self._retrainings.append(retraining)

    def retrainings(self) -> list[Retraining]:
        return list(self._retrainings)
