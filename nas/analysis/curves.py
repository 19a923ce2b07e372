"""Anytime curves: how good the incumbent was, against what had been spent by then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.analysis.bootstrap import Array, bootstrap_interval
from nas.analysis.results import Column, RunResult
from nas.analysis.statistics import by_strategy, value

POINTS = 150
RESAMPLES = 2_000


@dataclass(frozen=True)
class Curve:
    """Mean incumbent of a strategy's runs.

    It begins where the last run has its first incumbent. A run that ended keeps its winner, so that the curve's end
    is the mean of the table and no point is a mean of the runs alone that happened to last: read it as what a search
    returns if it is stopped at x or by its own budget, whichever is first. It may go down where the column is not what
    was searched for.

    Args:
        x: (p,), ascending; evaluations or simulated seconds.
        mean: (p,), in the column's units.
        low, high: (p,), 95 % intervals of the mean; None for one run.
        runs: behind every point.
        first_end: x at which the first run ended; up to here all of them are running.
    """

    strategy: str
    x: Array
    mean: Array
    low: Array | None
    high: Array | None
    runs: int
    first_end: float


def by_evaluations(results: Sequence[RunResult], column: Column) -> list[Curve]:
    """One curve a strategy against evaluated architectures, at whole numbers.

    Raises:
        UsageError: there are no runs, two of equal strategy and seed, or a run lacks the column.
    """
    return [
        _curve(
            strategy,
            column,
            runs,
            begins=[[float(step.query) for step in run.steps] for run in runs],
            ends=[float(run.queries) for run in runs],
            whole=True,
        )
        for strategy, runs in by_strategy(results).items()
    ]


def by_simulated_seconds(results: Sequence[RunResult], column: Column) -> list[Curve]:
    """One curve a strategy against simulated seconds; none at all where a run has no such cost.

    Raises:
        UsageError: there are no runs, two of equal strategy and seed, or a run lacks the column.
    """
    curves = []
    for strategy, runs in by_strategy(results).items():
        begins = [[step.simulated_seconds for step in run.steps if step.simulated_seconds is not None] for run in runs]
        ends = [run.simulated_seconds for run in runs if run.simulated_seconds is not None]
        if len(ends) < len(runs) or any(len(b) < len(run.steps) for b, run in zip(begins, runs, strict=True)):
            return []
        curves.append(_curve(strategy, column, runs, begins=begins, ends=ends, whole=False))
    return curves


def _curve(
    strategy: str,
    column: Column,
    runs: Sequence[RunResult],
    *,
    begins: Sequence[Sequence[float]],
    ends: Sequence[float],
    whole: bool,
) -> Curve:
    """The curve of runs whose incumbents begin at `begins`, ascending, and that end at `ends`."""
    start, stop = max(begin[0] for begin in begins), max(ends)
    x = _grid(start, max(start, stop), whole)
    values = np.empty((len(runs), len(x)))
    for row, run, begin in zip(values, runs, begins, strict=True):
        incumbents = np.array([value(run, column, step) for step in range(len(run.steps))])
        row[:] = incumbents[np.searchsorted(begin, x, side="right") - 1]
    low, high = bootstrap_interval(values, RESAMPLES) if len(runs) > 1 else (None, None)
    return Curve(strategy, x, values.mean(axis=0), low, high, len(runs), min(ends))


def _grid(start: float, stop: float, whole: bool) -> Array:
    """At most POINTS places from start to stop, closer together at the start, where more happens."""
    if not whole:
        # From 0 the ratio would be infinite; a thousandth of the whole is nothing in a figure
        grid = np.geomspace(max(start, stop / 1000), stop, POINTS) if stop > 0 else np.zeros(1)
        grid[[0, -1]] = max(start, stop / 1000), stop  # the ends themselves, not what rounding makes of them
        return np.unique(grid)
    if stop - start < POINTS:
        return np.arange(start, stop + 1)
    return np.unique(np.round(np.geomspace(start, stop, POINTS)))
