import pytest
import torch
from torch import nn

from nas.core import Context, Proposal
from nas.data.digits import Digits
from nas.errors import TrialFailed
from nas.evaluators.training import TrainingEvaluator
from nas.training.recipe import Recipe
from search_spaces.nasbench201 import NASBench201

RECIPE = Recipe(epochs=2, batch_size=64, train_images=200, network={"channels": 4, "cells": 1})


def context(seed=0):
    curve, cost = [], {}
    return Context(seed, "cpu", curve.append, cost.__setitem__), curve, cost


def test_a_seed_decides_the_metrics_and_the_counts_belong_to_the_network():
    evaluator = TrainingEvaluator(NASBench201(), Digits(), RECIPE)
    proposal = Proposal((3, 1, 2, 4, 0, 3))
    here, curve, cost = context()
    first, again, other = (
        evaluator(proposal, here),
        evaluator(proposal, context()[0]),
        evaluator(proposal, context(1)[0]),
    )
    assert first == again != other
    assert len(curve) == 2
    assert curve[-1]["valid_accuracy"] == first["valid_accuracy"]
    assert cost["peak_memory_mb"] > 0
    assert evaluator.architecture_metrics(proposal.architecture) == {k: first[k] for k in ("parameters", "flops")}


def test_the_fidelity_of_a_proposal_is_its_epochs():
    evaluator = TrainingEvaluator(NASBench201(), Digits(), RECIPE)
    here, curve, _ = context()
    evaluator(Proposal((3, 1, 2, 4, 0, 3), fidelity=1), here)
    assert len(curve) == 1


def test_the_protocol_names_data_recipe_and_network_and_not_how_they_are_computed():
    protocol = TrainingEvaluator(NASBench201(), Digits(), RECIPE).protocol()
    assert protocol["split"] == Digits().split().hash
    assert protocol["recipe"]["network"] == {"channels": 4, "cells": 1}
    assert not {"threads", "time_limit", "deterministic"} & set(protocol["recipe"])


def test_a_space_without_the_trainers_sizes_is_trained_at_its_own(toy_space):
    evaluator = TrainingEvaluator(toy_space, Digits(), RECIPE)
    assert evaluator.protocol()["recipe"]["network"] == {}
    assert evaluator(Proposal((0,) * 6), context()[0])["parameters"] == 650


@pytest.mark.parametrize("where", ["build", "forward"])
def test_memory_that_runs_out_anywhere_fails_the_trial_with_its_kind(toy_space, where):
    class Huge(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 10) if where == "forward" else nn.Linear(2**40, 2**10)

        def forward(self, images):
            return torch.empty(2**50)

    toy_space.build = lambda architecture, task, network=None: Huge()
    evaluator = TrainingEvaluator(toy_space, Digits(), RECIPE)
    with pytest.raises(TrialFailed, match=r"Try a smaller trainer.batch_size or trainer.network") as failure:
        evaluator(Proposal((0,) * 6), context()[0])
    assert failure.value.kind == "out_of_memory"
