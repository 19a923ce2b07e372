"""What a value inside of a network is called in its exported source."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def named(value: T, name: str) -> T:
    """The value itself; an exported network calls it `name`, such as `node_3`.

    A network needs none of this to be exported. It makes the source read like the cell.
    """
    if hasattr(value, "hint"):  # it stands for a value while the network is traced
        value.hint = value.hint or name
    return value
