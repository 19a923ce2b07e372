"""Networks with complex parameters and with lazy modules, through checking, counting, training and retraining."""

import json

import pytest
import torch
from conftest import rows
from torch import nn

from nas.core import Task
from nas.data.digits import Digits
from nas.supernets.steps import weight_optimizer
from nas.training import count
from nas.training.check import check_network
from nas.training.fit import evaluate, fit
from nas.training.recipe import Recipe

DIGITS = Task(1, 8, 8, 10)


class Spectrum(nn.Module):
    """A learned complex filter of an image's spectrum."""

    def __init__(self):
        super().__init__()
        self.filter, self.head = nn.Parameter(torch.randn(1, 1, 8, 5, dtype=torch.complex64)), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(torch.fft.irfft2(torch.fft.rfft2(x) * self.filter).flatten(1))


def lazy():
    return nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.LazyLinear(10)
    )


def plain():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(144, 10)
    )


@pytest.mark.parametrize("settings", [{}, {"optimizer": "adamw", "lr": 0.01}, {"grad_clip": 1.0, "ema": 0.5}], ids=str)
def test_complex_parameters_are_trained(settings):
    torch.manual_seed(0)
    network, split = Spectrum(), Digits().split()
    recipe = Recipe(**{"epochs": 2, "batch_size": 32, "lr": 0.05, "crop": 0.0, "train_images": 300, **settings})
    before = network.filter.detach().clone()
    check_network(network, split.train, DIGITS, recipe)
    metrics = fit(network, split.train.first(300), split.valid, recipe, seed=0, report=lambda _: None)
    assert metrics["valid_accuracy"] > 0.3
    assert not torch.equal(network.filter.real, before.real)
    assert not torch.equal(network.filter.imag, before.imag)
    assert network.filter.is_complex()


def test_a_step_on_complex_parameters_is_sgds():
    parameter = nn.Parameter(torch.tensor([1.0 + 2.0j]))
    holder = nn.ParameterList([parameter])
    optimizer = weight_optimizer(
        holder, Recipe(epochs=1, lr=0.5, momentum=0.0, nesterov=False, weight_decay=0.0), run_all_operations=True
    )
    (parameter.abs() ** 2).sum().backward()  # the gradient is 2 z
    optimizer.step()
    assert torch.equal(parameter.detach(), torch.zeros(1, dtype=torch.complex64))


def test_lazy_modules_train_to_the_same_network():
    """Their initial values come from the same random numbers, at the first forward."""
    split, recipe, results = Digits().split(), Recipe(epochs=1, batch_size=32, lr=0.05, crop=0.0), []
    expected = count.architecture(plain(), DIGITS)
    for counted in (True, False):
        torch.manual_seed(0)
        network = lazy()
        if counted:
            check_network(network, split.train, DIGITS, recipe)
            assert count.architecture(network, DIGITS) == expected
        metrics = fit(network, split.train.first(300), split.valid, recipe, seed=0, report=lambda _: None)
        assert evaluate(network, split.valid, recipe) == (metrics["valid_accuracy"], metrics["valid_loss"])
        results.append(metrics)
    assert results[0] == results[1]


SPACE = """
import sys

from nas import SearchSpace

sys.path.insert(0, {tests!r})
from test_unusual_parameters import Spectrum, lazy


class Mine(SearchSpace):
    choices = {{"network": ("complex", "lazy")}}

    def build(self, architecture, task, network=None):
        return Spectrum() if architecture[0] == 0 else lazy()
"""


def test_both_are_searched_and_retrained_as_a_users_space(nas, tmp_path):
    (tmp_path / "unusual_space.py").write_text(SPACE.format(tests=__file__.rpartition("/")[0]))
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "unusual.yaml").write_text("# both\n_target_: unusual_space.Mine\n")
    quick = ["space=unusual", "data=digits", "trainer.epochs=1", "trainer.train_images=100", "trainer.network={}"]
    result = nas("--config-dir", "conf", "search", *quick, "strategy=random", "budget.trials=4", "run=one")
    assert result.returncode == 0, result.stderr
    found = {row["arch"]: row for row in rows(nas, "run=one")}
    assert {row["status"] for row in found.values()} == {"completed"}
    assert found["network=lazy"]["metrics"]["parameters"] == count.parameters(plain())
    for arch in ("complex", "lazy"):
        done = nas("--config-dir", "conf", "retrain", *quick, f"arch=network={arch}", "format=json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["new"]
