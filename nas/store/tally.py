"""How many trials a run has, and how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from nas.core import Trial
from nas.store.base import Run

State = Literal["running", "finished", "failed", "interrupted"]


class Tally(NamedTuple):
    """Counts of a run's trials; `best` and `score` are None without a completed one."""

    trials: int = 0
    failed: int = 0
    best: int | None = None
    score: float | None = None


def tally_of(run: Run, trials: Sequence[Trial]) -> Tally:
    """The counts of trials that are in memory."""
    best = run.objective.best(trials)
    score = None if best is None else run.objective.score(best)
    failed = sum(not trial.completed for trial in trials)
    return Tally(len(trials), failed, None if best is None else best.number, score)


def state_of(ended: str | None, running: bool) -> State:
    """The state of a run whose last session ended for this reason; None: it did not say."""
    if running:
        return "running"
    return "finished" if ended in ("budget", "finished") else "failed" if ended == "failures" else "interrupted"


def joined(one: Tally, other: Tally) -> Tally:
    """The counts of two sets of trials of one run."""
    scored = [tally for tally in (one, other) if tally.score is not None and tally.best is not None]
    best = max(scored, key=lambda tally: (tally.score, -(tally.best or 0)), default=Tally())
    return Tally(one.trials + other.trials, one.failed + other.failed, best.best, best.score)
