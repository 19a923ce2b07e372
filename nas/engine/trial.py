"""A trial before its evaluation, and the trial that follows from its outcome."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from math import isfinite
from types import MappingProxyType
from typing import NamedTuple

from nas.core import Objective, Proposal, Trial
from nas.engine.evaluation import Outcome, metrics_of_equal
from nas.engine.retries import RETRIES
from nas.evaluators.base import Evaluator, SupportsMinimized
from nas.executors.base import WorkerDied
from nas.supernets.base import SupernetSearch

NO_METRICS: Mapping[str, float] = MappingProxyType({})


class PendingTrial(NamedTuple):
    """A trial before its evaluation, with the fields of `Trial`."""

    number: int
    proposal: Proposal
    text: str
    canonical: str
    seed: int
    told_before: int

    def with_outcome(self, outcome: Outcome | WorkerDied) -> Trial:
        """The trial; it failed if the outcome is an error or its worker died."""
        if isinstance(outcome, WorkerDied):
            cost = {RETRIES: float(outcome.retries)} if outcome.retries else {}
            outcome = Outcome({}, outcome.seconds, cost, error_kind=outcome.kind, error=outcome.reason)
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
            outcome.traceback,
        )


def reused(pending: PendingTrial, earlier: Trial, evaluator: Evaluator) -> Trial:
    """The trial of an architecture whose class was evaluated before: it takes that result at no cost."""
    return replace(
        earlier,
        number=pending.number,
        proposal=pending.proposal,
        text=pending.text,
        metrics=metrics_of_equal(earlier, evaluator, pending.proposal.architecture),
        seconds=0.0,
        cost={},
        reused_from=earlier.number,
        told_before=pending.told_before,
    )


def minimized_metrics(evaluator: Evaluator, objective: Objective) -> dict[str, list[str]]:
    """The metrics that an evaluator declares as better when lower, to be stored with its run.

    Warns if the objective maximises one of them.
    """
    if not isinstance(evaluator, SupportsMinimized):
        return {}
    minimized = list(evaluator.minimized)
    if objective.metric in minimized and objective.direction == "maximize":
        warnings.warn(
            f"objective.direction=maximize, but {type(evaluator).__name__} declares that lower values of "
            f"{objective.metric} are better; set objective.direction=minimize",
            stacklevel=4,
        )
    return {"minimized": minimized}


def simulated_seconds(trial: Trial) -> float:
    """Simulated seconds that a trial adds to its run; an earlier version may have stored NaN."""
    seconds = trial.metrics.get("simulated_seconds", 0.0)
    return seconds if isfinite(seconds) and seconds > 0 else 0.0


def last_error(trials: Sequence[Trial], ended: str) -> str:
    """The error of the last failed trial of a search; if it has no trials, the reason.

    Args:
        ended: Why the search ended, as in `SearchResult`.
    """
    if not trials:
        used_up = "the budget was used up before the first trial; set a larger budget.hours"
        return used_up if ended == "budget" else "the strategy proposed no architecture"
    return next((trial.error for trial in reversed(trials) if trial.error), "no trial failed")


def with_supernet_search(trial: Trial, search: SupernetSearch) -> Trial:
    """A trial with the time, the cost and the curve of the supernet search that found its architecture."""
    curve = tuple({**first, **second} for first, second in zip_longest(search.curve, trial.curve, fillvalue=NO_METRICS))
    return replace(
        trial,
        seconds=trial.seconds + search.seconds,
        cost={**trial.cost, **search.cost, "search_seconds": search.seconds},
        curve=curve,
    )


def by_number(trial: Trial) -> int:
    """Sort key of trials."""
    return trial.number
