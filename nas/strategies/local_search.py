"""Local search.

White, Nolen & Savani, "Exploring the Loss Landscape in Neural Architecture Search", UAI 2021,
https://arxiv.org/abs/2005.02960, Algorithm 1: evaluate all neighbours, move to the best, until none is better. On
NAS-Bench-201 it reaches the CIFAR-100 optimum in 127 architectures on average.

Differs from the paper: at a local optimum it starts again from a random architecture for as long as the budget lasts;
a failed start is replaced at once, and a failed neighbour is worse than any other. No architecture is proposed twice:
once the whole space is known, the search is finished.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from numpy.random import Generator

from nas.core import Architecture, Objective, Proposal, Trial
from nas.space.base import SearchSpace
from nas.strategies.unseen import unseen


@dataclass
class LocalSearch:
    """Climb by whole neighbourhoods.

    A proposal's `info` has `neighbour_of`, the architecture whose neighbourhood is being evaluated, as a list; a
    start has none.
    """

    space: SearchSpace
    objective: Objective
    scores: dict[Architecture, float] = field(default_factory=dict, init=False)
    centre: Architecture | None = field(default=None, init=False)
    """Architecture whose neighbours are being evaluated; None: a start is due."""
    neighbours: Sequence[Architecture] = field(default=(), init=False, repr=False)

    def reset(self, rng: Generator) -> None:
        self.scores.clear()
        self._move(None)

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal | None:
        centre, neighbours = self.centre, self.neighbours
        requested = {proposal.architecture for proposal in pending}
        if centre is None:
            # A start in flight is the next centre: unless it fails, its neighbours are due, however it scores
            start = next((proposal for proposal in pending if "neighbour_of" not in proposal.info), None)
            if start is None:
                return self._start(rng, requested)
            centre, neighbours = start.architecture, tuple(self.space.neighbours(start.architecture))
        due = next(self._unknown(neighbours, requested), None)
        return None if due is None else Proposal(due, info={"neighbour_of": list(centre)})

    def tell(self, trial: Trial) -> None:
        architecture = trial.proposal.architecture
        self.scores[architecture] = self.objective.score(trial) if trial.completed else -math.inf
        if self.centre is None and trial.completed and "neighbour_of" not in trial.proposal.info:
            self._move(architecture)
        while self.centre is not None and all(neighbour in self.scores for neighbour in self.neighbours):
            best = max(self.neighbours, key=self.scores.__getitem__, default=self.centre)
            self._move(best if self.scores[best] > self.scores[self.centre] else None)

    def _move(self, centre: Architecture | None) -> None:
        self.centre = centre
        self.neighbours = () if centre is None else tuple(self.space.neighbours(centre))

    def _unknown(
        self, architectures: Iterable[Architecture], requested: Container[Architecture]
    ) -> Iterator[Architecture]:
        return (each for each in architectures if each not in self.scores and each not in requested)

    def _start(self, rng: Generator, requested: Container[Architecture]) -> Proposal | None:
        start = unseen(self.space, rng, self.scores, requested)
        return None if start is None else Proposal(start)
