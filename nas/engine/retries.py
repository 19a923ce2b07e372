"""Trials that run again: the retry policy of `nas.executors.retries` for evaluations.

A retried trial keeps its number and its seed; `cost["retries"]` counts, since that differs from run to run.
"""

from __future__ import annotations

from dataclasses import replace

from nas.engine.evaluation import Outcome
from nas.executors.base import Executor, Jobs, WorkerDied
from nas.executors.retries import ALONE, Retrying, counted, kind_of

RETRIES = "retries"
"""Name of the cost."""


def retrying(jobs: Jobs, executor: Executor) -> Jobs:
    """The jobs of an executor, with retries of trials whose failure says nothing about their architecture."""
    retries = getattr(executor, "retries", 0)
    if executor.workers == 1 and retries == 0:  # no other trial ran beside it, and no other worker is there
        return jobs
    return Retrying(jobs, executor.workers, retries, _kind, _counted)


def _kind(outcome: Outcome | WorkerDied) -> str | None:
    if isinstance(outcome, WorkerDied):
        return kind_of(outcome)
    return ALONE if outcome.error_kind == ALONE else None  # other kinds are the evaluator's own


def _counted(outcome: Outcome | WorkerDied, retries: int) -> Outcome | WorkerDied:
    if isinstance(outcome, Outcome):
        return replace(outcome, cost={**outcome.cost, RETRIES: float(retries)})
    result: WorkerDied = counted(outcome, retries)
    return result
