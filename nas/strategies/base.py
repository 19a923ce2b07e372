"""What a search strategy offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from nas.core import Objective, Proposal, Trial

if TYPE_CHECKING:
    from numpy.random import Generator


class Strategy(Protocol):
    """A search method; made with `space=` and `objective=`, and knowing nothing else."""

    def reset(self, rng: Generator) -> None:
        """Start anew; the only random initialisation (controller weights and the like)."""

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal | None:
        """The next proposal. Pure: two calls with equal generators give equal proposals and change nothing.

        Args:
            rng: this trial's own random numbers; valid during the call only.
            pending: proposals asked for but not told yet, oldest first.

        Returns:
            None to wait for a pending trial; None with nothing pending ends the search.
        """

    def tell(self, trial: Trial) -> None:
        """The only change of state: a strategy is a fold over the trials it was told, so resume is replay.

        Failed trials are told too: `objective.score(trial)` needs `trial.completed`.
        """


class StrategyFactory(Protocol):
    """Makes a strategy: the class itself, or `functools.partial` of it with settings."""

    # `Any`, since a gradient strategy takes only a SupernetSpace
    def __call__(self, *, space: Any, objective: Objective) -> Strategy: ...
