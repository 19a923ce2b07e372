"""Architectures that a search has not tried."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from nas.core import Architecture
from nas.space.base import SearchSpace

if TYPE_CHECKING:
    from numpy.random import Generator

MAX_DRAWS = 1000
"""Random architectures, all of them seen, after which the few remaining ones are listed."""


def unseen(space: SearchSpace, rng: Generator, *seen: Container[Architecture]) -> Architecture | None:
    """A random architecture that is in none of the collections; None if all are."""

    def is_new(architecture: Architecture) -> bool:
        return not any(architecture in collection for collection in seen)

    drawn = (space.sample(rng) for _ in range(MAX_DRAWS))
    first = next(filter(is_new, drawn), None)
    if first is not None:
        return first
    remaining = list(filter(is_new, space.architectures()))
    return remaining[rng.integers(len(remaining))] if remaining else None
