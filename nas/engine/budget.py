"""The budget of a search."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from nas.errors import UsageError
from nas.validation import number_in, whole_number


@dataclass(frozen=True)
class Budget:
    """When a search ends: at the first of these limits. None means no limit.

    Args:
        trials: Trials of the run, those of earlier sessions included.
        hours: Wall time of the run, summed over its sessions, after which no new trial starts. The training of shared
            weights before the first trial does not count.
        simulated_seconds: Sum of the trials' `simulated_seconds` (the time that a benchmark states for an evaluation),
            after which no new trial starts; those in flight still count.
        failures: Failed trials in a row, within one session, after which the search stops.
        trial_seconds: Wall time of one evaluation, after which its worker is killed and the trial fails
            (`time_limit`). Starting the worker and loading the data do not count. Needs worker processes.
    """

    trials: int | None = None
    hours: float | None = None
    simulated_seconds: float | None = None
    failures: int | None = 10
    trial_seconds: float | None = None

    def __post_init__(self) -> None:
        for key in ("trials", "hours", "simulated_seconds", "failures", "trial_seconds"):
            object.__setattr__(self, key, plain_number(getattr(self, key)))
        for key in ("trials", "failures"):
            if getattr(self, key) is not None:
                whole_number(f"budget.{key}", getattr(self, key))
        for key in ("hours", "simulated_seconds", "trial_seconds"):
            number_in(f"budget.{key}", getattr(self, key), 0.0, math.inf, above=True, null=True)
        if self.trials is None and self.hours is None and self.simulated_seconds is None:
            raise UsageError(
                "budget.trials, budget.hours and budget.simulated_seconds are all null; expected at least one of them"
            )

    def allows(self, asked: int, elapsed: Callable[[], float], simulated_seconds: float) -> bool:
        """Whether another trial may be proposed.

        Args:
            asked: Trials proposed so far.
            elapsed: Gives the wall time of the run so far in seconds, over all its sessions; called only if it counts.
            simulated_seconds: Sum of the simulated seconds of the trials told so far.
        """
        return (
            (self.trials is None or asked < self.trials)
            and (self.hours is None or elapsed() < self.hours * 3600)
            and (self.simulated_seconds is None or simulated_seconds < self.simulated_seconds)
        )

    def gives_up(self, failures_in_a_row: int) -> bool:
        """Whether a search ends after this many failed trials in a row."""
        return failures_in_a_row == self.failures

    @property
    def only_simulated(self) -> bool:
        """Whether simulated seconds are the only limit, which evaluations without that cost never reach."""
        return self.simulated_seconds is not None and self.trials is None and self.hours is None


def plain_number(value: Any) -> Any:
    """A number of NumPy or another library as a Python number, which stores and JSON can hold; other values
    unchanged."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value
