"""The check of a network before its training: what it reports, and that it leaves no trace."""

import random
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checked_networks import RECIPE, TASK, Net, generators, normed
from torch import nn

from nas.core import Task
from nas.data.digits import Digits
from nas.data.images import Images
from nas.training.check import BadNetwork, check_network
from nas.training.findings import FindingsReporter
from nas.training.fit import fit
from nas.training.recipe import Recipe
from search_spaces.darts import DARTS
from search_spaces.nasbench201 import NASBench201


@pytest.fixture(scope="module")
def images():
    return Digits().split().train


def test_parameters_without_a_gradient_are_named(images):
    network = Net()
    network.unused = nn.Linear(3, 3)
    network.frozen = nn.Linear(3, 3).requires_grad_(False)
    findings = check_network(network, images, TASK, RECIPE)
    assert findings.without_gradient == ("unused.weight", "unused.bias")
    assert findings.parameters == 6


def test_a_layer_that_is_skipped_at_random_is_not_without_a_gradient(images):
    class Sometimes(Net):
        def forward(self, x):
            self.turn = getattr(self, "turn", 0) + 1
            features = self.features(x)
            return self.head(features) if self.turn == 3 else features[:, :10]

    assert check_network(Sometimes(), images, TASK, RECIPE, gradient_batches=3).without_gradient == ()
    assert check_network(Sometimes(), images, TASK, RECIPE).without_gradient == ("head.weight", "head.bias")


@pytest.mark.parametrize(
    ("how", "lost"),
    [
        ("plain", ("stem.1.mean",)),
        ("transient", ("stem.1.mean",)),
        ("number", ("stem.1.mean",)),
        ("list", ("stem.1.mean[0]",)),
        ("persistent", ()),
    ],
)
def test_state_that_no_checkpoint_holds_is_named(images, how, lost):
    torch.manual_seed(0)
    assert check_network(normed(how), images, TASK, RECIPE).lost == lost


def test_an_average_of_weights_needs_all_state_in_the_state_dict(images):
    with pytest.raises(BadNetwork, match=r"trainer.ema=0.9: .* outside of its state_dict \(stem.1.mean\)"):
        check_network(normed("plain"), images, TASK, Recipe(epochs=1, ema=0.9))


def test_what_a_network_only_remembers_is_not_lost(images):
    class Remembering(Net):
        def features(self, x):
            self.last, self.calls = super().features(x), getattr(self, "calls", 0) + 1
            return self.last

    assert check_network(Remembering(), images, TASK, RECIPE).lost == ()


def test_logits_that_depend_on_the_other_images_are_found(images):
    findings = check_network(Net(lambda net, x, y: y - y.mean(0)), images, TASK, RECIPE)
    assert findings.batch_dependent
    assert not check_network(Net(), images, TASK, RECIPE).batch_dependent
    drawing = Net(lambda net, x, y: y + torch.rand_like(y))
    assert not check_network(drawing, images, TASK, RECIPE).batch_dependent


class Swapped(Net):
    """Its forward needs the channels of a pixel next to each other."""

    @classmethod
    def of(cls, channels):
        network = cls()
        network.stem = nn.Conv2d(channels, 32, 3, padding=1)
        return network

    def features(self, x):
        return super().features(x.permute(0, 2, 3, 1).view(len(x), -1).view(len(x), 8, 8, 3).permute(0, 3, 1, 2))


def test_a_network_that_runs_only_in_channels_last_is_refused():
    pixels = torch.randint(256, (20, 3, 8, 8), dtype=torch.uint8)
    images = Images(pixels, torch.arange(20) % 10, (0.5,) * 3, (0.2,) * 3)
    with pytest.raises(BadNetwork, match=r"^the network runs only in channels-last memory: it fails .* \(RuntimeError"):
        check_network(Swapped.of(3), images, Task(3, 8, 8, 10), RECIPE)


def test_findings_are_reported_once_and_a_dead_operation_of_one_architecture_never(images):
    space, reporter = NASBench201(4, 1), FindingsReporter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|avg_pool_3x3~0|avg_pool_3x3~1|none~2|",
            "|none~0|+|avg_pool_3x3~0|nor_conv_3x3~1|+|skip_connect~0|avg_pool_3x3~1|none~2|",
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|avg_pool_3x3~0|avg_pool_3x3~1|none~2|",
        ):
            findings = check_network(space.build(space.from_text(text), TASK), images, TASK, RECIPE)
            assert findings.without_gradient
            reporter.add(findings)
    reporter = FindingsReporter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            network = normed("plain")
            network.unused = nn.Linear(3, 3)
            reporter.add(check_network(network, images, TASK, RECIPE))
    sentences = [str(warning.message) for warning in caught]
    assert len(sentences) == 2
    assert "outside of its state_dict (stem.1.mean)" in sentences[0]
    assert "2 of 7 parameters" in sentences[1]
    assert "unused.weight, unused.bias" in sentences[1]


# --- no trace ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_check_leaves_no_trace(images, channels_last):
    class Drawing(Net):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm2d(32)
            self.own = torch.Generator().manual_seed(3)
            self.steps, self.log = 0, []

        def features(self, x):
            self.steps += 1
            self.log.append(random.random() + np.random.rand())
            noise = torch.rand(1, generator=self.own)
            return F.dropout(self.bn(self.stem(x)) + noise, 0.5, self.training).mean((2, 3))

    network = Drawing()
    network.eval()
    network.stem.train()
    strides = {name: value.stride() for name, value in network.named_parameters()}
    state = {name: value.clone() for name, value in network.state_dict().items()}
    own, before = network.own.get_state().tolist(), generators()
    check_network(network, images, TASK, Recipe(epochs=1, channels_last=channels_last))
    assert generators() == before
    assert network.own.get_state().tolist() == own
    assert (network.steps, network.log, network.training, network.stem.training) == (0, [], False, True)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(value.grad is None and value.stride() == strides[name] for name, value in network.named_parameters())


def test_a_training_after_the_check_is_the_training_without_it(images):
    space = DARTS(channels=4, cells=3)
    part, recipe, metrics = images.first(40), Recipe(epochs=1, batch_size=20, lr=0.05, threads=1), []
    for checked in (False, True):
        torch.manual_seed(0)
        network = space.build(space.from_text("DARTS_V2"), TASK)
        if checked:
            assert check_network(network, part, TASK, recipe).without_gradient == ()
        metrics.append(fit(network, part, part, recipe, seed=0, report=lambda _metrics: None))
    assert metrics[0] == metrics[1]
