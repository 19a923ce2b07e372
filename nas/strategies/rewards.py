"""What policy gradients hold a reward against: a moving average, and a worth for failed trials."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nas.core import Objective, Trial

LARGEST = 1e15
"""Largest reward, by its absolute value, that is told from a larger one: squares of gradients must stay finite in
single precision, or all weights become NaN and one architecture is proposed for ever."""


@dataclass
class Rewards:
    """Exponential moving average of rewards, and what a failed trial is worth.

    Args:
        momentum: weight of the past, 0 to below 1.
    """

    momentum: float
    total: float = 0.0
    weight: float = 0.0
    worst: float = math.inf

    @property
    def mean(self) -> float:
        """The average, free of the bias towards its start at 0; NaN before the first reward."""
        return self.total / self.weight if self.weight else math.nan

    def of(self, trial: Trial, objective: Objective) -> float | None:
        """Score of a trial, higher is better, within ±`LARGEST`; of a failed one the worst before it.

        None where there is none.
        """
        if trial.completed:
            return max(-LARGEST, min(objective.score(trial), LARGEST))
        return None if math.isinf(self.worst) else self.worst

    def add(self, reward: float) -> None:
        self.total = self.momentum * self.total + (1 - self.momentum) * reward
        self.weight = self.momentum * self.weight + (1 - self.momentum)
        self.worst = min(self.worst, reward)
