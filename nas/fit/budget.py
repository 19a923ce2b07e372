"""When the search of a fit ends: when the final training of the best so far needs the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from nas.core import Objective, Trial
from nas.engine.budget import Budget
from nas.fit.choice import best_trial
from nas.fit.clock import Clock
from nas.fit.plan import Plan
from nas.space.base import SearchSpace

MAX_TRIALS = 2000
"""Trials after which more would only fit the choice to the validation images."""
MAX_HOURS = 24 * 365.0
"""A limit that is never reached: every budget needs one."""
MIN_TRIALS = 2
"""Trials that are run even if time is short: the baseline, and one to compare it with."""
PART_OF_A_TRIAL = 0.8
"""Share of a usual trial that must fit before the deadline for another to start."""


@dataclass
class Progress:
    """What the search of a fit has done; a listener of the search.

    Args:
        space: Space of the architectures.
        plan: Plan of the fit.
        clock: Clock of the fit, to which each trial adds its expected seconds where real ones are not counted.
    """

    space: SearchSpace
    plan: Plan
    clock: Clock
    trials: list[Trial] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def start(self, run: str, trials: Sequence[Trial], total: int | None, objective: Objective) -> None:
        for trial in trials:
            self._add(trial)

    def on_trial_end(self, trial: Trial) -> None:
        self._add(trial)

    def close(self) -> None: ...

    def _add(self, trial: Trial) -> None:
        expected = self.plan.trial_seconds(self.chosen(trial))
        self.clock.charge(expected)
        self.trials.append(trial)
        if trial.completed and trial.reused_from is None:
            self.ratios.append(trial.seconds / expected)

    def chosen(self, trial: Trial) -> Mapping[str, Any]:
        """Decision -> option of a trial's architecture."""
        return self.space.settings(trial.proposal.architecture)

    @property
    def slowness(self) -> float:
        """How much longer trials take than expected (median); 1 where real time is not counted."""
        return median(self.ratios) if self.ratios and self.clock.measured else 1.0

    def has_time(self, asked: int) -> bool:
        """Whether another trial should start.

        Args:
            asked: Trials so far, by the search itself: a listener that failed would not know them.
        """
        if asked > len(self.trials):
            return asked < MIN_TRIALS
        if not MIN_TRIALS <= len(self.trials) < MAX_TRIALS:
            return len(self.trials) < MIN_TRIALS
        best = best_trial(self.trials, self.plan.valid_images)
        chosen = None if best is None else self.chosen(best)
        until = self.plan.search_until(chosen, self.slowness)
        return self.clock.spent() + PART_OF_A_TRIAL * self.plan.unit * self.slowness < until


def always(_asked: int) -> bool:
    """There is time, however many trials there were."""
    return True


@dataclass(frozen=True)
class FitBudget(Budget):
    """A budget that asks how much time is left before each trial.

    Args:
        has_time: Whether another trial should start after so many.
    """

    hours: float | None = MAX_HOURS
    has_time: Callable[[int], bool] = always

    def allows(self, asked: int, elapsed: Callable[[], float], simulated_seconds: float) -> bool:
        return super().allows(asked, elapsed, simulated_seconds) and self.has_time(asked)
