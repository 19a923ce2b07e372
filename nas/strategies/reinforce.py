"""REINFORCE over independent categorical distributions.

Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", Machine Learning
8, 1992, https://doi.org/10.1007/BF00992696; as the baseline of NAS-Bench-201 (Dong & Yang, ICLR 2020,
https://arxiv.org/abs/2001.00326): one softmax a decision, Adam, an exponential moving average as baseline.

Differs from the published baseline: an entropy bonus and plain gradient ascent may be set; a failed trial counts as the
worst reward seen so far. In a constrained space invalid draws are rejected, and the gradient is that of the
distribution before rejection. A decision that does not matter in an architecture has no part in its probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from nas.core import Architecture, Objective, Proposal, Trial
from nas.space.base import SearchSpace
from nas.strategies.rewards import Rewards
from nas.validation import number_in, one_of

MAX_REJECTIONS = 1000
"""Invalid draws in a row after which a uniform architecture is proposed instead."""
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's constants (Kingma & Ba, ICLR 2015)."""
PADDING = -1e9
"""Logit of an option that a decision lacks: its probability is exactly 0, and no sum becomes NaN."""


@dataclass
class Reinforce:
    """Raise the probability of what was rewarded above the moving average, lower that of the rest.

    The gradient is computed at the current probabilities: exact while one trial is in flight; with several in flight, a
    trial was drawn from slightly older ones, which is not corrected for.

    Args:
        lr: Step size, above 0. Adam moves a logit by about `lr` per trial, however large the rewards are; under SGD
            the step is proportional to the rewards, so that accuracies as fractions need 100 times the rate that
            accuracies in percent need.
        optimizer: `adam` or `sgd` (plain gradient ascent).
        baseline_momentum: Weight of the past in the baseline, above 0, at most 0.999. A reward enters the baseline
            before its advantage is computed, as in the benchmark's script: the first advantage is 0.
        entropy_weight: Weight of the entropy (nats, summed over decisions) in what is maximised, from 0 (benchmark: 0).
    """

    space: SearchSpace
    objective: Objective
    lr: float = 0.01
    optimizer: str = "adam"
    baseline_momentum: float = 0.9
    entropy_weight: float = 0.0
    logits: NDArray[np.float64] = field(init=False, repr=False)
    probabilities: NDArray[np.float64] = field(init=False, repr=False)
    rewards: Rewards = field(init=False, repr=False)

    def __post_init__(self) -> None:
        number_in("strategy.lr", self.lr, 0.0, 1e6, above=True)
        one_of("strategy.optimizer", self.optimizer, ("adam", "sgd"))
        number_in("strategy.baseline_momentum", self.baseline_momentum, 0.0, 0.999, above=True)
        number_in("strategy.entropy_weight", self.entropy_weight, 0.0, math.inf)

    def reset(self, rng: Generator) -> None:
        sizes = np.asarray(self.space.sizes, dtype=np.int64)[:, None]
        shape = len(sizes), max(self.space.sizes, default=1)  # decisions with fewer options are padded
        self.logits = np.where(np.arange(shape[1]) < sizes, 1e-3 * rng.standard_normal(shape), PADDING)
        self.rewards = Rewards(self.baseline_momentum)
        self._mean, self._square, self._steps = np.zeros(shape), np.zeros(shape), 0
        self._rows = np.arange(shape[0])
        self.normalise()

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal:
        for _ in range(MAX_REJECTIONS):
            # inverse of each decision's distribution function at a uniform number
            uniform = rng.random(len(self._rows)) * self._cumulative[:, -1]
            architecture = tuple((self._cumulative > uniform[:, None]).argmax(axis=1).tolist())
            architecture = self.space.reduced(architecture)
            if self.space.is_valid(architecture):
                return Proposal(architecture)
        return Proposal(self.space.sample(rng))

    def tell(self, trial: Trial) -> None:
        reward = self.rewards.of(trial, self.objective)
        if reward is None:
            return
        self.rewards.add(reward)
        gradient = self.gradient(trial.proposal.architecture, reward - self.rewards.mean)
        if self.optimizer == "adam":
            self._steps += 1
            self._mean += (1 - BETA1) * (gradient - self._mean)
            self._square += (1 - BETA2) * (gradient * gradient - self._square)
            # algorithm 1 of Kingma & Ba, with the bias corrections applied to the step size
            scale = math.sqrt(1 - BETA2**self._steps)
            size = np.sqrt(self._square) + EPSILON * scale
            self.logits += self.lr * scale / (1 - BETA1**self._steps) * self._mean / size
        else:
            self.logits += self.lr * gradient
        self.normalise()

    def gradient(self, architecture: Architecture, advantage: float) -> NDArray[np.float64]:
        """Gradient of advantage · log π(architecture) + entropy_weight · H(π) in the logits, of their shape."""
        gradient = -advantage * self.probabilities
        gradient[self._rows, architecture] += advantage  # one-hot minus softmax
        if self.entropy_weight:
            logs = np.log(np.maximum(self.probabilities, 1e-300))  # 0 · log 0 = 0
            entropy = -(self.probabilities * logs).sum(axis=1, keepdims=True)
            gradient -= self.entropy_weight * self.probabilities * (logs + entropy)
        active = self.space.active(architecture)
        if len(active) < len(self.space.choices):
            gradient[[name not in active for name in self.space.choices]] = 0.0
        return gradient

    def normalise(self) -> None:
        weights = np.exp(self.logits - np.maximum.reduce(self.logits, axis=1, keepdims=True))
        self._cumulative = np.add.accumulate(weights, axis=1)
        self.probabilities = weights / self._cumulative[:, -1:]
