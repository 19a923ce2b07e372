"""DARTS-PT: keep the operation whose removal hurts the supernet most.

Wang, Cheng, Chen, Tang & Hsieh, "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021,
https://arxiv.org/abs/2108.04392, algorithm 1.

Edges are decided one at a time, in random order: each operation is removed in turn, and the one whose removal lowers
the validation accuracy most is kept. The supernet is tuned before the next edge. Nodes are then decided in the same
way: each incoming edge is removed in turn, the edges whose removal costs most accuracy are kept, and the supernet is
tuned again.

Under partial channels, removing an operation affects the channels that pass through the operations; removing an edge
also removes the channels that bypass them, which only the weight of the edge scales (PC-DARTS eq. 1).

Differs from the paper: if a node keeps all its edges (NAS-Bench-201), the second part is left out.

Differs from the published code (https://github.com/ruocwang/darts-pt), which decides one edge of both cells of the
DARTS space per round and trains for 5 epochs between rounds, 81 in all; here each cell's edges have their own rounds,
28 for operations and 6 for edges, so that tune_epochs=5 trains for 170 epochs (NAS-Bench-201: 30, theirs 25). The
published code continues to train alpha, at a learning rate that falls from a tenth of the search's to its lowest by a
cosine; here alpha is frozen and the learning rate is the lowest one throughout (a tenth of the search's if that is 0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nas.core import Architecture
from nas.space.graph import NOTHING
from nas.validation import whole_number

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    from nas.supernets.base import SupernetSpace, TrainedSupernet


@dataclass(frozen=True)
class Perturbation:
    """Selection by the loss in accuracy of the trained supernet.

    Args:
        tune_epochs: Training after each decision (paper: 5, for both cells of the DARTS space together); 0: none.
    """

    tune_epochs: int = 5

    def __post_init__(self) -> None:
        whole_number("discretization.tune_epochs", self.tune_epochs, least=0)

    def __call__(
        self, space: SupernetSpace, probs: Mapping[str, Tensor], trained: TrainedSupernet, rng: Generator
    ) -> Architecture:
        relaxed = {name: rows.clone() for name, rows in probs.items()}
        edges = [(name, row) for name, shape in space.alpha_shapes.items() for row in range(shape[0])]
        for index in rng.permutation(len(edges)).tolist():
            name, row = edges[index]
            (best,) = trained.decide(partial(_operation, space, relaxed, name, row, trained))
            relaxed[name][row] = 0.0
            relaxed[name][row, best] = 1.0
            if space.operations[name][best] == NOTHING:
                _stop_bypass(relaxed, name, row)
            trained.tune(relaxed, self.tune_epochs)
        crowded = list(_crowded(space, relaxed))
        for index in rng.permutation(len(crowded)).tolist():
            name, rows, count = crowded[index]
            kept_rows = trained.decide(partial(_edges, relaxed, name, rows, count, trained))
            for row in set(rows).difference(kept_rows):
                _drop(relaxed, name, row)
            trained.tune(relaxed, self.tune_epochs)
        return space.derive({name: rows for name, rows in relaxed.items() if name in space.alpha_shapes})


def _operation(
    space: SupernetSpace, relaxed: Mapping[str, Tensor], name: str, row: int, trained: TrainedSupernet
) -> list[int]:  # fmt: skip
    """The operation of an edge whose removal costs most accuracy, the first among equals."""
    columns = derivable_columns(space, name)
    return [min(columns, key=lambda column: trained.score(_without(relaxed, name, row, [column])))]


def _edges(
    relaxed: Mapping[str, Tensor], name: str, rows: Sequence[int], count: int, trained: TrainedSupernet
) -> list[int]:
    """The edges of a node whose removal costs most accuracy, the first among equals."""
    scores = {}
    for row in rows:
        without = {key: values.clone() for key, values in relaxed.items()}
        _drop(without, name, row)
        scores[row] = trained.score(without)
    return sorted(rows, key=scores.__getitem__)[:count]


def _drop(probs: Mapping[str, Tensor], name: str, row: int) -> None:
    """Remove a whole edge: its operations, and the channels that bypass them."""
    probs[name][row] = 0.0
    _stop_bypass(probs, name, row)


def _stop_bypass(probs: Mapping[str, Tensor], name: str, row: int) -> None:
    """Remove the channels that bypass the operations of an edge, by its weight."""
    if f"{name}_edges" in probs:
        probs[f"{name}_edges"][row] = 0.0


def derivable_columns(space: SupernetSpace, name: str) -> list[int]:
    """Columns of the operations that an architecture can have; `none` only if a decision offers it."""
    offered = {str(option) for options in space.choices.values() for option in options}
    return [column for column, operation in enumerate(space.operations[name]) if operation in offered]


def _without(probs: Mapping[str, Tensor], name: str, row: int, columns: Sequence[int]) -> dict[str, Tensor]:
    changed = {key: rows.clone() for key, rows in probs.items()}
    changed[name][row, list(columns)] = 0.0
    return changed


def _crowded(space: SupernetSpace, relaxed: Mapping[str, Tensor]) -> Iterator[tuple[str, list[int], int]]:
    """Nodes with more incoming edges than an architecture has: the edges, and how many to keep."""
    final = space.relax(space.derive({name: relaxed[name] for name in space.alpha_shapes}))
    for name, targets in space.targets.items():
        for node in sorted(set(targets)):
            rows = [row for row, end in enumerate(targets) if end == node]
            count = sum(final[name][row].equal(relaxed[name][row].cpu()) for row in rows)
            if count < len(rows):
                yield name, rows, count
