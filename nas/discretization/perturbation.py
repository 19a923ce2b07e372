"""DARTS-PT: keep the operation whose removal hurts the supernet most.

Wang, Cheng, Chen, Tang & Hsieh, "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021,
https://arxiv.org/abs/2108.04392, algorithm 1.

Edge after edge in random order, each operation is taken out by itself, and the one without which the validation
accuracy is lowest is kept; the supernet is trained on a little before the next edge. Then of each node with more
inputs than its cells have, each edge is taken out by itself, and those that are missed most are kept.

Differs from the paper: where a node keeps all its edges (NAS-Bench-201), the second part has nothing to decide and is
left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.core import Architecture, whole_number
from nas.supernet import Relaxable, TrainedSupernet

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    from nas.space import SearchSpace


@dataclass(frozen=True)
class Perturbation:
    """Selection by what the trained supernet misses.

    Args:
        tune_epochs: of training after each decision (paper: 5); 0: none.
    """

    tune_epochs: int = 5

    def __post_init__(self) -> None:
        whole_number("discretization.tune_epochs", self.tune_epochs, least=0)

    def __call__(
        self, space: SearchSpace, probs: Mapping[str, Tensor], trained: TrainedSupernet, rng: Generator
    ) -> Architecture:
        assert isinstance(space, Relaxable)
        relaxed = {name: probs[name].clone() for name in space.alphas}
        places = [(name, row) for name, shape in space.alphas.items() for row in range(shape[0])]
        for place in rng.permutation(len(places)).tolist():
            name, row = places[place]
            kept = min(
                _candidates(space, name),
                key=lambda column: trained.score(_without(relaxed, name, row, [column])),
            )
            relaxed[name][row] = 0.0
            relaxed[name][row, kept] = 1.0
            trained.tune(relaxed, self.tune_epochs)
        for name, rows in _crowded(space, relaxed):
            whole = trained.score(relaxed)
            every = range(space.alphas[name][1])
            # an edge counts for what is lost without it; the rule of the space then picks the edges that count most
            losses = [whole - trained.score(_without(relaxed, name, row, every)) for row in rows]
            for row, loss in zip(rows, losses, strict=True):
                relaxed[name][row] *= 2.0 + loss
        return space.derive(relaxed)


def _candidates(space: SearchSpace, name: str) -> list[int]:
    """Columns of the operations that an architecture can have; `none` only where a decision offers it."""
    assert isinstance(space, Relaxable)
    offered = {option for options in space.choices.values() for option in options}
    return [column for column, operation in enumerate(space.operations[name]) if operation in offered]


def _without(probs: Mapping[str, Tensor], name: str, row: int, columns: Sequence[int]) -> dict[str, Tensor]:
    changed = {key: rows.clone() for key, rows in probs.items()}
    changed[name][row, list(columns)] = 0.0
    return changed


def _crowded(space: SearchSpace, relaxed: Mapping[str, Tensor]) -> Iterator[tuple[str, list[int]]]:
    """The edges into each node that the derived architecture leaves some of out."""
    assert isinstance(space, Relaxable)
    final = space.relax(space.derive(relaxed))
    for name, targets in space.targets.items():
        for node in sorted(set(targets)):
            rows = [row for row, end in enumerate(targets) if end == node]
            if any(not final[name][row].equal(relaxed[name][row].cpu()) for row in rows):
                yield name, rows
