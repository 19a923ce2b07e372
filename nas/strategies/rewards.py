"""The baseline of policy gradients: a moving average of rewards, and a reward for failed trials."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nas.core import Objective, Trial

MAX_REWARD = 1e15
"""Bound of a reward's absolute value: squares of gradients must stay finite in single precision, or all weights become
NaN and one architecture is proposed for ever."""


@dataclass
class Rewards:
    """Exponential moving average of rewards, and the reward of a failed trial.

    Args:
        momentum: Weight of the past, 0 to below 1.
    """

    momentum: float
    total: float = 0.0
    weight: float = 0.0
    worst: float = math.inf

    @property
    def mean(self) -> float:
        """The average, corrected for its start at 0; NaN before the first reward."""
        return self.total / self.weight if self.weight else math.nan

    def of(self, trial: Trial, objective: Objective) -> float | None:
        """Score of a trial, higher is better, within ±`MAX_REWARD`; if it failed, the worst so far; None before any."""
        if trial.completed:
            return max(-MAX_REWARD, min(objective.score(trial), MAX_REWARD))
        return None if math.isinf(self.worst) else self.worst

    def add(self, reward: float) -> None:
        self.total = self.momentum * self.total + (1 - self.momentum) * reward
        self.weight = self.momentum * self.weight + (1 - self.momentum)
        self.worst = min(self.worst, reward)
