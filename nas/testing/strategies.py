"""The promises of a strategy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from nas.core import Objective, Proposal, Trial
from nas.engine.randomness import TrialRandom
from nas.space.base import SearchSpace
from nas.strategies.base import Strategy, StrategyFactory
from nas.testing.promises import Promise

SEED = 3
TRIALS = 60

Look: TypeAlias = Callable[[Strategy, int, Proposal], None]
"""Asks a strategy again after it has proposed the trial of a number."""


def strategy_promises(
    make: StrategyFactory, space: SearchSpace, trials: int = TRIALS, source: object = None
) -> list[Promise]:
    """`ask` is pure and valid, the trials it was given are its whole state, failed and pending trials are tolerated.

    Args:
        trials: Length of each search.
        source: Class whose lines are named; None: that of the factory.
    """
    random = TrialRandom(SEED)

    def fresh() -> Strategy:
        strategy = make(space=space, objective=Objective())
        strategy.reset(TrialRandom(SEED).start())
        return strategy

    def searched(look: Look | None = None, every_nth_fails: int = 7) -> tuple[Strategy, list[Trial]]:
        strategy, finished = fresh(), list[Trial]()
        for number in range(trials):
            proposal = strategy.ask(random.trial(number), ())
            if proposal is None:
                break
            if look is not None:
                look(strategy, number, proposal)
            finished.append(_trial(space, number, proposal, failed=number % every_nth_fails == every_nth_fails // 2))
            strategy.tell(finished[-1])
        return strategy, finished

    def proposes() -> None:
        proposal = fresh().ask(random.trial(0), ())
        assert proposal is not None, "the strategy proposed nothing: ask gave None with no trial pending"
        assert isinstance(proposal, Proposal), f"ask must give a Proposal or None, got {type(proposal).__name__}"

    def proposals_are_valid() -> None:
        for trial in searched()[1]:
            space.validate(trial.proposal.architecture)

    def ask_is_pure() -> None:
        def again(strategy: Strategy, number: int, proposal: Proposal) -> None:
            second = strategy.ask(random.trial(number), ())
            assert proposal == second, f"ask is not pure: trial {number} was proposed as {proposal}, then as {second}"

        searched(again)

    def pending_are_tolerated() -> None:
        def ahead(strategy: Strategy, number: int, proposal: Proposal) -> None:
            second = strategy.ask(random.trial(number + 1), (proposal,))
            if second is not None:
                space.validate(second.architecture)

        searched(ahead)

    def replay_is_resume() -> None:
        strategy, finished = searched()
        replayed = fresh()
        for trial in finished:
            replayed.tell(trial)
        for number in (len(finished), len(finished) + 1):
            expected, proposed = strategy.ask(random.trial(number), ()), replayed.ask(random.trial(number), ())
            assert proposed == expected, (
                f"after a resume it proposes {proposed}, but an uninterrupted search proposes {expected}"
            )

    def reset_forgets() -> None:
        used, first = copy.deepcopy(searched()[0]), fresh()
        used.reset(TrialRandom(SEED).start())
        assert used.ask(random.trial(0), ()) == first.ask(random.trial(0), ()), "reset leaves traces of earlier trials"

    def failures_are_tolerated() -> None:
        searched(every_nth_fails=1)

    source = source or getattr(make, "func", make)
    ask, tell, reset = (getattr(source, name, source) for name in ("ask", "tell", "reset"))
    return [
        Promise("ask proposes an architecture", proposes, ask, needed=True),
        Promise("proposals are valid architectures of the space", proposals_are_valid, ask),
        Promise("ask is pure: the same random numbers give the same proposal", ask_is_pure, ask),
        Promise("pending proposals are tolerated", pending_are_tolerated, ask),
        Promise(
            "the trials it was given are its whole state, so a resumed search is the same search",
            replay_is_resume,
            tell,
        ),
        Promise("reset forgets everything", reset_forgets, reset),
        Promise("a search in which every trial fails is tolerated", failures_are_tolerated, tell),
    ]


def _trial(space: SearchSpace, number: int, proposal: Proposal, *, failed: bool) -> Trial:
    text = space.to_text(proposal.architecture)
    score = float(np.mean(proposal.architecture))
    if failed:
        return Trial(number, proposal, text, text, 0, "failed", {}, 0.0, error_kind="error", error="made to fail")
    return Trial(number, proposal, text, text, 0, "completed", {Objective().metric: score}, 0.0)
