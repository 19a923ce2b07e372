"""Random search.

Li & Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019,
https://arxiv.org/abs/1902.07638. The baseline that every other strategy has to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.random import Generator

from nas.core import Objective, Proposal, Trial
from nas.space.base import SearchSpace


@dataclass
class RandomSearch:
    """Draw every architecture independently and uniformly, with replacement."""

    space: SearchSpace
    objective: Objective

    def reset(self, rng: Generator) -> None:
        """Does nothing: random search has no state."""

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal:
        return Proposal(self.space.sample(rng))

    def tell(self, trial: Trial) -> None:
        """Does nothing: random search does not learn."""
