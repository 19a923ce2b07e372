"""Charts as SVG that follows the colours of the page and the width of its column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nas.report.document import Chart, Line, Style
from nas.report.elements import element
from nas.report.wording import shown

WIDTH, HEIGHT = 520.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 26.0, 12.0, 46.0
"""Margins of the plot, pixels."""
ROUND_TIMES = (10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200)
"""Distances of ticks of times, seconds."""
COLOURS = 8
"""Number of colours of lines in the style sheet."""
BAR = 22.0
"""Height of a row of an interval chart, pixels."""


@dataclass(frozen=True)
class Axis:
    """A linear axis.

    Args:
        low, high: Ends, low < high.
        start, stop: Their positions, pixels.
    """

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self, style: Style) -> list[float]:
        """Three to six round values within the axis."""
        raw = (self.high - self.low) / 5
        unit = 10 ** math.floor(math.log10(raw))
        step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
        if style == "count":
            step = max(1, math.ceil(step))
        elif style == "seconds" and raw > 5:
            days = 86_400 * max(1, math.ceil(step / 86_400))
            step = next((time for time in ROUND_TIMES if time >= raw), days)
        first = math.ceil(self.low / step - 1e-9)
        return [round(index * step, 12) for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def chart(figure: Chart) -> Markup:
    """A chart with its title, its legend if it has several lines, and its alternative text."""
    xs = [value for line in figure.lines for value in line.x] + list(figure.dots[0])
    ys = [value for line in figure.lines for value in (*line.y, *line.low, *line.high)]
    dots = list(figure.dots[1])
    x = Axis(*_range(xs, from_zero=True), LEFT, WIDTH - RIGHT)
    y = Axis(*_range(ys + _typical(dots)), HEIGHT - BOTTOM, TOP)
    parts = [_grid(x, y, figure.x_style, figure.y_style)]
    inside = [(a, b) for a, b in zip(*figure.dots, strict=True) if y.low <= b <= y.high]
    parts.append(element("g", *(element("circle", cx=x(a), cy=y(b), r=2) for a, b in inside), class_="dots"))
    for number, line in enumerate(figure.lines):
        colour = f"colour-{number % COLOURS}"
        if line.low:
            ends = [*zip(line.x, line.high, strict=True), *zip(reversed(line.x), reversed(line.low), strict=True)]
            points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in ends)
            parts.append(element("polygon", points=points, class_=f"band {colour}"))
        parts.append(element("path", d=_path(line, x, y), class_=f"line {colour}"))
    parts.append(element("text", figure.x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 8, class_="axis middle"))
    drawn = _svg(parts, HEIGHT, figure.alt)
    legend = None
    if len(figure.lines) > 1:
        keys = (
            element("li", element("span", "", class_=f"key colour-{number % COLOURS}"), line.label)
            for number, line in enumerate(figure.lines)
        )
        legend = element("ul", *keys, class_="legend")
    return element("figure", element("figcaption", f"{figure.title} ({figure.y_label})"), drawn, legend, class_="chart")


def intervals(rows: Sequence[tuple[str, float, float | None, float | None]], style: Style, alt: str) -> Markup:
    """Values with their 95 % intervals, one row each, on a common axis.

    Args:
        rows: Label, value, low and high end of each; None without an interval.
        style: How the ticks are shown.
        alt: What can be seen.
    """
    values = [value for _, *numbers in rows for value in numbers if value is not None]
    height = TOP + BAR * 2 * len(rows) + 30
    x = Axis(*_range(values), RIGHT, WIDTH - RIGHT)
    parts = [_x_ticks(x, style, height - 26)]
    for number, (label, value, low, high) in enumerate(rows):
        middle = TOP + BAR * (2 * number + 1.4)
        parts.append(element("text", label, x=10.0, y=middle - 12, class_="row"))
        if low is not None and high is not None:
            parts.append(
                element("line", x1=x(low), x2=x(high), y1=middle, y2=middle, class_=f"whisker colour-{number}")
            )
        parts.append(element("circle", cx=x(value), cy=middle, r=5, class_=f"dot colour-{number}"))
    return element("figure", _svg(parts, height, alt), class_="chart")


def bar(share: float, alt: str) -> Markup:
    """A bar whose length is a share, 0 to 1."""
    width = max(0.0, min(1.0, share)) * 100
    track = element("rect", x=0, y=0, width=100, height=8, rx=4, class_="track")
    filled = element("rect", x=0, y=0, width=width, height=8, rx=min(4.0, width / 2), class_="filled")
    return element(
        "svg", track, filled, viewBox="0 0 100 8", preserveAspectRatio="none", role="img", aria_label=alt, class_="bar"
    )


def _svg(parts: Sequence[Markup], height: float, alt: str) -> Markup:
    return element("svg", *parts, viewBox=f"0 0 {WIDTH:.0f} {height:.0f}", role="img", aria_label=alt)


def _range(values: Sequence[float], *, from_zero: bool = False) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if from_zero:
        return min(0.0, low), high if high > min(0.0, low) else low + 1.0
    margin = 0.06 * (high - low) or max(abs(high) * 0.05, 0.01)
    return low - margin, high + margin


def _typical(values: Sequence[float]) -> list[float]:
    """Ends of the better nine tenths on either side, so that one result far away does not flatten all others."""
    if not values:
        return []
    ordered = sorted(values)
    return [ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]]


def _grid(x: Axis, y: Axis, x_style: Style, y_style: Style) -> Markup:
    parts = []
    for value in y.ticks(y_style):
        at = y(value)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid"))
        parts.append(element("text", shown(value, y_style), x=LEFT - 8, y=at + 4, class_="end"))
    return element("g", *parts, _x_ticks(x, x_style, HEIGHT - BOTTOM), class_="ticks")


def _x_ticks(x: Axis, style: Style, bottom: float) -> Markup:
    parts = [element("line", x1=x.start, x2=x.stop, y1=bottom, y2=bottom, class_="base")]
    for value in x.ticks(style):
        parts.append(element("line", x1=x(value), x2=x(value), y1=bottom, y2=bottom + 4, class_="base"))
        parts.append(element("text", shown(value, style), x=x(value), y=bottom + 18, class_="middle"))
    return element("g", *parts, class_="ticks")


def _path(line: Line, x: Axis, y: Axis) -> str:
    points = [(x(a), y(b)) for a, b in zip(line.x, line.y, strict=True)]
    first, *rest = points
    text, last = f"M{first[0]:.1f} {first[1]:.1f}", first[1]
    for across, up in rest:
        text += f"H{across:.1f}V{up:.1f}" if line.steps and up != last else f"L{across:.1f} {up:.1f}"
        last = up
    return text
