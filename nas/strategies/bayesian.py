"""Bayesian optimisation with a Gaussian process and expected improvement.

Jones, Schonlau & Welch, "Efficient Global Optimization of Expensive Black-Box Functions", Journal of Global
Optimization 13, 1998, https://doi.org/10.1023/A:1008306431147; with the kernel of Snoek, Larochelle & Adams, NeurIPS
2012, https://arxiv.org/abs/1206.2944 (see `gaussian_process.py`).

Trials in flight are believed to score what the process expects of them (the kriging believer of Ginsbourger, Le Riche &
Carraro, 2010, https://doi.org/10.1007/978-3-642-10701-6_6): the expectation stays, and the uncertainty around them
shrinks.

Differs from the papers: improvement is over the best expectation at a known architecture, since scores are noisy. It is
maximised over random architectures, mutants of the best ones, and the neighbours of whatever leads, instead of by
branch and bound. A failed trial counts as the worst score seen. Kernel lengths are estimated again when there are a
tenth more trials. No architecture is proposed twice: once the whole space is known, the search is finished.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nlargest

import numpy as np
from numpy.random import Generator
from threadpoolctl import ThreadpoolController

from nas.core import Architecture, Objective, Proposal, Trial
from nas.space.base import SearchSpace
from nas.strategies.features import Features
from nas.strategies.surrogate import Surrogate
from nas.strategies.unseen import unseen
from nas.validation import whole_number

LEADERS, MUTANTS = 5, 30
"""Best architectures so far that are mutated, and mutants of each."""
ROUNDS, EXPANDED, NEIGHBOURS, MOVES = 6, 3, 24, 10
"""Times that the most promising candidates are expanded, how many of them, and the most neighbours and the mutants of
each."""
BLAS = ThreadpoolController()
"""One thread: sums in another order would make a resumed search differ, and the cores belong to the trials."""


@dataclass
class BayesianOptimization:
    """Propose what promises the largest improvement under a Gaussian process.

    Args:
        initial: Number of architectures of a Latin hypercube that come first, at least 2; None: two for each decision
            with several options and two more, at most 20.
        candidates: Number of random architectures among those that are compared for a proposal.
    """

    space: SearchSpace
    objective: Objective
    initial: int | None = None
    candidates: int = 200
    told: list[Architecture] = field(default_factory=list, init=False, repr=False)
    scores: list[float] = field(default_factory=list, init=False, repr=False)
    """Of the trials told, in their order; NaN for a failed one."""

    def __post_init__(self) -> None:
        if self.initial is not None:
            whole_number("strategy.initial", self.initial, least=2)
        whole_number("strategy.candidates", self.candidates)
        free = sum(size > 1 for size in self.space.sizes)
        self.first = min(2 * free + 2, 20) if self.initial is None else self.initial
        self._features = Features(self.space)

    def reset(self, rng: Generator) -> None:
        self.told.clear()
        self.scores.clear()
        self._known: set[Architecture] = set()
        self._surrogate = Surrogate(self._features)
        strata = rng.permuted(np.tile(np.arange(self.first), (len(self.space.sizes), 1)), axis=1).T
        places = (strata + rng.random(strata.shape)) / self.first
        self._design = [tuple(map(int, row)) for row in (places * self.space.sizes).tolist()]

    def tell(self, trial: Trial) -> None:
        self.told.append(trial.proposal.architecture)
        self.scores.append(self.objective.score(trial) if trial.completed else math.nan)
        self._known.add(trial.proposal.architecture)

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal | None:
        requested = dict.fromkeys(proposal.architecture for proposal in pending)
        number = len(self.told) + len(pending)
        if number < self.first or np.isnan(self.scores).all():
            chosen = self._initial(number, rng, requested)
        else:
            with BLAS.limit(limits=1, user_api="blas"):
                chosen = self._most_promising(rng, requested)
        return None if chosen is None else Proposal(chosen)

    def _initial(self, number: int, rng: Generator, requested: Container[Architecture]) -> Architecture | None:
        if number < self.first:
            planned = self.space.reduced(self._design[number])
            if planned not in self._known and planned not in requested and self.space.is_valid(planned):
                return planned
        return unseen(self.space, rng, self._known, requested)

    def _most_promising(self, rng: Generator, requested: Collection[Architecture]) -> Architecture | None:
        improvement = self._surrogate.improvement(self.told, self.scores, requested)
        promise: dict[Architecture, float] = {}

        def compare(architectures: Iterable[Architecture]) -> None:
            new = [
                each
                for each in dict.fromkeys(architectures)
                if each not in self._known and each not in requested and each not in promise
            ]
            # rounded, so that candidates that are equal but for the last digits are, and the first of them is taken
            promise.update(zip(new, np.round(improvement(new), 8).tolist() if new else (), strict=True))

        best = np.argsort(-np.nan_to_num(self.scores, nan=-math.inf), kind="stable")[:LEADERS]
        compare(self.space.sample(rng) for _ in range(self.candidates))
        compare(self.space.mutate(self.told[leader], rng) for leader in best for _ in range(MUTANTS))
        expanded = set[Architecture]()
        for _ in range(ROUNDS):
            leaders = [each for each in nlargest(EXPANDED, promise, promise.__getitem__) if each not in expanded]
            expanded.update(leaders)
            compare(around for leader in leaders for around in self._around(leader, rng))
        if not promise:  # all of them are known: the space is nearly exhausted
            return unseen(self.space, rng, self._known, requested)
        return max(promise, key=promise.__getitem__)

    def _around(self, architecture: Architecture, rng: Generator) -> list[Architecture]:
        neighbours = list(self.space.neighbours(architecture))
        if len(neighbours) > NEIGHBOURS:
            neighbours = [neighbours[position] for position in rng.permutation(len(neighbours))[:NEIGHBOURS]]
        return neighbours + [self.space.mutate(architecture, rng) for _ in range(MOVES)]
