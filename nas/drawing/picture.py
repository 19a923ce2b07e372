"""A cell's graph and a network's stages as figures, for paper and screen: black on white, legible at 600 pixels.

Everything is drawn through the object-oriented interface of matplotlib: no pyplot, no global state. Equal inputs give
equal bytes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from nas.drawing.layout import Layout, Vertex, arrange
from nas.drawing.style import plain_style
from nas.files import atomic_write
from nas.space.graph import Graph

if TYPE_CHECKING:  # the stages of a network need torch, which pictures of cells do not
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nas.drawing.stages import Stage

DPI = 200
FONT, FONT_SIZE = "DejaVu Sans", 9.0
"""Font of all text, and its size in points."""
LINE_HEIGHT = 1.22 * FONT_SIZE
"""Height of a line of text, points."""
NODE_SIZE = 1.7 * LINE_HEIGHT
"""Height of a node and its minimum width, points."""
MAX_LINE_LETTERS = 9
"""Length of the longest label that is not broken into lines."""
COLUMN_GAP = 16.0
"""Points between columns, in which edges bend."""
COLOURS = (
    ("conv", "#dbe9f6"),
    ("pool", "#fde7cf"),
    ("skip", "#e3f1dd"),
)
"""Colours of labels by a part of the operation's name; they only repeat what the name says."""
OTHER_COLOUR, DEAD_COLOUR, INK = "#f0f0f0", "#b0b0b0", "#202020"
REPEATED_COLOUR = COLOURS[0][1]


@dataclass(frozen=True)
class Spot:
    """Centre and size of a vertex, points from the top left corner."""

    x: float
    y: float
    width: float
    height: float


def cell_figure(graph: Graph) -> Figure:
    """Nodes from left to right with operations on the edges between them; what does not affect the output is grey."""
    with _style():
        from matplotlib.figure import Figure

        labels = [_lines(edge.operation) for edge in graph.edges]
        label_height = max((len(label) for label in labels), default=1) * LINE_HEIGHT + 4
        sizes = {"node": NODE_SIZE + 8, "label": label_height + 5, "pass": 0.9 * LINE_HEIGHT}
        layout = arrange(graph, sizes)
        figure = Figure(dpi=DPI)
        spots = _spots(layout, labels, label_height)
        width = max(spot.x + spot.width / 2 for spot in spots.values()) + COLUMN_GAP / 2
        height = max(spot.y + sizes[vertex.kind] / 2 for vertex, spot in spots.items())
        axes = _canvas(figure, width, height)
        live = graph.live()
        # the grey ones first, so that the others are drawn above them
        for number in sorted(range(len(live)), key=lambda number: live[number]):
            _draw_edge(axes, [spots[vertex] for vertex in layout.routes[number]], INK if live[number] else DEAD_COLOUR)
        alive = {*graph.inputs, *graph.outputs}
        for edge, lives in zip(graph.edges, live, strict=True):
            alive |= {edge.source, edge.target} if lives else set()
        for vertex, spot in spots.items():
            if vertex.kind == "node":
                ink = INK if vertex.name in alive else DEAD_COLOUR
                _box(axes, spot, [vertex.name], fill="white", ink=ink, edge=ink)
            elif vertex.kind == "label":
                lives, operation = live[vertex.edge], graph.edges[vertex.edge].operation
                fill, ink, border = (_colour(operation), INK, "none") if lives else ("white", DEAD_COLOUR, DEAD_COLOUR)
                _box(axes, spot, labels[vertex.edge], fill=fill, ink=ink, edge=border)
    return figure


