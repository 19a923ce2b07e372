"""Mean ranks of the strategies, with bars between those that do not differ significantly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nas.analysis.canvas import DPI, FONT_SIZE, style, text_width
from nas.analysis.results import Column, RunResult
from nas.analysis.statistics import Comparison, Ranking
from nas.formatting import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Critical difference of mean ranks"


def draw(comparison: Comparison, _results: Sequence[RunResult]) -> Figure | None:
    """The figure of a report; None without two strategies with two shared seeds."""
    ranking = comparison.ranking
    return critical_difference(ranking, comparison.column) if ranking and ranking.n > 1 else None


def critical_difference(ranking: Ranking, column: Column) -> Figure:
    """Mean ranks on an axis, best on the right; a bar joins strategies without a significant difference.

    Demšar, JMLR 7, 2006, figure 1 (a).
    """
    names, ranks = list(ranking.average), list(ranking.average.values())
    count, step = len(names), 0.24
    half = (count + 1) // 2  # the better half is on the right
    with style():
        from matplotlib.figure import Figure

        figure = Figure(dpi=DPI)
        texts = [f"{name}  {rank:.2f}" for name, rank in ranking.average.items()]
        sides = [
            max((text_width(text, figure) for text in part), default=0) + 0.3 for part in (texts[half:], texts[:half])
        ]
        wide = max(3.6, 0.45 * count)
        bars = 0.2 + 0.13 * len(ranking.cliques)
        above, below = 1.25, bars + step * half + 0.15
        title = f"Mean ranks by {column.label or column.name}, {plural(ranking.n, 'seed')}"
        caption = "1 is best. A bar joins strategies that do not differ significantly (Nemenyi test, level 0.05)."
        total = max(
            sum(sides) + wide,
            text_width(title, figure, FONT_SIZE + 1) + 0.3,
            text_width(caption, figure, FONT_SIZE - 1) + 0.3,
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
