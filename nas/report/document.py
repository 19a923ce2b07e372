"""What a report says, as data: no HTML, and nothing that JSON cannot hold.

Every number and every text of the page that comes from a store or a file is one of `Document.facts`, which the page
names beside it. So a test can compare all of them with the store.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Facts: TypeAlias = Mapping[str, Any]
"""Nested names, positions and values, JSON-safe, numbers finite."""
Kind: TypeAlias = Literal["run", "sweep", "comparison"]
Style: TypeAlias = Literal[
    "text", "count", "percent", "number", "fixed", "points", "seconds", "short", "bytes", "p_value"
]
"""How a value is shown; see `nas.report.wording.shown`."""


@dataclass(frozen=True)
class Column:
    """A column of a table that the page sorts and filters.

    Args:
        name: Name in the store.
        label: Heading.
        style: How its values are shown.
        values: One value per row; None where a row has none.
    """

    name: str
    label: str
    style: Style
    values: Sequence[Any]


@dataclass(frozen=True)
class Table:
    """Rows that the page sorts, filters and shows page by page.

    Args:
        noun: Noun of a row, such as `trial`.
        columns: Columns of equal length; the first identifies a row.
        of: Number of rows that there are, which is more than the columns have if the file would be too large.
        sort: Column that the rows are sorted by first; None: as they are.
        descending: Whether that column's largest value is first.
    """

    noun: str
    columns: Sequence[Column]
    of: int
    sort: str | None = None
    descending: bool = True

    def __len__(self) -> int:
        return len(self.columns[0].values)


@dataclass(frozen=True)
class Picture:
    """A picture within the page.

    Args:
        uri: `data:` URI.
        alt: What it shows, for those who do not see it.
        width, height: Size in pixels.
    """

    uri: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Args:
        label: Name in the legend.
        x, y: Its points, x ascending.
        low, high: Ends of the interval of each point; empty: none are drawn.
        steps: Whether the value stays until the next point.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    steps: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart of lines and dots.

    Args:
        title: What it shows.
        x_label, y_label: Labels of the axes, with the unit.
        lines: Lines, the most important first.
        dots: x and y of single results behind the lines.
        y_style: How the ticks of y are shown.
        x_style: How the ticks of x are shown.
        alt: What can be seen, for those who do not see it.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    alt: str
    dots: tuple[Sequence[float], Sequence[float]] = ((), ())
    y_style: Style = "number"
    x_style: Style = "count"


@dataclass(frozen=True)
class Document:
    """A report.

    Args:
        kind: What it is about.
        title: Title of the page.
        facts: All that it says.
        charts: Name -> chart.
        pictures: Name -> picture.
        table: Trials of a run, runs of a sweep or of a comparison; None: there are none.
        scores: Numbers for the threshold's slider, see `nas.report.predictions`; None: no predictions are known.
        left_out: Sentences on what is missing, and why.
    """

    kind: Kind
    title: str
    facts: Facts
    charts: Mapping[str, Chart] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    table: Table | None = None
    scores: Mapping[str, Any] | None = None
    left_out: Sequence[str] = ()


def at(facts: Any, path: str) -> Any:
    """The value at a dotted path; positions of lists are numbers.

    Raises:
        KeyError, IndexError, TypeError: There is none.
    """
    value = facts
    for key in path.split("."):
        value = value[int(key)] if isinstance(value, list | tuple) else value[key]
    return value


def plain(value: Any) -> Any:
    """A copy that JSON can hold: numbers that are not finite become None, tuples lists, and keys text."""
    if isinstance(value, bool) or value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value)
