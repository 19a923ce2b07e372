"""The best architecture so far, against evaluations and simulated seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from nas.analysis.bootstrap import Array
from nas.analysis.canvas import DPI, FONT_SIZE, colours, style, text_width
from nas.analysis.curves import Curve, by_evaluations, by_simulated_seconds
from nas.analysis.results import Column, RunResult
from nas.analysis.statistics import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Best architecture so far"
FIRST_SHOWN_PART = 1 / 16
"""Fraction of the budget at which the figure starts; before it, every search is still random."""
SAMPLE_INCHES = (0.12, 0.22, 0.6)
"""Beside a panel: positions of the bend of a connector, and of both ends of a sample of the line."""

LINE_STYLES: Sequence[Any] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (6, 1.5, 1, 1.5, 1, 1.5)),
    (0, (1, 0.7)),
    (0, (8, 3)),
    (0, (3, 3)),
)
MARKERS = "osD^vPX*<>ph"


def draw(comparison: Comparison, results: Sequence[RunResult]) -> Figure:
    """The figure of a report."""
    column = comparison.column
    return anytime(by_evaluations(results, column), by_simulated_seconds(results, column), column)


def anytime(evaluations: Sequence[Curve], seconds: Sequence[Curve], column: Column) -> Figure:
    """Mean incumbents with their intervals, against evaluations and, in a second panel, against simulated seconds.

    The vertical range covers the best strategy from 1/16 of the budget on, and every final mean. The optimum is drawn
    unless that would compress the curves.

    Args:
        evaluations: At least one curve.
        seconds: Curves of the same strategies in the same order, or none.
    """
    panels = [(evaluations, "evaluated architectures"), *([(seconds, "simulated seconds")] if seconds else [])]
    with style():
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

        figure = Figure(dpi=DPI)
        low, high = _vertical_range([curves for curves, _ in panels], column)
        many = len({curve.runs for curve in evaluations}) > 1
        names = [f"{curve.strategy} (n = {curve.runs})" if many else curve.strategy for curve in evaluations]
        early = any(_ends_early(curve) for curves, _ in panels for curve in curves)
        wide, tall = 4.2, max(3.6, 0.2 * len(names) + 0.6)
        room = max(text_width(name, figure) for name in names) + SAMPLE_INCHES[2] + 0.2
        gap, left, bottom, top = 0.35, 0.85, 0.6, 0.62 if early else 0.42
        total = left + len(panels) * wide + (len(panels) - 1) * gap + room + 0.1
        figure.set_size_inches(total, bottom + tall + top)
        height = bottom + tall + top
        for index, (curves, label) in enumerate(panels):
            x = left + index * (wide + gap)
            axes = figure.add_axes((x / total, bottom / height, wide / total, tall / height))
            stop = max(curve.x[-1] for curve in curves)
            start = max(min(curve.x[0] for curve in curves), stop * FIRST_SHOWN_PART)
            _draw_curves(axes, curves, start, stop)
            axes.set_ylim(low, high)
            if start < stop:
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))
                axes.xaxis.set_minor_formatter(NullFormatter())
                axes.set_xlim(start, stop * (stop / start) ** 0.02)
            axes.set_xlabel(f"{label} (log scale)" if start < stop else label)
            if not 1e-3 < max(abs(low), abs(high)) < 1e5:
                axes.yaxis.set_major_formatter(EngFormatter(sep=" "))
            else:
                axes.ticklabel_format(axis="y", style="plain", useOffset=False)
            axes.grid(axis="y", color="0.9", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            if index:
                axes.tick_params(labelleft=False)
            else:
                axes.set_ylabel(column.label or column.name)
            if column.optimum is not None and low < column.optimum < high:
                axes.axhline(column.optimum, color="0.35", linewidth=0.7, zorder=1)
        if column.optimum is not None and low < column.optimum < high:
            above = column.direction == "maximize"
            figure.axes[0].annotate(
                f"optimum {column.optimum:.4g}", (0, column.optimum), (4, 3 if above else -3),
                xycoords=("axes fraction", "data"), textcoords="offset points",
                va="bottom" if above else "top", fontsize=FONT_SIZE - 1, color="0.35",
            )  # fmt: skip
        _label_ends(figure.axes[-1], panels[-1][0], names, (low, high), tall)
        figure.text(left / total, 1 - 0.1 / height, _title(evaluations), fontsize=FONT_SIZE + 1, va="top")
        if early:
            caption = "Vertical tick: the first of its runs ends here; a finished run keeps its best."
            figure.text(left / total, 1 - 0.3 / height, caption, fontsize=FONT_SIZE - 1, va="top", color="0.35")
    return figure


def _draw_curves(axes: Axes, curves: Sequence[Curve], start: float, stop: float) -> None:
    alpha = 0.2 if len(curves) <= 4 else 0.1  # many opaque bands would hide the lines
    for index, (curve, colour) in enumerate(zip(curves, colours(len(curves)), strict=True)):
        style = LINE_STYLES[index % len(LINE_STYLES)]
        axes.plot(
            curve.x, curve.mean, color=colour, linestyle=style, linewidth=1.7, zorder=3,
            drawstyle="steps-post" if curve.runs == 1 else "default", solid_capstyle="butt", dash_capstyle="butt",
        )  # fmt: skip
        if curve.low is not None and curve.high is not None:
            axes.fill_between(
                curve.x, curve.low, curve.high, color=colour, alpha=alpha, linewidth=0, zorder=2
            )  # fmt: skip
        # each strategy has its own positions, so that markers of equal curves do not hide one another
        parts = (np.arange(5) + (index + 0.5) / len(curves)) / 5
        positions = [x for x in start * (stop / start) ** parts if curve.x[0] <= x <= curve.x[-1]] if start else []
        points = [_point(curve, x) for x in positions]
        axes.plot(
            *np.array(points).reshape(-1, 2).T, color=colour, marker=MARKERS[index % len(MARKERS)], linestyle="",
            markersize=5, markeredgecolor="white", markeredgewidth=0.5, zorder=4,
        )  # fmt: skip
        if _ends_early(curve):
            axes.plot(*_point(curve, curve.first_end), color=colour, marker="|", markersize=11, markeredgewidth=1.6)


def _vertical_range(panels: Sequence[Sequence[Curve]], column: Column) -> tuple[float, float]:
    sign = 1 if column.direction == "maximize" else -1
    early = min(max(sign * _point(curve, curve.x[-1] * FIRST_SHOWN_PART)[1] for curve in curves) for curves in panels)
    curves = [curve for panel in panels for curve in panel]
    final = [sign * curve.mean[-1] for curve in curves]
    ends = [sign * end[-1] for curve in curves for end in (curve.low, curve.high) if end is not None] + final
    worst, best = min(early, *ends), max([*ends, max(float(np.max(sign * curve.mean)) for curve in curves)])
    span = (best - worst) or 0.01 * abs(best) or 1.0
    worst, best = worst - 0.04 * span, best + 0.06 * span
    if column.optimum is not None and best - 0.1 * span < sign * column.optimum < best + 0.5 * span:
        best = max(best, sign * column.optimum + 0.09 * span)
    return (worst, best) if sign > 0 else (-best, -worst)


def _label_ends(
    axes: Axes, curves: Sequence[Curve], names: Sequence[str], limits: tuple[float, float], tall: float
) -> None:
    """Samples of the lines with their names beside the ends, moved up and down just enough not to overlap.

    Args:
        tall: Height of the axes, inches.
    """
    low, high = limits
    wanted = np.array([(curve.mean[-1] - low) / (high - low) * tall for curve in curves])
    heights = spread(wanted, 1.35 * FONT_SIZE / 72, tall) / tall
    inch = 1 / (axes.get_position().width * axes.figure.bbox.width / DPI)
    for index, (name, colour, y, end) in enumerate(
        zip(names, colours(len(names)), heights, wanted / tall, strict=True)
    ):
        bend, first, last = (1 + inches * inch for inches in SAMPLE_INCHES)
        common: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        axes.plot([1.0, bend, first - 0.03 * inch], [end, y, y], color="0.7", linewidth=0.7, **common)
        axes.plot(
            [first, last], [y, y], color=colour, linestyle=LINE_STYLES[index % len(LINE_STYLES)], linewidth=1.7,
            dash_capstyle="butt", **common,
        )  # fmt: skip
        axes.plot(
            [(first + last) / 2], [y], color=colour, linestyle="", marker=MARKERS[index % len(MARKERS)], markersize=5,
            markeredgecolor="white", markeredgewidth=0.5, **common,
        )  # fmt: skip
        axes.text(last + 0.1 * inch, y, name, transform=axes.transAxes, va="center_baseline", gid="strategy")


def spread(wanted: Array, apart: float, tall: float) -> Array:
    """Positions from 0 to `tall`, at least `apart` from one another and nearest to the wanted ones in least squares.

    Least squares under p[i + 1] - p[i] >= d is isotonic regression of p[i] - i * d.

    Args:
        wanted: (n,), in any order; n * apart <= tall.

    Returns:
        (n,), in the order of `wanted`.
    """
    order = np.argsort(wanted, kind="stable")
    steps = apart * np.arange(len(wanted))
    free = scipy.optimize.isotonic_regression(wanted[order] - steps).x
    positions = np.empty(len(wanted))
    positions[order] = np.clip(free, 0, max(0.0, tall - steps[-1])) + steps
    return positions


def _point(curve: Curve, x: float) -> tuple[float, float]:
    """The curve's last point up to x; its first point if it starts later."""
    index = max(0, int(np.searchsorted(curve.x, x, side="right")) - 1)
    return float(curve.x[index]), float(curve.mean[index])


def _ends_early(curve: Curve) -> bool:
    """Whether the runs of a curve end visibly apart."""
    return bool(curve.first_end < 0.97 * curve.x[-1])


def _title(curves: Sequence[Curve]) -> str:
    runs = sorted({curve.runs for curve in curves})
    if runs == [1]:
        return "Best architecture so far: one run per strategy, no interval"
    mean = f"mean of {runs[0]} runs" if len(runs) == 1 else "mean of n runs"
    return f"Best architecture so far: {mean}, 95 % bootstrap interval"
