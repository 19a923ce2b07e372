"""The size space of NATS-Bench, held against the benchmark's own files.

Parameters and FLOPs are those of https://github.com/D-X-Y/NATS-Bench: `fake_torch_dir/NATS-sss-v1_0-50262-simple` for
networks 0, 11 and 284, and `notebooks/create-query-sss.ipynb` for network 12, all in millions there.
"""

import pytest
import torch

from nas import Budget, search
from nas.core import Task
from nas.data.digits import Digits
from nas.errors import UsageError
from nas.evaluators.training import TrainingEvaluator
from nas.strategies import RandomSearch
from nas.training import count
from nas.training.recipe import Recipe
from search_spaces.nats_sss import NATSSize
from search_spaces.nats_sss_supernet import width_of

CIFAR10, CIFAR100, IMAGENET16 = Task(3, 32, 32, 10), Task(3, 32, 32, 100), Task(3, 16, 16, 120)


@pytest.fixture(scope="module")
def space():
    return NATSSize()


def test_the_size_is_the_published_one(space):
    assert space.size == 32_768
    assert len({space.to_text(a) for a in space.architectures()}) == 32_768


def test_architectures_are_in_the_benchmarks_order(space):
    """Its networks 0, 11, 12 and 284 by its own numbers."""
    texts = [space.to_text(a) for a, _ in zip(space.architectures(), range(285), strict=False)]
    assert [texts[i] for i in (0, 11, 12, 284)] == ["8:8:8:8:8", "8:8:8:16:32", "8:8:8:16:40", "8:8:40:32:40"]


@pytest.mark.parametrize(
    ("text", "task", "parameters", "flops"),
    [
        ("8:8:8:8:8", CIFAR10, 11_714, 4_481_114),
        ("8:8:8:8:8", CIFAR100, 12_524, 4_481_924),
        ("8:8:8:8:8", IMAGENET16, 12_704, 1_121_336),
        ("8:8:8:16:32", CIFAR10, 49_202, 6_840_650),
        ("8:8:8:16:40", CIFAR10, 67_378, 7_991_706),
        ("8:8:40:32:40", CIFAR10, 144_834, 21_827_994),
        ("8:8:40:32:40", CIFAR100, 148_524, 21_831_684),
        ("8:8:40:32:40", IMAGENET16, 149_344, 5_461_816),
    ],
)
def test_parameters_and_flops_equal_the_benchmarks_own(space, text, task, parameters, flops):
    """Both to the last one, but for the classifier's bias additions, which the benchmark counts as FLOPs."""
    network = space.build(space.from_text(text), task)
    assert count.parameters(network) == parameters
    assert count.flops(network, task) + task.classes == flops


def test_the_notation_is_read_and_written(space):
    assert space.from_text(" 8:16:24 :32:64 ") == (0, 1, 2, 3, 7)
    assert space.to_text((7,) * 5) == "64:64:64:64:64"


@pytest.mark.parametrize("text", ["", "8:8:8:8", "8:8:8:8:8:8", "8:8:8:8:12", "8:8:8:8:72", "a:8:8:8:8", "|none~0|"])
def test_text_of_no_network_is_refused_by_value(space, text):
    with pytest.raises(UsageError, match="is not a network of the NATS-Bench size space; expected 5 of 8, 16, "):
        space.from_text(text)


@pytest.mark.parametrize("side", [1, 7, 28])
def test_images_of_other_sizes_pass(space, side):
    network = space.build((0, 1, 2, 2, 0), Task(1, side, side, 3)).eval()
    assert network(torch.zeros(2, 1, side, side)).shape == (2, 3)


def test_a_search_trains_it_on_digits(space):
    evaluator = TrainingEvaluator(space, Digits(), Recipe(epochs=1, batch_size=64, train_images=200))
    result = search(space, RandomSearch, evaluator, budget=Budget(trials=2))
    assert [trial.status for trial in result.trials] == ["completed"] * 2


def test_a_channel_counts_as_much_as_its_layer_is_likely_to_have_it():
    probs = torch.tensor([0.5, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.25])
    masked = width_of(frozenset((0, 2, 7)), probs).masked(torch.ones(1, 64, 1, 1)).flatten()
    assert masked[:8].tolist() == [1.0] * 8
    assert masked[8:24].tolist() == [0.5] * 16
    assert masked[24:].tolist() == [0.25] * 40


@pytest.mark.parametrize("run_all_operations", [False, True])
def test_between_architectures_the_supernet_depends_on_every_probability(space, run_all_operations):
    torch.manual_seed(0)
    supernet = space.supernet(Task(1, 8, 8, 4)).double()
    probs = torch.rand(5, 8, dtype=torch.float64).softmax(1).requires_grad_()
    logits = supernet(torch.randn(6, 1, 8, 8, dtype=torch.float64), {"channels": probs}, run_all_operations)
    (gradient,) = torch.autograd.grad(logits.square().sum(), probs)
    # 8 channels are part of every option, so the first matters only where it decides on the skip connection
    assert (gradient[:, 1:] != 0).all()
    assert (gradient[1:, 0] != 0).all()


class AtProbabilities(torch.nn.Module):
    """A supernet with the probabilities of an architecture."""

    def __init__(self, supernet, probs):
        super().__init__()
        self.supernet, self.probs = supernet, probs

    def forward(self, images):
        return self.supernet(images, self.probs)


def test_channels_that_no_layer_has_are_not_computed(space):
    """At an architecture, a forward pass costs what that network costs, up to the masks."""
    supernet = space.supernet(CIFAR10)
    for text, flops in (("8:8:8:8:8", 4_481_104), ("8:8:40:32:40", 21_827_984), ("64:64:64:64:64", 274_399_872)):
        fixed = AtProbabilities(supernet, space.relax(space.from_text(text)))
        assert count.flops(fixed, CIFAR10) == pytest.approx(flops, rel=1e-4)


def test_the_likeliest_channels_are_derived(space):
    probs = torch.eye(8)[[0, 7, 3, 3, 5]] * 0.5 + 0.0625
    assert space.derive({"channels": probs}) == (0, 7, 3, 3, 5)


@pytest.mark.parametrize("strategy", ["gdas", "darts"])
def test_gradient_strategies_search_on_it(nas, strategy):
    command = (
        f"search space=nats_sss strategy={strategy} data=digits strategy.epochs=1 supernet.train_images=64 "
        "supernet.valid_images=64 supernet.batch_size=32 trainer.epochs=1 trainer.train_images=100 progress=false"
    )
    result = nas(*command.split())
    assert result.returncode == 0, result.stderr


def test_sampled_paths_train_it_as_an_evaluator(nas):
    command = (
        "search space=nats_sss experiment=spos data=digits supernet.epochs=1 supernet.train_images=64 "
        "supernet.valid_images=64 supernet.batch_size=32 budget.trials=3 "
        "strategy.population_size=2 strategy.sample_size=1 progress=false"
    )
    result = nas(*command.split())
    assert result.returncode == 0, result.stderr
