"""FLOPs that cannot be counted, or that an earlier version counted differently, as users see them."""

import json

import pytest
from conftest import ToySpace

from nas import Budget, UserError, search
from nas.store.memory import MemoryStore
from nas.strategies.random import RandomSearch

SPACE = """
import torch
from torch import nn

from nas import SearchSpace


class Spectral(nn.Module):
    def forward(self, x):
        return torch.fft.rfft2(x).abs().flatten(1)


class Mine(SearchSpace):
    choices = {"mixing": ("pixels", "spectrum")}

    def build(self, architecture, task, network=None):
        (mixing,) = self.options(architecture)
        return nn.Sequential(Spectral() if mixing == "spectrum" else nn.Flatten(), nn.LazyLinear(task.classes))
"""


class Counted:
    """An evaluator whose FLOPs are a factor times one more than the number of options `a`."""

    def __init__(self, factor):
        self.factor, self.recounted = factor, 0

    def protocol(self):
        return {"data": "none"}

    def architecture_metrics(self, architecture):
        self.recounted += 1
        return {"flops": self.factor * (1 + architecture.count(0))}

    def __call__(self, proposal, context):
        return {"valid_accuracy": 0.5, "flops": self.factor * (1 + proposal.architecture.count(0))}


def searched(evaluator, store, trials):
    config = {"space": "toy"}
    return search(ToySpace(), RandomSearch, evaluator, budget=Budget(trials=trials), store=store, config=config)


def test_a_run_with_other_counts_is_refused():
    store = MemoryStore()
    searched(Counted(1), store, 20)
    again = Counted(1)
    assert searched(again, store, 25).resumed == 20
    assert 4 <= again.recounted <= 20  # enough to cover all four options of all six decisions
    with pytest.raises(UserError, match=r"run 'search' was counted by an earlier version.*trial 0 has flops=\d, now"):
        searched(Counted(2), store, 30)
    assert len(store.trials("search")) == 25


def test_an_operator_that_cannot_be_counted_is_named_with_the_number(nas, tmp_path):
    (tmp_path / "spectral_space.py").write_text(SPACE)
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "mine.yaml").write_text("# my space\n_target_: spectral_space.Mine\n")

    def run(*arguments):
        result = nas("--config-dir", "conf", *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    described = json.loads(run("describe", "space=mine", "arch=mixing=spectrum", "data=digits", "format=json"))
    assert (described["flops"], described["params"]) == (8 * 5 * 10, 410)
    assert described["uncounted"] == {"aten._fft_r2c": 1}
    quick = ["data=digits", "trainer.epochs=1", "trainer.train_images=64", "trainer.network={}", "progress=false"]
    run("search", "space=mine", *quick, "strategy=random", "budget.trials=4", "run=one")
    board = run("leaderboard", "run=one")
    assert "400+" in board
    assert "+: FLOPs do not include aten._fft_r2c (no formula)." in board
    assert "\n640 " in board.replace(" 640 ", "\n640 ")
    retrained = run("retrain", "space=mine", "arch=mixing=spectrum", *quick)
    assert "FLOPs          400, not including aten._fft_r2c (no formula)" in retrained
    again = run("retrain", "space=mine", "arch=mixing=spectrum", *quick, "format=json")
    assert json.loads(again)["metrics"]["uncounted:aten._fft_r2c"] == 1
    arguments = [
        "search",
        "space=mine",
        *quick,
        "strategy=random",
        "objective.metric=flops",
        "objective.direction=minimize",
    ]
    result = nas("--config-dir", "conf", *arguments, "budget.trials=4", "run=two", "format=json")
    assert "aten._fft_r2c cannot be counted" in run("leaderboard", "run=two", "format=json"), result.stderr
