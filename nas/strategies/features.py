"""Architectures as points whose distances a Gaussian process learns from.

The squared distance of two architectures is a sum over the decisions, each divided by the square of its length scale:
the squared difference of the places (0 to 1) of an ordered decision, and 1 for different options of an unordered one. A
decision that does not matter rests in the middle of its options, so that two that do not matter are at no distance; one
that matters in only one of the two architectures adds a distance that is learned, the same for all decisions. All of
these are distances of points, and so a kernel of them is valid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nas.core import Architecture
from nas.space.base import SearchSpace

Array: TypeAlias = NDArray[np.float64]


class Features:
    """Turns architectures into points, whose groups of columns are scaled by one length each: the decisions in order,
    and last whether each of them matters.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space, self._names = space, tuple(space.choices)
        self._rests = np.asarray(space.sizes)  # the row after those of the options
        self._tables, groups = list[Array](), list[int]()
        for position, kind in enumerate(space.decisions.values()):
            if kind.ordered:
                table = np.asarray([[kind.scaled(option)] for option in range(len(kind))] + [[0.5]])
            else:  # two different options at distance 1
                table = np.vstack([np.eye(len(kind)), np.full((1, len(kind)), 1 / len(kind))]) / math.sqrt(2)
            off = np.zeros((len(kind) + 1, 1))
            off[-1] = 1.0
            self._tables.append(np.hstack([table, off]))
            groups += [position] * table.shape[1] + [len(self._names)]
        self.groups = np.asarray(groups)

    def __call__(self, architectures: Sequence[Architecture]) -> Array:
        """The points, one row an architecture."""
        codes = np.asarray(architectures, dtype=np.int64).reshape(-1, len(self._names))
        for row, architecture in zip(codes, architectures, strict=True):
            active = self._space.active(architecture)
            if len(active) < len(self._names):
                matters = [name in active for name in self._names]
                row[:] = np.where(matters, row, self._rests)
        return np.hstack([table[column] for table, column in zip(self._tables, codes.T, strict=True)])
