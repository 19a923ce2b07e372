"""The Gaussian process of a search: which trials it is based on, and when its kernel is estimated.

Everything here follows from the trials told, in their order. What is kept between two calls only saves time: it is
computed in the same steps after a resume, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from nas.core import Architecture
from nas.strategies.expected_improvement import log_expected_improvement, standardised
from nas.strategies.features import Array, Features
from nas.strategies.gaussian_process import Posterior, fitted

MAX_OBSERVED = 800
"""Most trials at an estimate of the kernel that the process is based on: the better half and the later half."""
MAX_FITTED = 200
"""Most trials that the kernel is estimated from, evenly spread over them."""
MIN_VARIANCE = 1e-12


def estimated_at(count: int) -> int:
    """Number of trials at the latest estimate of the kernel, out of `count`: each up to 20, then at a tenth more."""
    latest = 1
    while (following := latest + min(max(1, latest // 10), 100)) <= count:
        latest = following
    return latest


class Surrogate:
    """Expected improvement under a Gaussian process, cached for the trials seen last.

    Args:
        features: What turns architectures into points.
    """

    def __init__(self, features: Features) -> None:
        self._features = features
        self._estimated = self._told = 0
        self._rows: list[int] = []
        self._posterior: Posterior | None = None

    def improvement(
        self, told: Sequence[Architecture], scores: Sequence[float], requested: Collection[Architecture]
    ) -> Callable[[Sequence[Architecture]], Array]:
        """The function that gives the logarithm of the expected improvement of architectures.

        Args:
            told: Architectures of the trials told, at least one of which completed.
            scores: Their scores, higher is better; NaN for failed ones.
            requested: Architectures in flight.
        """
        posterior = self._observed(told, scores)
        values = standardised(np.asarray(scores))[self._rows]
        weights = cho_solve((posterior.lower, True), values)
        variance = (1 + values @ weights) / (1 + len(values))

        def mean(points: Array) -> Array:
            return np.asarray(posterior.kernel.between(points, posterior.points) @ weights)

        believed = posterior
        if requested:
            in_flight = self._features(list(requested))
            for row in range(len(in_flight)):  # believed to score their expectation, which then stays everywhere
                believed = believed.with_point(in_flight[row : row + 1])
        best = float(mean(believed.points).max())

        def promise(architectures: Sequence[Architecture]) -> Array:
            points = self._features(architectures)
            known = solve_triangular(believed.lower, believed.kernel.between(believed.points, points), lower=True)
            left = np.maximum(1 - (known * known).sum(axis=0), MIN_VARIANCE)
            return log_expected_improvement(mean(points), np.sqrt(variance * left), best)

        return promise

    def _observed(self, told: Sequence[Architecture], scores: Sequence[float]) -> Posterior:
        """The process after the trials told: that of the latest estimate, and those after it one by one."""
        estimated = estimated_at(len(told))
        if self._posterior is None or estimated != self._estimated or len(told) < self._told:
            rows = _chosen(np.asarray(scores[:estimated]))
            points, values = self._features([told[row] for row in rows]), standardised(np.asarray(scores[:estimated]))
            spread = np.unique(np.linspace(0, len(rows) - 1, MAX_FITTED).round().astype(int))
            kernel = fitted(points[spread], values[rows][spread], self._features.groups)
            self._rows, self._posterior = rows, Posterior.of(kernel, points)
            self._told = self._estimated = estimated
        posterior = self._posterior
        for row in range(self._told, len(told)):
            posterior = posterior.with_point(self._features([told[row]]))
            self._rows.append(row)
        self._posterior, self._told = posterior, len(told)
        return posterior


def _chosen(scores: Array) -> list[int]:
    """Positions of the trials that the process is based on, in order."""
    if len(scores) <= MAX_OBSERVED:
        return list(range(len(scores)))
    better = np.argsort(np.where(np.isnan(scores), -math.inf, scores), kind="stable")[-MAX_OBSERVED // 2 :]
    return sorted({*better.tolist(), *range(len(scores) - MAX_OBSERVED // 2, len(scores))})
