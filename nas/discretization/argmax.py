"""The likeliest operations: the rule of each space's own paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.core import Architecture

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    from nas.supernets.base import SupernetSpace, TrainedSupernet


@dataclass(frozen=True)
class Argmax:
    """`space.derive` of the probabilities as they are."""

    def __call__(
        self, space: SupernetSpace, probs: Mapping[str, Tensor], trained: TrainedSupernet, rng: Generator
    ) -> Architecture:
        return space.derive(probs)
