"""Numbers and names of the store in words that a reader knows who has never trained a network."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from nas.formatting import short_number
from nas.report.document import Style

UNKNOWN = "–"
ACCURACY_LABELS: Mapping[str, str] = {
    "valid_accuracy": "accuracy on validation pictures",
    "test_accuracy": "accuracy on test pictures",
    "train_accuracy": "accuracy on training pictures",
}
STATES: Mapping[str, str] = {
    "running": "is still running, so everything below may change",
    "finished": "is finished",
    "failed": "ended because its trials failed",
    "interrupted": "was interrupted; the same command continues it",
}


def shown(value: Any, style: Style) -> str:  # noqa: PLR0911 (one line for each style)
    """A value as the page shows it; a dash for None.

    Args:
        value: Number or text. `percent` and `points` take fractions, `seconds` seconds, `bytes` megabytes.
        style: How it is shown.
    """
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if style == "text" or isinstance(value, str):
        return str(value)
    if style == "count":
        return f"{value:,.0f}"
    if style == "percent":
        return f"{100 * value:.1f} %"
    if style == "points":
        return f"{100 * value:+.1f}".replace("-", "−") + " points"
    if style == "seconds":
        return duration(value)
    if style == "short":
        return short_number(value)
    if style == "p_value":
        return "under 0.001" if value < 0.001 else f"{value:.3f}"
    if style == "bytes":
        return f"{value / 1024:.1f} GB" if value >= 1024 else f"{value:.0f} MB"
    return f"{value:.2f}" if style == "fixed" else f"{value:.4g}"


def duration(seconds: float) -> str:
    """A time in at most two units: `42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 0.01:
        return "under 0.01 s" if seconds else "0 s"
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    for (large, size), (small, part) in itertools.pairwise(units):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def metric_label(name: str) -> str:
    """Name of a metric in words."""
    return ACCURACY_LABELS.get(name, name.replace("_", " "))


def metric_style(name: str, values: Iterable[float]) -> Style:
    """How the values of a metric are shown: shares of right answers as percent, numbers of a size with two decimals."""
    known = [abs(value) for value in values]
    if name.endswith(("accuracy", "_acc")) and all(value <= 1 for value in known):
        return "percent"
    return "fixed" if known and min(known) >= 1 and max(known) < 1000 else "number"