def network_figure(stages: Sequence[Stage]) -> Figure:
    """A network as a row of its stages, each with the shape of its output."""
    with _style():
        from matplotlib.figure import Figure

        texts = [_stage_lines(stage) for stage in stages]
        rows = max(len(text) for text in texts)
        figure = Figure(dpi=DPI)
        widths = [_text_width(text) + 10 for text in texts]
        height = rows * LINE_HEIGHT + 10
        axes = _canvas(figure, sum(widths) + COLUMN_GAP * len(widths), height + 8)
        left, middle = COLUMN_GAP / 2, height / 2 + 4
        for number, (text, own) in enumerate(zip(texts, widths, strict=True)):
            if number:
                _arrow(axes, (left - COLUMN_GAP, middle), (left, middle), INK)
            fill = REPEATED_COLOUR if stages[number].times > 1 else "white"
            _box(axes, Spot(left + own / 2, middle, own, height), text, fill=fill, ink=INK, edge=INK)
            left += own + COLUMN_GAP
    return figure


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as NAME.svg and NAME.png; equal figures give equal bytes."""
    paths = []
    with _style():
        for kind, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
            path = folder / f"{name}.{kind}"
            with atomic_write(path) as temporary:
                figure.savefig(temporary, format=kind, metadata=metadata, facecolor="white")
            paths.append(path)
    return paths


def _style() -> AbstractContextManager[None]:
    return plain_style({"font.family": FONT, "font.size": FONT_SIZE, "svg.fonttype": "path", "svg.hashsalt": "cellnas"})


def _canvas(figure: Figure, width: float, height: float) -> Axes:
    """Axes in points from the top left corner."""
    figure.set_size_inches(width / 72, height / 72)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return axes


def _lines(operation: str) -> list[str]:
    """A label in lines: the size of a kernel stands below its operation."""
    if not operation:
        return []
    spelled = re.sub(r"(?<=\d)x(?=\d)", "×", operation)
    head, _, tail = spelled.rpartition("_")
    if head and "×" in tail:
        return [head.replace("_", " "), tail]
    return spelled.split("_", 1) if len(spelled) > MAX_LINE_LETTERS else [spelled]


def _stage_lines(stage: Stage) -> list[str]:
    name = stage.name if stage.times == 1 else f"{stage.times} × {stage.name}"
    return [*name.replace("_", " ").split("\n"), "×".join(map(str, stage.shape))]


def _colour(operation: str) -> str:
    return next((colour for word, colour in COLOURS if word in operation), OTHER_COLOUR)


def _text_width(lines: Sequence[str]) -> float:
    """Points."""
    return max((line_width(line) for line in lines if line.strip()), default=0.0)


@lru_cache(maxsize=1000)
def line_width(line: str) -> float:
    """Width of a line of text, points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    width: float = TextPath((0, 0), line, prop=FontProperties(family=FONT, size=FONT_SIZE)).get_extents().x1
    return width


def _spots(layout: Layout, labels: Sequence[Sequence[str]], label_height: float) -> dict[Vertex, Spot]:
    """The position of every vertex; columns are as wide as their widest one."""
    spots, left = {}, COLUMN_GAP / 2
    for column in layout.columns:
        sizes: list[tuple[float, float]] = []
        for vertex in column:
            if vertex.kind == "label":
                sizes.append((_text_width(labels[vertex.edge]) + 6, label_height))
            elif vertex.kind == "node":
                sizes.append((max(_text_width([vertex.name]) + 8, NODE_SIZE), NODE_SIZE))
            else:
                sizes.append((0.0, 0.0))
        wide = max(width for width, _ in sizes)
        for vertex, (width, height) in zip(column, sizes, strict=True):
            own = wide if vertex.kind == "pass" else width
            spots[vertex] = Spot(left + wide / 2, layout.heights[vertex], own, height)
        left += wide + COLUMN_GAP
    return spots


def _draw_edge(axes: Axes, route: Sequence[Spot], ink: str) -> None:
    """Straight through the columns, and in an S between them."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    points, codes = [(route[0].x, route[0].y)], [Outline.MOVETO]
    for spot, next_spot in itertools.pairwise(route):
        start, end = spot.x + spot.width / 2, next_spot.x - next_spot.width / 2
        middle = (start + end) / 2
        points += [(start, spot.y), (middle, spot.y), (middle, next_spot.y), (end, next_spot.y)]
        codes += [Outline.LINETO, *[Outline.CURVE4] * 3]
    axes.add_patch(PathPatch(Outline(points, codes), fill=False, edgecolor=ink, linewidth=1.0, zorder=1))
    tip = points[-1]
    _arrow(axes, (tip[0] - 2, tip[1]), tip, ink)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], ink: str) -> None:
    style = {"arrowstyle": "-|>", "color": ink, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
    axes.annotate("", end, start, arrowprops=style, zorder=3)


def _box(axes: Axes, spot: Spot, lines: Sequence[str], *, fill: str, ink: str, edge: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (spot.x - spot.width / 2 + 2, spot.y - spot.height / 2 + 2)
    shape = "round,pad=2,rounding_size=3"
    axes.add_patch(
        FancyBboxPatch(
            corner, spot.width - 4, spot.height - 4, shape, facecolor=fill, edgecolor=edge, linewidth=0.9, zorder=4
        )
    )
    for number, line in enumerate(lines):
        y = spot.y + (number - (len(lines) - 1) / 2) * LINE_HEIGHT
        axes.text(spot.x, y, line, ha="center", va="center_baseline", color=ink, zorder=5)
