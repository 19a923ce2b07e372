"""Several searches compared: the statistics of `nas.analysis` as facts, charts and rows of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nas.analysis.curves import Curve, by_evaluations, by_simulated_seconds
from nas.analysis.report import verdict
from nas.analysis.results import Column, RunResult
from nas.analysis.statistics import Comparison, by_strategy, compare
from nas.report.document import Chart, Facts, Line
from nas.report.wording import metric_label, metric_style

MAX_LINES = 8
"""Largest number of strategies in a chart; of more, the best."""
MAX_PAIRS = 40


def facts(results: Sequence[RunResult], column: Column) -> Facts:
    """What a report says about one column of a comparison.

    Raises:
        UsageError: There are no runs, two runs of the same strategy and seed, or a run lacks the column.
    """
    found = compare(results, column)
    style = metric_style(column.name, [summary.mean for summary in found.summaries.values()])
    runs = by_strategy(results)
    sign = -1.0 if column.direction == "maximize" else 1.0
    ordered = sorted(found.summaries.items(), key=lambda item: sign * item[1].mean)
    return {
        "column": column.name,
        "label": column.label or metric_label(column.name),
        "direction": column.direction,
        "style": style,
        "best": found.best,
        "verdict": verdict(found),
        "strategies": [
            {
                "name": name,
                "n": summary.n,
                "mean": summary.mean,
                "low": summary.ci_low,
                "high": summary.ci_high,
                "std": summary.std,
                "median": summary.median,
                "trials": sum(run.queries for run in runs[name]) / len(runs[name]),
                "seconds": sum(run.seconds for run in runs[name]) / len(runs[name]),
            }
            for name, summary in ordered
        ],
        "pairs": _pairs(found),
        "more_pairs": max(0, len(found.pairs) - MAX_PAIRS),
        "warnings": list(found.warnings),
    }


def _pairs(found: Comparison) -> list[dict[str, Any]]:
    """Pairs, those of the best first."""
    ordered = sorted(found.pairs, key=lambda pair: (found.best not in (pair.first, pair.second), pair.p_holm))
    return [
        {
            "first": pair.first,
            "second": pair.second,
            "n": pair.n,
            "wins": pair.wins,
            "ties": pair.ties,
            "losses": pair.losses,
            "difference": pair.mean_difference,
            "low": pair.ci_low,
            "high": pair.ci_high,
            "p": pair.p_holm,
            "differs": pair.differs,
        }
        for pair in ordered[:MAX_PAIRS]
    ]


def charts(results: Sequence[RunResult], column: Column) -> dict[str, Chart]:
    """Mean best results so far, by evaluated architectures and by simulated time where there is one."""
    found = compare(results, column)
    sign = -1.0 if column.direction == "maximize" else 1.0
    best = sorted(found.summaries, key=lambda name: sign * found.summaries[name].mean)[:MAX_LINES]
    label = column.label or metric_label(column.name)
    drawn = {}
    for name, curves, x_label in (
        ("by_trials", by_evaluations(results, column), "trials"),
        ("by_time", by_simulated_seconds(results, column), "simulated time"),
    ):
        chosen = sorted((curve for curve in curves if curve.strategy in best), key=lambda one: best.index(one.strategy))
        if chosen:
            drawn[name] = Chart(
                f"Mean best result so far by {x_label}",
                x_label,
                label,
                [_line(curve) for curve in chosen],
                f"Means over the runs of {', '.join(best)}, with their 95 % intervals. The table has the last values.",
                y_style=metric_style(column.name, [float(y) for curve in chosen for y in curve.mean]),
                x_style="count" if name == "by_trials" else "seconds",
            )
    return drawn


def _line(curve: Curve) -> Line:
    return Line(
        curve.strategy,
        curve.x.tolist(),
        curve.mean.tolist(),
        () if curve.low is None else curve.low.tolist(),
        () if curve.high is None else curve.high.tolist(),
    )
