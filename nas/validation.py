"""Checks of single values: each raises an error with the key, the value and what was expected."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from math import isfinite

from nas.errors import UsageError

CONTROL_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, surrogates, and ends of lines and paragraphs."""


def as_written(value: object) -> str:
    """A value as a user writes it."""
    return "null" if value is None else repr(value)


def whole_number(key: str, value: object, least: int = 1, most: int = 2**63 - 1) -> None:
    """Raise `UsageError` with the key unless `value` is an int from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        limit = "" if most == 2**63 - 1 and not (isinstance(value, int) and value > most) else f" and at most {most}"
        raise UsageError(f"{key} must be a whole number of at least {least}{limit}, got {as_written(value)}")


def number_in(key: str, value: object, low: float, high: float, *, above: bool = False, null: bool = False) -> None:
    """Raise `UsageError` with the key unless `value` is a finite number from `low` to `high`.

    Args:
        above: Exclude `low` itself.
        null: Accept None.
    """
    if value is None and null:
        return
    good = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if not good or not low <= value <= high or (above and value == low):  # type: ignore[operator]
        span = f"above {low:g}" if above else f"of at least {low:g}"
        span += f" and at most {high:g}" if isfinite(high) else ""
        raise UsageError(f"{key} must be a number {span}{' or null' if null else ''}, got {as_written(value)}")


def true_or_false(key: str, value: object) -> None:
    """Raise `UsageError` with the key unless `value` is a bool."""
    if not isinstance(value, bool):
        raise UsageError(f"{key} must be true or false, got {as_written(value)}")


def one_of(key: str, value: object, options: Sequence[str]) -> None:
    """Raise `UsageError` with the key and the options unless `value` is one of them."""
    if value not in options:
        raise UsageError(f"{key} must be one of {', '.join(options)}, got {as_written(value)}")


def rising_numbers(key: str, values: object, low: float, high: float, example: str) -> tuple[float, ...]:
    """The numbers of a list; raises `UsageError` with the key unless they rise from `low` to at most `high`.

    Args:
        example: A list as a user writes it.
    """
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise UsageError(f"{key} must be null or a list of numbers such as {example}, got {as_written(values)}")
    for value in values:
        number_in(f"each of {key}", value, low, high)
    distinct = sorted({f"{value:g}": value for value in values}.values())  # as they are written
    if list(values) != distinct:
        raise UsageError(f"{key} must rise, got {list(values)}; write {distinct}")
    return tuple(values)


def is_class_name(text: str) -> bool:
    """Whether a text is one line that can be printed and stored; letters of any script may be joined in it."""
    return bool(text.strip()) and not any(unicodedata.category(sign) in CONTROL_CATEGORIES for sign in text)
