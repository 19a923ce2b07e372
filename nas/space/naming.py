"""Names for values inside a network, used in its exported source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_listeners: list[Callable[[Any, str], None]] = []
"""Called with each value and its name, by `named`; a trace listens while it runs a network."""


def named(value: T, name: str) -> T:
    """Return the value itself; the exported source of the network calls it `name`, such as `node_3`.

    Export works without this. It makes the source read like the cell.
    """
    for listener in _listeners:
        listener(value, name)
    return value


@contextmanager
def names_heard(listener: Callable[[Any, str], None]) -> Iterator[None]:
    """While open, `listener` receives each value and its name."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
