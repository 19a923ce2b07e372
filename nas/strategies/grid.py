"""Grid search.

Every combination of the decisions that matter, once. The oldest method there is; Bergstra & Bengio, "Random Search for
Hyper-Parameter Optimization", JMLR 13, 2012, https://jmlr.org/papers/v13/bergstra12a.html, show why random search
needs fewer trials where only some of the decisions count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import prod

from numpy.random import Generator

from nas.core import Architecture, Objective, Proposal, Trial
from nas.errors import UsageError
from nas.space.base import SearchSpace
from nas.space.conditions import RESTING
from nas.space.decisions import Decision, Float, Integer
from nas.validation import whole_number

MOST = 1_000_000
"""Most combinations that may be allowed: all of them are listed at the start."""


@dataclass
class GridSearch:
    """Try every combination in the order of `SearchSpace.architectures`, the last decision changing fastest.

    Args:
        resolution: Number of options that are tried of each range of numbers (`Integer`, `Float`), at least 2, evenly
            spread over its steps with both ends among them; None: every step. Other decisions keep all options.
        max_combinations: Largest number of combinations, at most a million; a larger grid is refused.
    """

    space: SearchSpace
    objective: Objective
    resolution: int | None = None
    max_combinations: int = 10_000
    combinations: tuple[Architecture, ...] = field(init=False, repr=False)
    """The whole grid, in order."""

    def __post_init__(self) -> None:
        if self.resolution is not None:
            whole_number("strategy.resolution", self.resolution, least=2)
        whole_number("strategy.max_combinations", self.max_combinations, most=MOST)
        self.combinations = self._listed()
        self.reset()

    @property
    def planned(self) -> int:
        """Number of trials after which the search is finished."""
        return len(self.combinations)

    def reset(self, rng: Generator | None = None) -> None:
        self._told: set[Architecture] = set()
        self._start = 0  # every combination before it was told

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal | None:
        requested = {proposal.architecture for proposal in pending}
        for architecture in islice(self.combinations, self._start, None):
            if architecture not in self._told and architecture not in requested:
                return Proposal(architecture)
        return None

    def tell(self, trial: Trial) -> None:
        self._told.add(trial.proposal.architecture)
        while self._start < self.planned and self.combinations[self._start] in self._told:
            self._start += 1

    def _listed(self) -> tuple[Architecture, ...]:
        if self.resolution is None:
            count = self.space.size
            if count > self.max_combinations:
                self._refuse(f"{'' if self.space.size_is_exact else 'up to '}{count:,}")
            return tuple(self.space.architectures())
        options = [_spread(kind, self.resolution) for kind in self.space.decisions.values()]
        # before constraints, which could reject one after another without end
        found = tuple(islice(self._combined((), options), self.max_combinations + 1))
        if len(found) > self.max_combinations:
            conditional = bool(self.space.conditions) or type(self.space).active is not SearchSpace.active
            self._refuse(f"{'up to ' if conditional else ''}{prod(map(len, options)):,}")
        return tuple(filter(self.space.is_valid, found))

    def _combined(self, chosen: Architecture, options: Sequence[Sequence[int]]) -> Iterator[Architecture]:
        """The architectures that begin with the chosen options and have one of the given options for the others."""
        position = len(chosen)
        if position == len(options):
            yield chosen
            return
        name = tuple(self.space.choices)[position]
        matters = name in self.space.active((*chosen, *[RESTING] * (len(options) - position)))
        for option in options[position] if matters else (RESTING,):
            yield from self._combined((*chosen, option), options)

    def _refuse(self, count: str) -> None:
        coarser = "a lower strategy.resolution" if self.resolution else "strategy.resolution (options tried per range)"
        raise UsageError(
            f"a grid of {type(self.space).__name__} has {count} combinations, more than "
            f"strategy.max_combinations={self.max_combinations:,}; set {coarser}, or raise strategy.max_combinations"
        )


def _spread(kind: Decision, resolution: int) -> list[int]:
    """Positions of the options that are tried, the first and the last among them."""
    if not isinstance(kind, Integer | Float) or len(kind) <= resolution:
        return list(range(len(kind)))
    return [(step * (len(kind) - 1) + (resolution - 1) // 2) // (resolution - 1) for step in range(resolution)]
