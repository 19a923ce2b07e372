"""DARTS-PT keeps the operations whose removal costs most accuracy, independent of alpha."""

import numpy as np
import pytest
import torch

from nas import UsageError
from nas.core import Task
from nas.discretization.perturbation import Perturbation
from search_spaces.darts import DARTS
from search_spaces.nasbench201 import NASBench201


class Missing:
    """A supernet whose accuracy is the sum of what its running operations are worth to it.

    Args:
        worth: set -> (edges, operations).
    """

    def __init__(self, worth):
        self.worth = worth
        self.tuned = []
        self.decisions = 0

    def decide(self, decision):
        self.decisions += 1
        return decision()

    def score(self, probs):
        assert all(float(rows.min()) >= 0 and float(rows.max()) <= 1 for rows in probs.values())
        return sum(float((self.worth[name] * (rows != 0)).sum()) for name, rows in probs.items())

    def tune(self, probs, epochs):
        self.tuned.append((sum(int((rows != 0).sum(1).eq(1).sum()) for rows in probs.values()), epochs))


def worth_of(space, architecture, scale):
    return {name: scale * rows.double() for name, rows in space.relax(architecture).items()}


def misleading(space, architecture):
    """Probabilities that are highest for anything but this architecture."""
    return {name: (1 - 0.9 * rows) / (1 - 0.9 * rows).sum(1, keepdim=True) for name, rows in
            space.relax(architecture).items()}  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_it_keeps_on_each_edge_the_operation_that_is_missed_most(seed):
    space = NASBench201()
    rng = np.random.default_rng(seed)
    planted = space.sample(rng)
    probs = misleading(space, planted)
    trained = Missing(worth_of(space, planted, 1.0))
    assert space.derive(probs) != planted
    assert Perturbation(tune_epochs=3)(space, probs, trained, rng) == planted
    # after the first decision one edge has one operation left, after the last all six
    assert trained.tuned == [(decided, 3) for decided in range(1, 7)]


@pytest.mark.parametrize("seed", range(4))
def test_of_a_crowded_node_it_keeps_the_edges_that_are_missed_most(seed):
    space = DARTS()
    rng = np.random.default_rng(seed)
    planted = space.sample(rng)
    worth = worth_of(space, planted, 1.0)
    for name, rows in worth.items():  # other edges have a favourite too, which is worth less
        rows[:, 1:] += 0.1 * torch.rand(rows[:, 1:].shape, generator=torch.Generator().manual_seed(seed))
        worth[name] = rows
    trained = Missing(worth)
    assert Perturbation(tune_epochs=5)(space, misleading(space, planted), trained, rng) == planted
    assert sum(epochs for _, epochs in trained.tuned) == 5 * (28 + 6) == 170


def test_the_order_of_the_edges_is_the_generators():
    space = NASBench201()

    class Recording(Missing):
        def tune(self, probs, epochs):
            (rows,) = probs.values()
            self.tuned.append(tuple((rows != 0).sum(1).eq(1).nonzero().flatten().tolist()))

    def order(seed):
        trained = Recording(worth_of(space, (1,) * 6, 1.0))
        Perturbation()(space, misleading(space, (1,) * 6), trained, np.random.default_rng(seed))
        return trained.tuned

    assert order(0) == order(0)
    assert len({order(seed)[0] for seed in range(8)}) > 1


class Edges(Missing):
    """Keeps the probabilities that it was shown, and scores a cell by its edges' weights."""

    def __init__(self):
        super().__init__({})
        self.shown, self.trained = [], []

    def score(self, probs):
        self.shown.append({name: rows.clone() for name, rows in probs.items()})
        return sum(float(rows[0]) for name, rows in probs.items() if name.endswith("_edges"))

    def tune(self, probs, epochs):
        self.trained.append({name: rows.clone() for name, rows in probs.items()})


def test_under_partial_channels_an_edge_is_taken_out_with_the_channels_that_pass_its_operations_by():
    """PC-DARTS eq. 1: channels that bypass the operations are weighted only by the edge, so its weight is removed."""
    space = DARTS()
    probs = {name: torch.full(shape, 1 / shape[1]) for name, shape in space.alpha_shapes.items()}
    probs |= {f"{name}_edges": torch.full(shape[:1], 0.5) for name, shape in space.alpha_shapes.items()}
    trained = Edges()
    Perturbation(tune_epochs=0)(space, probs, trained, np.random.default_rng(0))
    removals = sum(
        rows * (operations - 1) for rows, operations in space.alpha_shapes.values()
    )  # `none` is not a candidate
    operations, edges = trained.shown[:removals], trained.shown[removals:]
    # an operation is one of several on its edge, and nothing else of the edge goes with it
    for shown in operations:
        assert all(rows.eq(0.5).all() for name, rows in shown.items() if name.endswith("_edges"))
    assert len(edges) == 2 * (3 + 4 + 5)  # the first node has two edges and keeps them
    for shown in edges:
        for name in space.alpha_shapes:
            gone = shown[name].sum(1) == 0
            assert torch.equal(gone, shown[f"{name}_edges"] == 0)
    final = trained.trained[-1]
    for name in space.alpha_shapes:
        assert int((final[f"{name}_edges"] == 0).sum()) == 14 - 8
        assert torch.equal(final[name].sum(1) == 0, final[f"{name}_edges"] == 0)


def test_an_edge_that_keeps_none_hands_no_channels_on():
    space = NASBench201()
    none = space.operations["cell"].index("none")
    probs = {"cell": torch.full((6, 5), 0.2), "cell_edges": torch.ones(6)}
    worth = torch.zeros(6, 5)
    worth[[0, 2, 5], none] = 1.0
    worth[[1, 3, 4], 1] = 1.0

    class Preferring(Edges):
        def score(self, probs):
            return float((worth * (probs["cell"] != 0)).sum())

    trained = Preferring()
    architecture = Perturbation(tune_epochs=0)(space, probs, trained, np.random.default_rng(0))
    assert trained.trained[-1]["cell_edges"].tolist() == [0, 1, 0, 1, 1, 0]
    assert [space.operations["cell"][value] == "none" for value in architecture] == [
        True,
        False,
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("space", "name", "rows"), [(DARTS(), "normal", range(9, 14)), (NASBench201(), "cell", (3, 4, 5))]
)
def test_a_node_that_all_edges_are_taken_from_is_zero_in_the_supernet(space, name, rows):
    torch.manual_seed(0)
    cells = 1 if name == "cell" else 3
    network = space.supernet(Task(3, 8, 8, 4), {"channels": 4, "cells": cells}, partial_channels=2)
    probs = {key: torch.full(shape, 1 / shape[1]) for key, shape in space.alpha_shapes.items()}
    probs |= {f"{key}_edges": torch.ones(shape[0]) for key, shape in space.alpha_shapes.items()}
    images = torch.randn(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    probs[name][list(rows)] = 0.0

    def last_node():
        nodes = []
        cell = next(part for part in network.modules() if type(part).__name__ == "MixedCell")
        hook = cell.register_forward_hook(
            lambda _module, _arguments, outcome: nodes.append(outcome if name == "cell" else outcome[0][-1])
        )
        network(images, probs, run_all_operations=True)
        hook.remove()
        return nodes[0]

    assert last_node().abs().max() > 0  # the operations do not carry the whole edge
    probs[f"{name}_edges"][list(rows)] = 0.0
    assert last_node().abs().max() == 0


def test_a_length_that_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match=r"discretization\.tune_epochs"):
        Perturbation(tune_epochs=-1)
