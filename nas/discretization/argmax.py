"""The likeliest: each paper's own rule, which the space knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.core import Architecture
from nas.supernets.base import SupernetSpace, TrainedSupernet

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    from nas.space.base import SearchSpace


@dataclass(frozen=True)
class Argmax:
    """`space.derive` of the probabilities as they are."""

    def __call__(
        self, space: SearchSpace, probs: Mapping[str, Tensor], trained: TrainedSupernet, rng: Generator
    ) -> Architecture:
        assert isinstance(space, SupernetSpace)
        return space.derive(probs)
