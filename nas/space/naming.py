"""What a value inside of a network is called in its exported source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_listeners: list[Callable[[Any, str], None]] = []
"""Those who want to know the names: a recorder while it runs a network."""


def named(value: T, name: str) -> T:
    """The value itself; an exported network calls it `name`, such as `node_3`.

    A network needs none of this to be exported. It makes the source read like the cell.
    """
    for listener in _listeners:
        listener(value, name)
    return value


@contextmanager
def names_heard(listener: Callable[[Any, str], None]) -> Iterator[None]:
    """With a listener that receives each value and its name."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
