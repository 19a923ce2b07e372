"""A portfolio first, then mutations of the best.

What is known to work on most tasks is tried in a fixed order, and what remains of the budget improves on it: the idea
of Feurer et al., "Auto-sklearn 2.0: Hands-free AutoML via Meta-Learning", JMLR 23, 2022,
https://jmlr.org/papers/v23/21-0992.html, section 3.2, for budgets of a few trials.

Differs from the paper: the portfolio is written down by the author of the space instead of learnt from other data sets,
and a (mu + 1) evolution follows instead of Bayesian optimization.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from numpy.random import Generator

from nas.core import Architecture, Objective, Proposal, Trial
from nas.space.base import SearchSpace
from nas.strategies.unseen import unseen
from nas.validation import whole_number

MAX_MUTATIONS = 100
"""Mutants, all of them known, after which a random architecture is taken."""


@runtime_checkable
class SupportsFirstArchitectures(Protocol):
    """A space that knows what to try before anything else."""

    def first_architectures(self) -> Sequence[Architecture]:
        """Valid architectures in the order in which they are tried."""


@dataclass
class Portfolio:
    """The first architectures of the space, then mutants of the best; no architecture twice.

    Args:
        parents: Number of the best architectures that are mutated, at least 1.
    """

    space: SearchSpace
    objective: Objective
    parents: int = 3
    scores: dict[Architecture, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        whole_number("strategy.parents", self.parents)
        known = isinstance(self.space, SupportsFirstArchitectures)
        self.first = tuple(self.space.first_architectures()) if known else ()  # type: ignore[attr-defined]

    def reset(self, rng: Generator) -> None:
        self.scores.clear()

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal | None:
        requested = {proposal.architecture for proposal in pending}
        for architecture in self.first:
            if architecture not in self.scores and architecture not in requested:
                return Proposal(architecture)
        alive = [architecture for architecture, score in self.scores.items() if score > -math.inf]
        best = sorted(alive, key=lambda architecture: -self.scores[architecture])[: self.parents]
        for _ in range(MAX_MUTATIONS if best else 0):
            child = self.space.mutate(best[int(rng.integers(len(best)))], rng)
            if child not in self.scores and child not in requested:
                return Proposal(child)
        new = unseen(self.space, rng, self.scores, requested)
        return None if new is None else Proposal(new)

    def tell(self, trial: Trial) -> None:
        score = self.objective.score(trial) if trial.completed else -math.inf
        self.scores[trial.proposal.architecture] = score
