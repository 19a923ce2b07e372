"""Networks with lazy modules and with complex parameters are trained, stored and resumed as all others."""

import math
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from safetensors import safe_open
from torch import nn

from nas import Budget, SearchSpace, search
from nas.core import Task
from nas.data.digits import Digits
from nas.evaluators.training import TrainingEvaluator
from nas.export.model import loaded
from nas.store.sqlite import SQLiteStore
from nas.strategies.random import RandomSearch
from nas.studies.retraining import CHECKPOINT, TrainingJob, retrain
from nas.training.fit import evaluate, fit
from nas.training.lazy import materialized
from nas.training.recipe import Recipe
from nas.training.weight_files import load_weights, save_weights

RECIPE = Recipe(epochs=2, batch_size=32, train_images=96, valid_images=64, threads=1, lr=0.05)
TASK = Task(1, 8, 8, 10)


class Space(SearchSpace):
    choices = MappingProxyType({"one": ("a", "b")})

    def __init__(self, make):
        self.make = make

    def build(self, architecture, task, network=None):
        return self.make()


class Spectral(nn.Module):
    """A filter in the frequency domain with complex weights (1, 4, 8, 5) and a complex bias (4, 1, 1)."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(1, 4, 8, 5, dtype=torch.complex64))
        self.bias = nn.Parameter(torch.zeros(4, 1, 1, dtype=torch.complex64))
        self.head = nn.Linear(4 * 64, 10)

    def forward(self, x):
        found = torch.fft.irfft2(torch.fft.rfft2(x.float()) * self.filter + self.bias, s=(8, 8))
        return self.head(torch.relu(found).flatten(1))


class AsReal(nn.Module):
    """The same with its complex weights as pairs of real ones."""

    def __init__(self):
        super().__init__()
        made = Spectral()
        self.filter = nn.Parameter(torch.view_as_real(made.filter.detach()).clone())
        self.bias = nn.Parameter(torch.view_as_real(made.bias.detach()).clone())
        self.head = made.head

    def forward(self, x):
        weight, bias = torch.view_as_complex(self.filter), torch.view_as_complex(self.bias)
        return self.head(torch.relu(torch.fft.irfft2(torch.fft.rfft2(x) * weight + bias, s=(8, 8))).flatten(1))


class LazyNet(nn.Module):
    """Lazy layers beside ordinary ones, and a normalisation whose statistics are of no image yet."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.stem = nn.LazyConv2d(4, 3, padding=1)
        self.lazy_norm = nn.LazyBatchNorm2d()
        self.drop = nn.Dropout(0.1)
        self.head = nn.LazyLinear(10)

    def forward(self, x):
        x = torch.relu(self.lazy_norm(self.stem(self.norm(x))))
        return self.head(self.drop(x).flatten(1))


def trained(make, recipe):
    split = Digits().split()
    torch.manual_seed(0)
    network = materialized(make(), TASK)
    metrics = fit(network, split.train.first(96), split.valid.first(64), recipe, seed=0, report=lambda _: None)
    return network, metrics


