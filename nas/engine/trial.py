"""A trial before its evaluation, and the trial that its outcome makes of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import zip_longest
from math import isfinite
from types import MappingProxyType
from typing import NamedTuple

from nas.core import Metrics, Objective, Proposal, Trial
from nas.engine.evaluation import Outcome, redescribed
from nas.errors import UsageError, UserError, located
from nas.evaluators.base import Evaluator, SupportsMinimized, SupportsSharedWeights
from nas.executors.base import Died, Executor
from nas.executors.inline import Inline
from nas.listeners.base import Listener, SupportsEpochs
from nas.runtime import interrupt
from nas.strategies.base import Strategy
from nas.supernets.base import GradientStrategy, SupernetSearch, SupernetSearcher

EMPTY: Mapping[str, float] = MappingProxyType({})


class PendingTrial(NamedTuple):
    """A trial before its evaluation; the fields are those of `Trial`."""

    number: int
    proposal: Proposal
    text: str
    canonical: str
    seed: int
    told_before: int

    def with_outcome(self, outcome: Outcome | Died) -> Trial:
        """The trial, failed where the outcome is an error or its worker died."""
        if isinstance(outcome, Died):
            outcome = Outcome({}, outcome.seconds, error_kind=outcome.kind, error=outcome.reason)
        return Trial(
            *self[:5],
            "completed" if outcome.error is None else "failed",
            outcome.metrics,
            outcome.seconds,
            outcome.cost,
            None,
            outcome.error_kind,
            outcome.error,
            outcome.curve,
            self.told_before,
        )


def reused(plan: PendingTrial, earlier: Trial, evaluator: Evaluator) -> Trial:
    """The trial of a plan whose class was evaluated before: it has that result at no cost."""
    return replace(
        earlier,
        number=plan.number,
        proposal=plan.proposal,
        text=plan.text,
        metrics=redescribed(earlier, evaluator, plan.proposal.architecture),
        seconds=0.0,
        cost={},
        reused_from=earlier.number,
        told_before=plan.told_before,
    )


def declared(evaluator: Evaluator, objective: Objective) -> dict[str, list[str]]:
    """What an evaluator says of its metrics, to be kept with its run; warns where the objective says the contrary."""
    if not isinstance(evaluator, SupportsMinimized):
        return {}
    minimized = list(evaluator.minimized)
    if objective.metric in minimized and objective.direction == "maximize":
        warnings.warn(
            f"objective.direction=maximize, but {type(evaluator).__name__} declares that lower values of "
            f"{objective.metric} are better; set objective.direction=minimize",
            stacklevel=3,
        )
    return {"minimized": minimized}


def simulated_seconds(trial: Trial) -> float:
    """What a trial adds to the simulated seconds of its run; an earlier version may have stored NaN."""
    seconds = trial.metrics.get("simulated_seconds", 0.0)
    return seconds if isfinite(seconds) and seconds > 0 else 0.0


def last_error(trials: Sequence[Trial], ended: str) -> str:
    """What the last failed trial of a search said; where it has no trial, why.

    Args:
        ended: as in `nas.engine.loop.SearchResult`.
    """
    if not trials:
        used = "the budget was used up before the first one; set a larger budget.hours"
        return used if ended == "budget" else "the strategy proposed none"
    return next((trial.error for trial in reversed(trials) if trial.error), "no trial failed")


def with_search(trial: Trial, search: SupernetSearch) -> Trial:
    """A trial with the supernet's search that its architecture came from: time, cost, and its curve epoch by epoch."""
    curve = tuple({**first, **second} for first, second in zip_longest(search.curve, trial.curve, fillvalue=EMPTY))
    return replace(
        trial,
        seconds=trial.seconds + search.seconds,
        cost={**trial.cost, **search.cost, "search_seconds": search.seconds},
        curve=curve,
    )


def check_learner(
    evaluator: SupportsSharedWeights, agent: Strategy, executor: Executor, objective: Objective, *, costless: bool
) -> None:
    """Raise `UsageError`, before the training, where a search cannot be scored by weights that an evaluator trains.

    Args:
        costless: whether simulated seconds are the search's only limit.
    """
    name = type(evaluator).__name__
    if isinstance(agent, GradientStrategy):
        raise UsageError(
            f"strategy {type(agent).__name__} trains a supernet of its own, and {name} would score its cell by "
            "another; set evaluator=training, or evaluator=table"
        )
    if evaluator.sequential and not isinstance(executor, Inline):
        raise UsageError(
            f"{name} learns from one proposal after the other, which workers cannot share; set executor=inline, or "
            "evaluator.train=before"
        )
    if objective.metric not in evaluator.metric_names:
        raise UsageError(
            f"objective.metric must be one of the evaluator's metrics ({', '.join(sorted(evaluator.metric_names))}), "
            f"got {objective.metric!r}"
        )
    if costless:
        raise UsageError(
            f"budget.simulated_seconds is the only limit and would never be reached, since {name} has no such cost; "
            "set budget.trials or budget.hours"
        )


def to_watchers(listeners: Sequence[Listener], number: int | None) -> Callable[[int, Sequence[Metrics]], None]:
    """What a training of a supernet reports its epochs to.

    Args:
        number: of the trial that it belongs to; None: it is the evaluator's.
    """
    watching = [listener for listener in listeners if isinstance(listener, SupportsEpochs)]

    def report(epochs: int, curve: Sequence[Metrics]) -> None:
        interrupt.check()
        for listener in watching:
            listener.on_epoch_end(number, epochs, curve)

    return report


class Guarded:
    """A listener whose failures end what it shows, and never the search.

    Args:
        listener: What to call.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.failed = False

    def start(self, run: str, trials: Sequence[Trial], total: int | None, objective: Objective) -> None:
        """Start the listener; a `UserError`, such as a folder that cannot be written, is passed on."""
        try:
            self.listener.start(run, trials, total, objective)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, the search does not need it)
            self._give_up(error)

    def on_trial_end(self, trial: Trial) -> None:
        self._call(lambda: self.listener.on_trial_end(trial))

    def on_epoch_end(self, number: int | None, epochs: int, curve: Sequence[Metrics]) -> None:
        if isinstance(self.listener, SupportsEpochs):
            watching = self.listener
            self._call(lambda: watching.on_epoch_end(number, epochs, curve))

    def close(self) -> None:
        if self.failed:
            with suppress(Exception):
                self.listener.close()
        self._call(self.listener.close)

    def _call(self, function: Callable[[], None]) -> None:
        if not self.failed:
            try:
                function()
            except Exception as error:  # noqa: BLE001 (as above)
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.failed = True
        reason = str(error) if isinstance(error, UserError) else located(error)
        warnings.warn(
            f"{type(self.listener).__name__} failed and shows nothing more, while the search goes on: {reason}",
            stacklevel=2,
        )


def check_supernets(agent: Strategy, supernets: SupernetSearcher | None, executor: Executor) -> None:
    """Raise `UsageError` where a strategy that learns on a supernet cannot do so."""
    name = type(agent).__name__
    if not isinstance(agent, GradientStrategy):
        if supernets is not None:
            raise UsageError(
                f"a supernet has no effect, since strategy {name} does not learn on one; leave supernet= out"
            )
        return
    if supernets is None:
        raise UsageError(f"strategy {name} learns on a supernet; give search() supernets=GradientSearch(…)")
    if executor.workers > 1:
        raise UsageError(f"workers={executor.workers}: strategy {name} runs one search at a time; leave workers out")
