"""What must hold on a GPU; see GPU.md. `pytest -m gpu`."""

import pytest
import torch

from nas import Budget, search
from nas.core import Task
from nas.data.digits import Digits
from nas.evaluators.training import TrainingEvaluator
from nas.strategies.random import RandomSearch
from nas.training.recipe import Recipe
from search_spaces.nasbench201 import NASBench201

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


class Greedy(NASBench201):
    """Networks that ask the device for 4 TiB."""

    def build(self, architecture, task, network=None, operations="final"):
        module = super().build(architecture, task, network, operations)
        module.register_forward_pre_hook(lambda _, inputs: _ask_for_too_much(inputs[0].device))
        return module


def _ask_for_too_much(device):
    if device.type == "cuda":
        torch.empty(2**42, dtype=torch.uint8, device=device)


def searched(space=None, **settings):
    space = space or NASBench201(8, 1)
    evaluator = TrainingEvaluator(space, Digits(), Recipe(epochs=2, batch_size=64, **settings))
    return search(space, RandomSearch, evaluator, budget=Budget(trials=4), device="cuda").trials


def test_a_search_on_cuda_repeats_bit_for_bit():
    first, again = searched(), searched()
    assert [trial.error for trial in first] == [None] * 4
    assert [trial.metrics for trial in first] == [trial.metrics for trial in again]
    assert all(trial.cost["peak_memory_mb"] > 0 for trial in first)


def test_bf16_on_cuda_learns():
    assert max(trial.metrics["valid_accuracy"] for trial in searched(precision="bf16")) > 0.5


def test_memory_that_does_not_exist_fails_the_trial_and_the_search_continues():
    trials = searched(Greedy(8, 1))
    assert [trial.error_kind for trial in trials] == ["out_of_memory"] * 4


def test_a_network_gives_the_same_on_both_devices():
    torch.manual_seed(0)
    network = NASBench201(8, 1).build((3, 1, 2, 4, 0, 3), Task(3, 32, 32, 10)).eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        found = network.cuda()(images.cuda()).cpu()
    assert torch.allclose(found, expected, atol=1e-3)
