"""Regularized (aging) evolution.

Real, Aggarwal, Huang & Le, "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019,
https://arxiv.org/abs/1802.01548, Algorithm 1.

Differs from the paper: the tournament is drawn with replacement, as NAS-Bench-201 did, and a failed trial enters the
population with the worst possible score instead of not at all, so that a space full of failures cannot freeze the
search. Optionally, a child has two parents and is not mutated, as half of the children are in SPOS (Guo et al., ECCV
2020, https://arxiv.org/abs/1904.00420, Algorithm 1).

Differs from NAS-Bench-201's code, which draws the node to mutate first and then an edge into it: of the six edges the
first has probability 1/3 there, the two of the second node 1/6 each and the three of the last 1/9 each. Here, as for
every space, each decision is drawn with the same probability.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from numpy.random import Generator

from nas.core import Architecture, Objective, Proposal, Trial
from nas.errors import UsageError
from nas.space.base import SearchSpace
from nas.validation import number_in, whole_number


@dataclass
class RegularizedEvolution:
    """Mutate the best of a random sample, or cross it with the best of another; always kill the oldest.

    Args:
        population_size: P, individuals alive at a time (paper: 100; NAS-Bench-201: 10).
        sample_size: S, individuals in a tournament, 1 to P (paper: 25; NAS-Bench-201: 3).
        crossover: Probability, 0 to 1, that a child takes each decision from either of two parents, each the best of a
            tournament of its own, instead of being a mutant of one (paper: 0; SPOS: 0.5).
    """

    space: SearchSpace
    objective: Objective
    population_size: int = 10
    sample_size: int = 3
    crossover: float = 0.0
    population: deque[tuple[float, Architecture]] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        whole_number("strategy.population_size", self.population_size)
        whole_number("strategy.sample_size", self.sample_size)
        number_in("strategy.crossover", self.crossover, 0.0, 1.0)
        if self.sample_size > self.population_size:
            raise UsageError(
                f"strategy.sample_size must be 1 to population_size ({self.population_size}), got {self.sample_size}"
            )

    def reset(self, rng: Generator) -> None:
        self.population.clear()

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal:
        if not self.population or len(self.population) + len(pending) < self.population_size:
            return Proposal(self.space.sample(rng))
        parent = self._best_of_a_sample(rng)
        if self.crossover and rng.random() < self.crossover:  # at 0 no number is drawn
            return Proposal(self.space.crossover(parent, self._best_of_a_sample(rng), rng))
        return Proposal(self.space.mutate(parent, rng))

    def _best_of_a_sample(self, rng: Generator) -> Architecture:
        alive = len(self.population)
        contenders = [self.population[int(u * alive)] for u in rng.random(self.sample_size).tolist()]
        return max(contenders, key=itemgetter(0))[1]

    def tell(self, trial: Trial) -> None:
        score = self.objective.score(trial) if trial.completed else -math.inf
        self.population.append((score, trial.proposal.architecture))
        if len(self.population) > self.population_size:
            self.population.popleft()  # the oldest dies, however good it is
