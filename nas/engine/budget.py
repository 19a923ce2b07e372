"""When a search ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from nas.errors import UsageError
from nas.validation import number_in, whole_number


@dataclass(frozen=True)
class Budget:
    """When a search ends; whichever comes first.

    Args:
        trials: number of trials of the run, those of earlier sessions included; None: unbounded.
        hours: wall time of the run, summed over its sessions, after which no new trial starts; what trains shared
            weights before the first trial does not count. None: unbounded.
        simulated_seconds: sum of the trials' `simulated_seconds`, what a benchmark says that its evaluations took,
            after which no new trial starts; those in flight still count. None: unbounded.
        trial_seconds: wall time of one evaluation, after which its worker is ended and the trial has failed
            (`time_limit`); starting the worker and loading the data do not count. Needs worker processes. None:
            unbounded.
        failures: trials that may fail in a row within one session before the search gives up; None: unbounded.
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

    @property
    def simulated_alone(self) -> bool:
        """Whether simulated seconds are the only limit, which evaluations without such a cost never reach."""
        return self.simulated_seconds is not None and self.trials is None and self.hours is None


def plain_number(value: Any) -> Any:
    """NumPy's numbers and the like as Python's own, which every store and JSON can keep; all else as it is."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value