@pytest.mark.parametrize(
    "more",
    [{}, {"grad_clip": 0.5}, {"ema": 0.9}, {"optimizer": "adamw", "lr": 0.01}, {"nesterov": True, "weight_decay": 0.1}],
    ids=str,
)
def test_complex_weights_are_trained_as_pairs_of_real_ones(more):
    """SGD, its clipping by the norm of all gradients, decay, AdamW and the average are those of R^2."""
    recipe = Recipe(**{**vars(RECIPE), **more})
    (network, metrics), (pairs, expected) = trained(Spectral, recipe), trained(AsReal, recipe)
    assert metrics == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}
    torch.testing.assert_close(torch.view_as_real(network.filter), pairs.filter, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_a_file_of_weights_holds_complex_ones(tmp_path, dtype):
    state = {"weight": torch.tensor([[1 + 2j], [3 - 4j]], dtype=dtype), "real": torch.ones(2), "extra": [1j * 0 + 1, 2]}
    state["extra"] = [torch.tensor(2 + 1j, dtype=dtype), 2]
    save_weights(tmp_path / "w.safetensors", state, {})
    found = load_weights(tmp_path / "w.safetensors")
    assert torch.equal(found["weight"], state["weight"])
    assert found["weight"].dtype == dtype
    assert found["extra"][0].item() == 2 + 1j
    with safe_open(str(tmp_path / "w.safetensors"), "pt") as opened:
        assert opened.get_tensor("weight").tolist() == [[[1.0, 2.0]], [[3.0, -4.0]]]


class Stopped(Exception):
    pass


def retrained(make, folder, report=lambda _metrics: None, recipe=RECIPE):
    job = TrainingJob(Space(make), "mine", (0,), Digits(), recipe, device="cpu")
    store = SQLiteStore(f"sqlite:///{folder}/nas.db")
    return retrain(job, store, lambda digits: folder / digits, report)[0]


@pytest.mark.parametrize("make", [Spectral, LazyNet])
def test_a_retraining_is_its_checkpoint_and_survives_a_kill(make, tmp_path, monkeypatch):
    monkeypatch.setattr("nas.training.checkpoint.MAX_SAVING_SHARE", 1e9)  # save every epoch
    recipe = Recipe(**{**vars(RECIPE), "ema": 0.5})
    whole = retrained(make, tmp_path / "whole", recipe=recipe)

    def dies(_metrics):
        raise Stopped

    with pytest.raises(Stopped):
        retrained(make, tmp_path / "killed", dies, recipe)
    epochs = []
    result = retrained(make, tmp_path / "killed", epochs.append, recipe)
    assert len(epochs) == 2
    assert result.metrics == whole.metrics
    torch.manual_seed(99)
    network = loaded(materialized(make(), TASK), Path(result.folder) / CHECKPOINT, result.text)
    accuracy, loss = evaluate(network, Digits().read_test(), RECIPE)
    assert (accuracy, loss) == (result.metrics["test_accuracy"], pytest.approx(result.metrics["test_loss"], abs=1e-5))


@pytest.mark.parametrize("make", [Spectral, LazyNet])
def test_a_search_repeats(make):
    def run():
        space = Space(make)
        result = search(space, RandomSearch, TrainingEvaluator(space, Digits(), RECIPE), budget=Budget(trials=2))
        assert all(trial.completed for trial in result.trials), [trial.error for trial in result.trials]
        return [dict(trial.metrics) for trial in result.trials]

    first = run()
    assert first == run()
    assert all(math.isfinite(value) for metrics in first for value in metrics.values())


def test_lazy_sizes_are_counted_before_the_training():
    space = Space(LazyNet)
    counts = TrainingEvaluator(space, Digits(), RECIPE).architecture_metrics((0,))
    # norm 2, convolution 9 * 4 + 4, normalisation 8, linear layer 256 * 10 + 10
    assert counts["parameters"] == 2 + 40 + 8 + 2570
    assert counts["flops"] == 9 * 4 * 64 + 2560


def test_blank_images_leave_no_trace_in_a_lazy_network():
    torch.manual_seed(0)
    network = materialized(LazyNet(), TASK)
    assert network.training
    assert [network.norm.running_mean.item(), network.norm.running_var.item()] == [0.0, 1.0]
    assert network.lazy_norm.num_batches_tracked == 0
    torch.testing.assert_close(network.lazy_norm.running_mean, torch.zeros(4))


class OnlyInTraining(LazyNet):
    """Its second lazy layer is reached in training mode only, where normalisation takes in what it sees."""

    def __init__(self):
        super().__init__()
        self.side = nn.LazyLinear(10)

    def forward(self, x):
        logits = super().forward(x)
        return logits + 0.1 * self.side(x.flatten(1)) if self.training else logits


def test_a_module_that_is_reached_in_training_only_is_initialised_too():
    network = materialized(OnlyInTraining(), TASK)
    assert network.side.weight.shape == (10, 64)
    assert [network.norm.running_mean.item(), network.norm.num_batches_tracked.item()] == [0.0, 0]


def test_a_network_without_lazy_modules_is_not_run():
    class Counting(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    torch.manual_seed(0)
    made = Counting(4, 2)
    before = torch.get_rng_state()
    assert materialized(made, TASK) is made
    assert made.calls == 0
    assert torch.equal(torch.get_rng_state(), before)
