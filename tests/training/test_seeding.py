"""Everything that a training draws is a function of its seed, whichever global generator it is drawn from."""

import copy
import random
from functools import cache
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
import torch
from relaxed import Planted, Signs
from relaxed import Supernet as Plain
from test_fit import MemoryCheckpointer
from torch import nn

from nas import SearchSpace
from nas.core import Context, Objective, Proposal
from nas.data import generators
from nas.data.digits import Digits
from nas.errors import TrialFailed, UserError
from nas.evaluators.shared_weights import SharedWeights
from nas.evaluators.training import TrainingEvaluator
from nas.strategies.darts import DARTS
from nas.supernets.gradient import GradientSearch
from nas.testing.spaces import space_promises
from nas.training.fit import fit
from nas.training.recipe import Recipe
from nas.training.seeding import random_state_restored, seed_all

RECIPE = Recipe(epochs=2, batch_size=32, train_images=64, valid_images=40, threads=1, lr=0.05)


def drawn():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


class Drawing(nn.Module):
    """Shakes its features by numbers of Python's and of NumPy's global generator."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = x.flatten(1)
        if self.training:
            x = x * random.uniform(0.5, 1.5) + torch.from_numpy(np.random.normal(size=(len(x), 1))).float()
        return self.head(x)


class Space(SearchSpace):
    choices = MappingProxyType({"one": ("only",)})
    make: object

    def __init__(self, make):
        self.make = make

    def build(self, architecture, task, network=None):
        return self.make()


def evaluated(space, seed=3):
    evaluator = TrainingEvaluator(space, Digits(), RECIPE)
    return evaluator(Proposal((0,)), Context(seed, "cpu", lambda _: None, lambda *_: None))


def test_a_network_that_draws_from_any_global_generator_repeats_and_leaves_pythons_and_numpys():
    Digits().split()  # scikit-learn draws when it is imported
    random.seed(11)
    np.random.seed(11)
    expected = random.random(), np.random.rand()
    random.seed(11)
    np.random.seed(11)
    first = evaluated(Space(Drawing))
    assert (random.random(), np.random.rand()) == expected  # a user's strategy may draw from them
    assert evaluated(Space(Drawing)) == first
    assert evaluated(Space(Drawing), seed=4) != first


def test_random_numbers_are_restored_and_follow_a_seed():
    seed_all(2**40 + 1)
    first = drawn()
    seed_all(2**40 + 1)
    with random_state_restored(torch.device("cpu")):
        seed_all(0)
        drawn()
    assert drawn() == first
    before = generators.state()
    assert generators.state() == before
    random.gauss(0, 1)
    np.random.normal()
    assert generators.state() != before
    generators.restore(before)
    assert generators.state() == before


def test_a_killed_training_draws_on_from_every_global_generator(tmp_path):
    images = Digits().split().train.first(64)

    def run(checkpointer):
        seed_all(0)
        network = Drawing()
        return fit(network, images, None, RECIPE, seed=1, report=lambda _: None, checkpointer=checkpointer)

    whole, killed = run(MemoryCheckpointer()), MemoryCheckpointer(killed_after=1)
    with pytest.raises(KeyboardInterrupt):
        run(killed)
    torch.save(killed.state, tmp_path / "state.pt")
    killed.state = torch.load(tmp_path / "state.pt", weights_only=True)
    early = MemoryCheckpointer()
    early.state = {key: value for key, value in copy.deepcopy(killed.state).items() if key != "random_others"}
    assert run(killed) == whole
    assert run(early)["train_loss"] > 0  # a checkpoint of an earlier version, which did not know of them


# --- build ---------------------------------------------------------------------------------------------------------


def reseeding():
    torch.manual_seed(42)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def shielded():
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(42)
        fixed = torch.randn(64)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    network.register_buffer("fixed", fixed)
    return network


@cache
def _weights():
    return torch.randn(10, 64)


def remembering():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))
    network[1].weight.data = _weights().clone()
    return network


def test_a_build_that_seeds_torch_is_refused():
    message = r"build seeds torch's generator \(with 42\), so the seed of a training has no effect"
    with pytest.raises(TrialFailed, match=message):
        evaluated(Space(reseeding))
    with pytest.raises(AssertionError, match=f"one=only: {message}"):
        repeats(reseeding)
    assert evaluated(Space(shielded))["valid_accuracy"] > 0


def repeats(make):
    (promise,) = [p for p in space_promises(Space(make), Digits().task) if "for the same seed" in p.text]
    promise.check()


def test_weights_that_persist_between_calls_are_reported():
    with pytest.raises(AssertionError, match="the same weights for every seed"):
        repeats(remembering)
    for make in (shielded, Drawing, lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10))):
        repeats(make)


# --- supernets -----------------------------------------------------------------------------------------------------


class Dropping(Planted):
    def supernet(self, task, network=None, partial_channels=1):
        class Supernet(Plain):
            def forward(self, x, probs, run_all_operations=False):
                x = nn.functional.dropout(x, 0.3, self.training) * (random.uniform(0.5, 1) if self.training else 1)
                return super().forward(x, probs, run_all_operations)

        return Supernet(self.names, task)


class Killed(BaseException):
    pass


SUPERNET = Recipe(epochs=3, batch_size=64, lr=0.1, nesterov=False, crop=0.0, flip=False, threads=1)


def test_a_killed_gradient_search_with_dropout_resumes_to_the_same_curve(tmp_path):
    def run(folder, report=lambda *_: None):
        strategy = DARTS(space=Dropping(), objective=Objective(), epochs=3)
        return GradientSearch(Dropping(), Signs(), SUPERNET, tmp_path / folder)(strategy, 0, 5, "cpu", report)

    def die(_epochs, curve):
        drawn()
        if len(curve) == 1:
            raise Killed

    whole = run("whole")
    with pytest.raises(Killed):
        run("parts", die)
    assert run("parts").curve == whole.curve


def test_shared_weights_with_dropout_learn_the_same_after_a_kill(tmp_path):
    def learner():
        evaluator = SharedWeights(Dropping(), Signs(), SUPERNET, train="on_proposal")
        evaluator.checkpoint_dir = tmp_path
        return evaluator

    def score(evaluator):
        context = Context(0, "cpu", lambda _: None, lambda *_: None)
        return evaluator(Proposal((1, 1)), context)

    whole = learner()
    first, second = score(whole), score(whole)
    again = learner()
    assert score(again) == first
    again.shared.save_proposals()
    resumed = learner()
    resumed.train_weights("cpu", [SimpleNamespace(proposal=Proposal((1, 1)))], lambda *_: None)
    assert score(resumed) == second


def test_a_supernet_that_seeds_torch_is_refused():
    class Reseeding(Planted):
        def supernet(self, task, network=None, partial_channels=1):
            torch.manual_seed(42)
            return super().supernet(task, network)

    strategy = DARTS(space=Reseeding(), objective=Objective(), epochs=1)
    with pytest.raises(UserError, match=r"failed: supernet seeds torch's generator \(with 42\)"):
        GradientSearch(Reseeding(), Signs(), SUPERNET)(strategy, 0, 5, "cpu", lambda *_: None)
