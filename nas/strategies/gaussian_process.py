"""Gaussian process regression over architectures.

Rasmussen & Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, algorithm 2.1, https://gaussianprocess.org/gpml;
with the kernel and the length scales of Snoek, Larochelle & Adams, "Practical Bayesian Optimization of Machine Learning
Algorithms", NeurIPS 2012, https://arxiv.org/abs/1206.2944: Matérn 5/2, one length scale a decision.

Architectures are compared as the points that `features.py` makes of them.

Differs from the paper: length scales are the most probable ones under a prior that grows with the number of decisions
(Hvarfner, Hellsten & Nardi, ICML 2024, https://arxiv.org/abs/2402.02229) instead of averages over samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from nas.strategies.features import Array

ROOT5 = math.sqrt(5.0)
NOISE = (1e-6, 1.0)
"""Bounds of the variance of the noise, relative to that of the scores."""
EVALUATIONS = 60
"""Most evaluations of the likelihood in a fit."""


@dataclass(frozen=True)
class Kernel:
    """Matérn 5/2 with noise.

    Args:
        scales: What each column of a point is multiplied with: one over its length scale.
        noise: Variance of the noise, relative to that of the function.
    """

    scales: Array
    noise: float

    def between(self, one: Array, other: Array) -> Array:
        """Covariances of points, relative to the variance of the function."""
        root = ROOT5 * np.sqrt(_squares(one * self.scales, other * self.scales))
        return np.asarray((1 + root + root * root / 3) * np.exp(-root))


def fitted(points: Array, scores: Array, groups: NDArray[np.int64]) -> Kernel:
    """The most probable kernel of scores that have mean 0 and variance 1."""
    count = int(groups.max()) + 1
    columns = np.eye(count)[groups]  # (columns of a point, groups)
    typical = math.log(0.5) + 0.5 * math.log(max(1, count - 1))
    expected = np.append(np.full(count, -typical), math.log(1e-4))
    spread = np.append(np.full(count, 1.0), 3.0)

    def negative_log_posterior(theta: Array) -> tuple[float, Array]:
        scaled = points * np.exp(columns @ theta[:-1])
        root = ROOT5 * np.sqrt(_squares(scaled, scaled))
        decay, noise = np.exp(-root), math.exp(theta[-1])
        covariance = (1 + root + root * root / 3) * decay
        covariance[np.diag_indices_from(covariance)] += noise
        inverse = cho_solve((lower := cholesky(covariance, lower=True), True), np.eye(len(scores)))
        weights = inverse @ scores
        # the variance of the function is integrated out, with one more observation of variance 1
        total, freedom = 1 + scores @ weights, len(scores) + 1
        value = 0.5 * freedom * math.log(total) + np.log(np.diag(lower)).sum()
        slope = 0.5 * (inverse - freedom / total * np.outer(weights, weights))  # in each covariance
        inner = slope * (-5 / 6) * (1 + root) * decay  # in each squared distance
        by_column = 2 * (inner.sum(axis=1) @ scaled**2 - (scaled * (inner @ scaled)).sum(axis=0))
        gradient = np.append(2 * by_column @ columns, noise * np.trace(slope))
        deviation = (theta - expected) / spread
        return value + 0.5 * deviation @ deviation, gradient + deviation / spread

    bounds = [(-typical - 5, -typical + 5)] * count + [(math.log(NOISE[0]), math.log(NOISE[1]))]
    starts = [expected, expected + np.append(np.full(count, math.log(3.0)), 0.0)]
    runs = [
        minimize(
            negative_log_posterior, at, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxfun": EVALUATIONS}
        )
        for at in starts
    ]
    best = min(runs, key=lambda run: float(run.fun)).x
    return Kernel(np.exp(columns @ best[:-1]), math.exp(best[-1]))


@dataclass(frozen=True)
class Posterior:
    """What is known of the function after points were observed.

    Args:
        kernel: Kernel of the function.
        points: Observed points, one a row.
        lower: Cholesky factor of their covariances.
    """

    kernel: Kernel
    points: Array
    lower: Array

    @classmethod
    def of(cls, kernel: Kernel, points: Array) -> Posterior:
        covariance = kernel.between(points, points)
        covariance[np.diag_indices_from(covariance)] += kernel.noise
        return cls(kernel, points, cholesky(covariance, lower=True))

    def with_point(self, point: Array) -> Posterior:
        """After one more point (1, columns): a row of the Cholesky factor, instead of all of it."""
        row = solve_triangular(self.lower, self.kernel.between(self.points, point), lower=True)[:, 0]
        corner = math.sqrt(max(1 + self.kernel.noise - row @ row, NOISE[0]))
        lower = np.block([[self.lower, np.zeros((len(row), 1))], [row[None, :], np.full((1, 1), corner)]])
        return Posterior(self.kernel, np.vstack([self.points, point]), lower)


def _squares(one: Array, other: Array) -> Array:
    """Squared distances of scaled points."""
    products = one @ other.T
    squares = (one * one).sum(axis=1)[:, None] + (other * other).sum(axis=1) - 2 * products
    return np.asarray(np.maximum(squares, 0.0))
