"""Anytime curves: the quality of the incumbent against the cost so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.analysis.bootstrap import Array, bootstrap_interval
from nas.analysis.results import Column, RunResult
from nas.analysis.statistics import by_strategy, value

MAX_POINTS = 150
RESAMPLES = 2_000


@dataclass(frozen=True)
class Curve:
    """Mean incumbent of a strategy's runs.

    A curve starts at the x by which every run has an incumbent. A finished run keeps its winner, so the curve ends at
    the mean in the table, and no point averages only the longest runs. A point is the result of a search that is
    stopped at x or by its own budget, whichever comes first. A curve may fall if the column is not the searched metric.

    Args:
        x: (p,), ascending; evaluations or simulated seconds.
        mean: (p,), in the column's units.
        low, high: (p,), 95 % intervals of the mean; None for one run.
        runs: Number of runs in every point.
        first_end: Position x at which the first run ends; until then, all runs are active.
    """

    strategy: str
    x: Array
    mean: Array
    low: Array | None
    high: Array | None
    runs: int
    first_end: float


def by_evaluations(results: Sequence[RunResult], column: Column) -> list[Curve]:
    """One curve for each strategy against evaluated architectures, at whole numbers.

    Raises:
        UsageError: There are no runs, two runs of the same strategy and seed, or a run lacks the column.
    """
    return [
        _curve(
            strategy,
            column,
            runs,
            starts=[[float(step.query) for step in run.steps] for run in runs],
            ends=[float(run.queries) for run in runs],
            whole=True,
        )
        for strategy, runs in by_strategy(results).items()
    ]


def by_simulated_seconds(results: Sequence[RunResult], column: Column) -> list[Curve]:
    """One curve for each strategy against simulated seconds; no curves if a run has no such cost.

    Raises:
        UsageError: There are no runs, two runs of the same strategy and seed, or a run lacks the column.
    """
    curves = []
    for strategy, runs in by_strategy(results).items():
        starts = [[step.simulated_seconds for step in run.steps if step.simulated_seconds is not None] for run in runs]
        ends = [run.simulated_seconds for run in runs if run.simulated_seconds is not None]
        if len(ends) < len(runs) or any(len(b) < len(run.steps) for b, run in zip(starts, runs, strict=True)):
            return []
        curves.append(_curve(strategy, column, runs, starts=starts, ends=ends, whole=False))
    return curves


def _curve(
    strategy: str,
    column: Column,
    runs: Sequence[RunResult],
    *,
    starts: Sequence[Sequence[float]],
    ends: Sequence[float],
    whole: bool,
) -> Curve:
    """The curve of runs whose incumbents start at `starts`, ascending, and that end at `ends`."""
    start, stop = max(first for first, *_ in starts), max(ends)
    x = _grid(start, max(start, stop), whole)
    values = np.empty((len(runs), len(x)))
    for row, run, run_starts in zip(values, runs, starts, strict=True):
        incumbents = np.array([value(run, column, step) for step in range(len(run.steps))])
        row[:] = incumbents[np.searchsorted(run_starts, x, side="right") - 1]
    low, high = bootstrap_interval(values, RESAMPLES) if len(runs) > 1 else (None, None)
    return Curve(strategy, x, values.mean(axis=0), low, high, len(runs), min(ends))


def _grid(start: float, stop: float, whole: bool) -> Array:
    """At most MAX_POINTS positions from start to stop, closer together at the start, where more happens."""
    if not whole:
        # a geometric grid cannot start at 0; a thousandth of the whole is invisible in a figure
        grid = np.geomspace(max(start, stop / 1000), stop, MAX_POINTS) if stop > 0 else np.zeros(1)
        grid[[0, -1]] = max(start, stop / 1000), stop  # exactly, without rounding
        return np.unique(grid)
    if stop - start < MAX_POINTS:
        return np.arange(start, stop + 1)
    return np.unique(np.round(np.geomspace(start, stop, MAX_POINTS)))
