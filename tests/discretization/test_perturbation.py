"""DARTS-PT keeps what the supernet misses most, whatever alpha says."""

import numpy as np
import pytest
import torch

from nas import UsageError
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
    found = Perturbation(tune_epochs=0)(space, misleading(space, planted), Missing(worth), rng)
    assert found == planted


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


def test_a_length_that_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match=r"discretization\.tune_epochs"):
        Perturbation(tune_epochs=-1)
