"""What the check before a training looks for beside shapes: mode by mode, in networks and in supernets."""

import random
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checked_networks import Net, Norm, generators
from relaxed import Planted, Signs
from test_rebuild import retrained
from test_seeding import Space
from torch import nn

from nas.core import Objective, Task
from nas.data.digits import Digits
from nas.errors import UserError
from nas.evaluators.shared_weights import SharedWeights
from nas.strategies.darts import DARTS
from nas.supernets.gradient import GradientSearch
from nas.testing.spaces import space_promises
from nas.training import logits
from nas.training.check import BadNetwork, check_network, check_supernet
from nas.training.findings import FindingsReporter
from nas.training.fit import TrainingFailed
from nas.training.recipe import Recipe
from search_spaces.nasbench201 import NASBench201

TASK = Task(1, 8, 8, 10)
RECIPE = Recipe(epochs=1, threads=1)


@pytest.fixture(scope="module")
def images():
    return Digits().split().train


# --- probabilities -------------------------------------------------------------------------------------------------


def softmaxed(in_training, in_evaluation):
    return Net(lambda net, x, y: y.softmax(1) if (in_training if net.training else in_evaluation) else y)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("network", "mode"),
    [
        (lambda: softmaxed(True, True), "training"),
        (lambda: softmaxed(True, False), "training"),
        (lambda: softmaxed(False, True), "evaluation"),
        (lambda: Net(lambda net, x, y: y.bfloat16().exp() / y.bfloat16().exp().sum(1, True)), "training"),
    ],
)
def test_probabilities_are_refused_by_the_mode_that_gives_them(network, mode, precision, images):
    message = rf"the network returned probabilities in {mode} mode \(each row sums to 1\); expected logits: leave the"
    with pytest.raises(BadNetwork, match=message):
        check_network(network(), images, TASK, Recipe(epochs=1, threads=1, precision=precision))


@pytest.mark.parametrize("start", [0.0, 0.1])
def test_a_head_that_starts_with_equal_logits_is_not_a_softmax(start, images):
    """Ten logits of 0.1 sum to 1 before the first step."""
    network = Net()
    nn.init.zeros_(network.head.weight)
    nn.init.constant_(network.head.bias, start)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    findings = check_network(network, images, TASK, RECIPE)
    assert (findings.without_gradient, findings.lost) == ((), ())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_what_looks_like_probabilities():
    rows = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    assert logits.are_probabilities(rows)
    assert not logits.are_probabilities(rows + 0.001)
    assert not logits.are_probabilities(rows - torch.tensor([0.5, -0.5]))
    assert not logits.are_probabilities(torch.ones(4, 1))  # of one class every softmax is 1
    assert not logits.are_probabilities(torch.tensor([[float("nan"), 1.0]]))
    many = torch.randn(8, 1000, generator=torch.Generator().manual_seed(0))
    assert logits.are_probabilities(many.softmax(1).bfloat16())
    assert logits.are_probabilities(many.log_softmax(1).exp())
    assert not logits.are_probabilities(many.log_softmax(1))


# --- evaluation mode -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "message"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_logits_that_are_not_finite_in_evaluation_mode_only_are_reported(value, message, images):
    network = Net(lambda net, x, y: y if net.training else y + value)
    with pytest.raises(
        TrainingFailed, match=f"logits of the network are {message} in evaluation mode, before"
    ) as failed:
        check_network(network, images, TASK, RECIPE)
    assert failed.value.kind == "not_finite"


class Counted(Net):
    """Counts its forwards in a buffer; `used`: the logits depend on it."""

    def __init__(self, used, always=True):
        super().__init__()
        self.used, self.always = used, always
        self.register_buffer("calls", torch.zeros(()))

    def features(self, x):
        if self.training or self.always:
            self.calls += 1
        return super().features(x) * (1 + 1e-3 * self.calls if self.used else 1)


def test_a_buffer_that_changes_in_evaluation_mode_is_refused_where_it_matters(images):
    message = "calls changes in evaluation mode and the logits depend on it, .*; change it only while self.training"
    with pytest.raises(BadNetwork, match=message):
        check_network(Counted(used=True), images, TASK, RECIPE)
    for network in (Counted(used=False), Counted(used=True, always=False)):
        assert check_network(network, images, TASK, RECIPE).lost == ()
        assert network.calls == 0


# --- parameters that nobody trains ---------------------------------------------------------------------------------


class Listed(nn.Module):
    """Layers in a plain list and a dict; a frozen one, one that is unused and one of its own beside them."""

    def __init__(self, plain=True):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        layers = [nn.Conv2d(8, 8, 3, padding=1) for _ in range(2)]
        gains = {"a": nn.Parameter(torch.ones(8, 1, 1))}
        self.ks, self.gains = (layers, gains) if plain else (nn.ModuleList(layers), nn.ParameterDict(gains))
        self.teacher = [nn.Conv2d(1, 8, 3, padding=1).requires_grad_(False)]
        self.unused, self.tied = [nn.Linear(3, 3)], [self.stem.weight]
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x) + self.teacher[0](x)
        for layer in self.ks:
            x = layer(x) * self.gains["a"]
        return self.head(x.mean((2, 3)))


