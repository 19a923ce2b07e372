"""The two figures of a comparison, as PNG and SVG, readable in grey and with labels at the curves.

Everything is drawn through the object-oriented interface of matplotlib: no pyplot, no global state. Equal inputs give
equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from nas.analysis.bootstrap import Array
from nas.analysis.curves import Curve
from nas.analysis.results import Column
from nas.analysis.statistics import Ranking
from nas.drawing.style import plain_style
from nas.files import atomic_write
from nas.formatting import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 200
FONT_SIZE = 9.0
"""Font size of the labels, points."""

FIRST_SHOWN_PART = 1 / 16
"""Part of the budget at which the figure starts: before it every search is still random."""
SAMPLE_INCHES = (0.12, 0.22, 0.6)
"""Where beside a panel the connector bends, where the sample of a line begins and where it ends."""

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


def anytime(evaluations: Sequence[Curve], seconds: Sequence[Curve], column: Column) -> Figure:
    """Mean incumbents with their intervals, against evaluations and, in a second panel, against simulated seconds.

    The vertical range covers the best strategy from 1/16 of the budget on, and every final mean. The optimum is drawn
    unless that would compress the curves.

    Args:
        evaluations: At least one curve.
        seconds: Curves of the same strategies in the same order, or none.
    """
    panels = [(evaluations, "evaluated architectures"), *([(seconds, "simulated seconds")] if seconds else [])]
    with _style():
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

        figure = Figure(dpi=DPI)
        low, high = _vertical_range([curves for curves, _ in panels], column)
        many = len({curve.runs for curve in evaluations}) > 1
        names = [f"{curve.strategy} (n = {curve.runs})" if many else curve.strategy for curve in evaluations]
        early = any(_ends_early(curve) for curves, _ in panels for curve in curves)
        wide, tall = 4.2, max(3.6, 0.2 * len(names) + 0.6)
        room = max(_width(name, figure) for name in names) + SAMPLE_INCHES[2] + 0.2
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


def critical_difference(ranking: Ranking, column: Column) -> Figure:
    """Mean ranks on an axis, best on the right; a bar joins strategies without a significant difference.

    Demšar, JMLR 7, 2006, figure 1 (a).
    """
    names, ranks = list(ranking.average), list(ranking.average.values())
    count, step = len(names), 0.24
    half = (count + 1) // 2  # the better half is on the right
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(dpi=DPI)
        texts = [f"{name}  {rank:.2f}" for name, rank in ranking.average.items()]
        sides = [max((_width(text, figure) for text in part), default=0) + 0.3 for part in (texts[half:], texts[:half])]
        wide = max(3.6, 0.45 * count)
        bars = 0.2 + 0.13 * len(ranking.cliques)
        above, below = 1.25, bars + step * half + 0.15
        title = f"Mean ranks by {column.label or column.name}, {plural(ranking.n, 'seed')}"
        caption = "1 is best. A bar joins strategies that do not differ significantly (Nemenyi test, level 0.05)."
        total = max(
            sum(sides) + wide, _width(title, figure, FONT_SIZE + 1) + 0.3, _width(caption, figure, FONT_SIZE - 1) + 0.3
        )
        figure.set_size_inches(total, above + below)
        axes = figure.add_axes((0, 0, 1, 1))
        # in inches; the origin is the left end of the rank axis
        left = sides[0] + (total - sum(sides) - wide) / 2
        axes.set_xlim(-left, total - left)
        axes.set_ylim(-below, above)
        axes.set_axis_off()

        def at(rank: float) -> float:
            return wide * (count - rank) / (count - 1)

        line: dict[str, Any] = {"color": "black", "linewidth": 0.9, "solid_capstyle": "butt"}
        axes.plot([0, wide], [0, 0], **line)
        for number in range(1, count + 1):
            axes.plot([at(number)] * 2, [0, 0.09], **line)
            axes.text(at(number), 0.12, str(number), ha="center", va="bottom")
        # a bar longer than the axis would add nothing
        shown = min(ranking.critical_difference, count - 1) * wide / (count - 1)
        axes.plot([0, shown], [0.48, 0.48], **line)
        for end in (0.0, shown):
            axes.plot([end, end], [0.44, 0.52], **line)
        longer = " (longer than the axis)" if ranking.critical_difference > count - 1 else ""
        axes.text(0, 0.55, f"CD = {ranking.critical_difference:.3g}{longer}", ha="left", va="bottom")
        for index, (text, rank) in enumerate(zip(texts, ranks, strict=True)):
            right = index < half
            row = index if right else count - 1 - index
            y = -bars - step * (row + 0.5)
            end = wide + 0.1 if right else -0.1
            axes.plot([at(rank), at(rank), end], [0, y, y], color="0.35", linewidth=0.7)
            axes.text(end + (0.06 if right else -0.06), y, text, ha="left" if right else "right", va="center")
        for index, clique in enumerate(ranking.cliques):
            y = -0.15 - 0.13 * index
            ends = [at(ranking.average[clique[-1]]) - 0.05, at(ranking.average[clique[0]]) + 0.05]
            axes.plot(ends, [y, y], color="black", linewidth=3.2, solid_capstyle="butt")
        axes.text(0.12 - left, above - 0.1, title, fontsize=FONT_SIZE + 1, va="top")
        axes.text(0.12 - left, above - 0.3, caption, fontsize=FONT_SIZE - 1, va="top", color="0.35")
    return figure


def save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write a figure as PNG with 200 dpi and as SVG, each atomically.

    Args:
        path: Path without a suffix, in an existing folder.
    """
    written = []
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        written.append(path.with_name(f"{path.name}.{kind}"))
        with atomic_write(written[-1]) as temporary, _style():
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=metadata)
    return written[0], written[1]


def _style() -> AbstractContextManager[None]:
    return plain_style({"font.size": FONT_SIZE, "svg.hashsalt": "nas", "axes.unicode_minus": False})


def _width(text: str, figure: Figure, size: float = FONT_SIZE) -> float:
    """Width of a text, inches."""
    from matplotlib.backends.backend_agg import RendererAgg

    drawn = figure.text(0, 0, text, fontsize=size)
    # one pixel: a canvas of the figure's size would have to be created for every text
    renderer = RendererAgg(1, 1, DPI)  # type: ignore[no-untyped-call]  # matplotlib has it untyped
    width = drawn.get_window_extent(renderer).width / DPI
    drawn.remove()
    return float(width)


def colours(count: int) -> list[Any]:
    """Colours from dark to light in even steps, so that they differ in a grey print, with the hue going round.

    Green, "A colour scheme for the display of astronomical intensity images", Bull. Astr. Soc. India 39, 2011,
    section 2.
    """
    grey = np.linspace(0.22, 0.64, count)[:, None] if count > 1 else np.array([[0.3]])
    angle = 2 * np.pi * (0.6 - 1.6 * grey)
    turned = np.hstack([np.cos(angle), np.sin(angle)]) @ [[-0.14861, -0.29227, 1.97294], [1.78277, -0.90649, 0]]
    return [tuple(rgb) for rgb in np.clip(grey + 1.1 * grey * (1 - grey) * turned, 0, 1).tolist()]


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
