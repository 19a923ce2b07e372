"""Expected improvement, and the scale of scores that it is computed on.

Jones, Schonlau & Welch 1998, equation 15; its logarithm as in Ament et al., "Unexpected Improvements to Expected
Improvement for Bayesian Optimization", NeurIPS 2023, https://arxiv.org/abs/2310.20708, so that far from the best there
is still a slope.
"""

from __future__ import annotations

import math

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


def standardised(scores: Array) -> Array:
    """Scores with mean 0 and variance 1, higher is better, those of failed trials (NaN) as the worst of the others.

    A few terrible scores would hide the differences of the good ones: those more than three interquartile ranges below
    the lower quartile count as if they were that far below, and a power transform (Yeo & Johnson 2000) makes what is
    left as normal as it can. Equal scores are all 0.
    """
    filled = np.where(np.isnan(scores), np.nanmin(scores), scores)
    lower, middle, upper = np.percentile(filled, [25, 50, 75])
    if upper > lower:
        filled = np.maximum(filled, lower - 3 * (upper - lower))
    spread = float(np.std(filled))
    if spread <= 1e-12 * abs(middle) or spread == 0:
        return np.zeros_like(filled)
    scaled = (filled - middle) / spread
    powered = np.asarray(yeojohnson(scaled)[0]) if len(scaled) >= 3 else scaled
    chosen = powered if np.isfinite(powered).all() and np.std(powered) > 1e-6 else scaled
    return np.asarray((chosen - chosen.mean()) / chosen.std())