def test_parameters_in_a_plain_list_are_reported(images):
    findings = check_network(Listed(), images, TASK, RECIPE)
    layers = [f"ks[{layer}].{name}" for layer in (0, 1) for name in ("bias", "weight")]
    assert findings.unregistered == ("gains['a']", *layers)
    with pytest.warns(
        UserWarning, match=r"parameters that are not trained .* use nn.ModuleList.*; nas retrain refuses"
    ):
        FindingsReporter().add(findings)
    sound = check_network(Listed(plain=False), images, TASK, RECIPE)
    assert (sound.unregistered, sound.untrained()) == ((), "")


def test_parameters_in_a_plain_list_break_a_promise_and_are_not_retrained(tmp_path):
    message = (
        r"(ks, gains|gains, ks) hold parameters that are not trained \(.*use nn.ModuleList, nn.ModuleDict or nn.Param"
    )
    promises = {promise.text: promise for promise in space_promises(Space(Listed), TASK)}
    with pytest.raises(AssertionError, match=f"one=only: {message}"):
        promises["every learned tensor is a registered parameter"].check()
    with pytest.raises(UserError, match=f"cannot be retrained: {message}"):
        retrained(Listed, tmp_path)


def test_the_check_of_a_space_names_parameters_without_a_gradient():
    def unused():
        network = Net()
        network.spare = nn.Linear(3, 3)
        return network

    (promise,) = [p for p in space_promises(Space(unused), TASK) if "registered parameter" in p.text]
    with pytest.warns(UserWarning, match=r"no gradient reaches 2 of 6 parameters of the network, .* spare.weight, spa"):
        promise.check()


# --- what a module has changed -----------------------------------------------------------------------------------


def test_globals_of_torch_that_a_module_has_changed_are_named(images):
    with (
        torch.no_grad(),
        pytest.raises(BadNetwork, match=r"an imported module or build has called torch.set_grad_enabled\(False\)"),
    ):
        check_network(Net(), images, TASK, RECIPE)
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(
            BadNetwork, match=r"an imported module or build has set torch.set_default_dtype\(torch.float64\)"
        ):
            check_network(Net(), images, TASK, RECIPE)
    finally:
        torch.set_default_dtype(torch.float32)


# --- supernets -----------------------------------------------------------------------------------------------------


class Changed(Planted):
    """A supernet with a running mean; `how` and `where` say where and in which mode it matters."""

    def __init__(self, how="plain", where="both"):
        super().__init__()
        self.how, self.where = how, where

    def supernet(self, task, network=None, partial_channels=1):
        supernet = super().supernet(task, network)
        supernet.norm, supernet.unused = Norm(1, self.how), nn.Linear(3, 3)
        own, where = supernet.forward, self.where

        def forward(x, probs, run_all_operations=False):
            normed = supernet.norm(x)
            uses_norm = where == "both" or (where == "training") == supernet.training
            logits = own(normed if uses_norm else x, probs, run_all_operations)
            return F.dropout(logits, 0.1, supernet.training) + 0 * random.random()

        supernet.forward = forward
        return supernet


SUPERNET = Recipe(epochs=1, batch_size=64, train_images=64, nesterov=False, flip=False, threads=1)


def searched(space):
    return GradientSearch(space, Signs(), SUPERNET)(
        DARTS(space=space, objective=Objective(), epochs=1), 0, 5, "cpu", lambda *_: None
    )


@pytest.mark.parametrize("where", ["both", "training", "evaluation"])
def test_state_of_a_supernet_that_no_checkpoint_holds_is_refused(where):
    message = r"the supernet stores what it learns outside of its state_dict \(norm.mean\), so a killed search would"
    with pytest.raises(UserError, match=message):
        searched(Changed(where=where))
    with pytest.raises(UserError, match=message):
        SharedWeights(Changed(where=where), Signs(), SUPERNET).prepare("cpu")


def test_parameters_of_a_supernet_without_a_gradient_are_reported():
    message = r"no gradient reaches 2 of 5 parameters of the supernet, .* unused.weight, unused.bias"
    with pytest.warns(UserWarning, match=message):
        searched(Changed("persistent"))
    with pytest.warns(UserWarning, match=message):
        SharedWeights(Changed("persistent"), Signs(), SUPERNET).prepare("cpu")


def test_no_operation_of_a_sound_supernet_is_reported_and_its_check_leaves_no_trace():
    space, data = NASBench201(), Digits()
    torch.manual_seed(0)
    supernet = space.supernet(data.task, {"channels": 4, "cells": 1})
    probs = space.relax(space.sample(np.random.default_rng(0)))
    state = {name: value.clone() for name, value in supernet.state_dict().items()}
    before = generators()
    findings, reason = check_supernet(supernet, probs, data.split().train, data.task, RECIPE)
    assert (findings.without_gradient, findings.unregistered, reason) == ((), (), "")
    assert findings.parameters == len(list(supernet.parameters()))
    assert generators() == before
    assert supernet.training
    assert all(torch.equal(value, state[name]) for name, value in supernet.state_dict().items())
    assert all(value.grad is None for value in supernet.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FindingsReporter(trainings=1).add(findings)
