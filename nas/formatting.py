"""Numbers formatted for people."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def plural(number: int, noun: str, several: str | None = None) -> str:
    """`1 epoch`, `2 epochs`; `several` is the form of a noun that does not take an s."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def short_number(value: float | None) -> str:
    """A count with three significant digits and a unit: 73,306 is 73.3 k."""
    if value is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.4g}"


def milliseconds(value: float | None) -> str:
    """Three significant digits, without decimals from 100 on: 2,480 and 3.21."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ago(seconds: float) -> str:
    """How long ago something happened: `just now`, `3 min ago`, `5 h ago`, `2 days ago`.

    Args:
        seconds: Time since then; a negative one, from a clock that is ahead, counts as 0.
    """
    for unit, size in (("day", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            number = int(seconds // size)
            return f"{plural(number, unit) if unit == 'day' else f'{number} {unit}'} ago"
    return "just now" if seconds < 10 else f"{int(seconds)} s ago"


def some_of(names: Sequence[str], wanted: str, most: int = 5) -> str:
    """Names for a message about one that does not exist: all if they are few, else the closest or the last ones.

    Args:
        names: Names that exist.
        wanted: The one that does not.
        most: Largest number of names.
    """
    close = difflib.get_close_matches(wanted, names, most) if len(names) > most else []
    shown = close or names[-most:]
    more = len(names) - len(shown)
    return ", ".join(map(repr, shown)) + (f" and {more:,} more" if more else "") if names else "none"


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Text to append to an error about a name that does not exist; empty if none is close."""
    close = difflib.get_close_matches(name, names, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
