"""Expected improvement, and the scale of scores that it is computed on.

Jones, Schonlau & Welch 1998, equation 15; its logarithm as in Ament et al., "Unexpected Improvements to Expected
Improvement for Bayesian Optimization", NeurIPS 2023, https://arxiv.org/abs/2310.20708, so that far from the best there
is still a slope.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from scipy.stats import yeojohnson

from nas.strategies.features import Array

FAR = -6.0
"""Standard deviations below the best from which on the logarithm is that of the leading term."""


def log_expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Logarithm of the expected improvement over `best` of normal variables.

    Args:
        mean, deviation: Expectations and standard deviations, the latter above 0.
    """
    above = (mean - best) / deviation
    near, far = np.maximum(above, FAR), np.minimum(above, FAR)
    density = np.exp(-near * near / 2) / math.sqrt(2 * math.pi)
    # the expansion of the normal integral: density / above², of which the first correction is -3 / above²
    tail = -far * far / 2 - 0.5 * math.log(2 * math.pi) - 2 * np.log(-far) + np.log1p(-3 / far**2 + 15 / far**4)
    return np.asarray(np.log(deviation) + np.where(above > FAR, np.log(density + near * ndtr(near)), tail))


@dataclass(frozen=True)
class Scale:
    """Turns scores into numbers with mean 0 and variance 1, higher is better.

    A few terrible scores would hide the differences of the good ones: those more than three interquartile ranges below
    the lower quartile count as if they were that far below, and a power transform (Yeo & Johnson 2000) makes what is
    left as normal as it can. Failed trials (NaN) count as the worst. Equal scores are all 0.

    Args:
        lowest: Score that lower ones and failed trials count as.
        middle, spread: Median and standard deviation of the scores; 0 for the latter if all are equal.
        power: Power of the transform; None: the scores stay as they are.
        mean, deviation: Those of the transformed scores.
    """

    lowest: float
    middle: float
    spread: float
    power: float | None = None
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, scores: Array) -> Scale:
        """The scale of scores; of nothing but failed trials (NaN) that of equal ones."""
        if np.isnan(scores).all():
            return cls(0.0, 0.0, 0.0)
        filled = np.where(np.isnan(scores), np.nanmin(scores), scores)
        lower, middle, upper = (float(value) for value in np.percentile(filled, [25, 50, 75]))
        lowest = lower - 3 * (upper - lower) if upper > lower else -math.inf
        lowest = max(lowest, float(filled.min()))
        filled = np.maximum(filled, lowest)
        spread = float(np.std(filled))
        if spread <= 1e-12 * abs(middle):
            return cls(lowest, middle, 0.0)
        scaled = (filled - middle) / spread
        if len(scaled) >= 3:
            powered, power = yeojohnson(scaled)
            if np.isfinite(powered).all() and np.std(powered) > 1e-6:
                return cls(lowest, middle, spread, float(power), float(powered.mean()), float(powered.std()))
        return cls(lowest, middle, spread, None, float(scaled.mean()), float(scaled.std()))

    def __call__(self, scores: Array) -> Array:
        if not self.spread:
            return np.zeros_like(scores)
        scaled = (np.fmax(scores, self.lowest) - self.middle) / self.spread
        powered = scaled if self.power is None else yeojohnson(scaled, lmbda=self.power)
        return np.asarray((powered - self.mean) / self.deviation)
