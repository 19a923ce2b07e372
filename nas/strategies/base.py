"""The interface of search strategies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nas.core import Objective, Proposal, Trial

if TYPE_CHECKING:
    from numpy.random import Generator


class Strategy(Protocol):
    """A search method; constructed with only `space=` and `objective=`, besides its settings."""

    def reset(self, rng: Generator) -> None:
        """Forget all trials and initialise, for example controller weights; the only random initialisation."""

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal | None:
        """The next proposal. Pure: two calls with equal generators give equal proposals and change nothing.

        Args:
            rng: Random numbers of this trial; valid only during the call.
            pending: Proposals whose trials `tell` has not received yet, oldest first.

        Returns:
            A proposal; None to wait for a pending trial, or to end the search if none is pending.
        """

    def tell(self, trial: Trial) -> None:
        """Learn from a finished trial. The only change of state, so that a search is resumed by replaying its trials.

        Failed trials are passed too: `objective.score(trial)` needs `trial.completed`.
        """


@runtime_checkable
class SupportsPlan(Protocol):
    """A strategy that knows before the first trial how many it proposes in all."""

    @property
    def planned(self) -> int:
        """Number of trials after which the search is finished."""


class StrategyFactory(Protocol):
    """Constructs a strategy: the class itself, or a `functools.partial` of it with settings."""

    # `Any`, since a gradient strategy takes only a SupernetSpace
    def __call__(self, *, space: Any, objective: Objective) -> Strategy: ...
