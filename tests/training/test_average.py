"""The moving average of weights, label smoothing, and the best epoch."""

import copy

import pytest
import torch
import torch.nn.functional as F
from test_fit import MemoryCheckpointer, linear
from torch import nn

from nas.data.digits import Digits
from nas.errors import UsageError
from nas.supernets.recipe import SupernetRecipe
from nas.training.average import ModelEMA
from nas.training.fit import Best, evaluate, fit
from nas.training.recipe import Recipe


@pytest.fixture(scope="module")
def digits():
    return Digits().split()


class Unusual(nn.Module):
    """Real and complex parameters, running statistics, a counter, and a tensor of double precision."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
        self.spectrum = nn.Parameter(torch.tensor([1 + 1j, 2 - 3j]))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))


def moved(network, step):
    """The network with other weights and statistics, as after a step."""
    with torch.no_grad():
        for number, tensor in enumerate(network.state_dict().values()):
            tensor.fill_(step if not (tensor.is_floating_point() or tensor.is_complex()) else step / (3 + number))
    return network


def test_the_average_is_the_sum_of_its_decays():
    """w_0 before the first step; from then on m <- d m + (1 - d) w, bit for bit as torch.lerp computes it."""
    network = Unusual()
    average = ModelEMA(network, 0.9)
    expected = copy.deepcopy(network.state_dict())
    for step in range(1, 120):
        average.update_parameters(moved(network, step))
        decay = min(0.9, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            averaged = tensor.is_floating_point() or tensor.is_complex()
            expected[name] = torch.lerp(expected[name], tensor, 1 - decay) if averaged else tensor.clone()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in average.module.state_dict().items())
    assert average.module.layers[1].num_batches_tracked == 119
    assert not any(parameter.requires_grad for parameter in average.module.parameters())


def test_the_first_step_has_its_worked_out_value():
    """d = (1 + 1) / (10 + 1), so 2/11 of 1 + 1j and 9/11 of 12 + 23j."""
    network = Unusual()
    average = ModelEMA(network, 0.9)
    with torch.no_grad():
        network.spectrum[0] = 12 + 23j
    average.update_parameters(network)
    assert average.module.spectrum[0].item() == pytest.approx(complex(10, 19))


def test_an_average_resumes_from_the_checkpoint_of_an_earlier_version():
    """Versions 0.1.0 and 0.2.0 stored `steps` and `network`; so does this one."""
    network = Unusual()
    average, resumed = ModelEMA(network, 0.9), ModelEMA(network, 0.9)
    for step in (1, 2, 3):
        average.update_parameters(moved(network, step))
    state = average.saved()
    assert list(state) == ["steps", "network"]
    assert state["steps"] == 3
    resumed.restore({"steps": 3, "network": copy.deepcopy(state["network"])})
    for one in (average, resumed):
        one.update_parameters(moved(network, 4))
    assert all(map(torch.equal, average.module.state_dict().values(), resumed.module.state_dict().values()))


def test_the_average_is_what_is_validated_and_saved(digits):
    recipe = Recipe(epochs=2, batch_size=32, lr=0.05, crop=0.0, ema=0.95)
    network, plain = linear(), linear()
    metrics = fit(network, digits.train, digits.valid, recipe, seed=0, report=lambda _: None)
    assert evaluate(network, digits.valid, recipe)[0] == metrics["valid_accuracy"]
    without = fit(plain, digits.train, digits.valid, Recipe(epochs=2, batch_size=32, lr=0.05, crop=0.0), seed=0,
                  report=lambda _: None)  # fmt: skip
    assert without["train_loss"] == metrics["train_loss"]  # the training itself is the same
    assert not torch.equal(network[1].weight, plain[1].weight)


def test_smoothed_labels_are_those_of_the_formula(digits):
    """One step from zero weights: the gradient is that of (1 - e) y + e / 10."""
    plain = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "crop": 0.0, "flip": False}
    part, recipe = digits.train.first(8), Recipe(epochs=1, batch_size=8, lr=0.1, label_smoothing=0.3, **plain)
    network = linear()
    before = copy.deepcopy(network)
    metrics = fit(network, part, None, recipe, seed=0, report=lambda _: None)
    from nas.training.augment import plain_batch

    labels = 0.7 * F.one_hot(part.labels, 10).float() + 0.03
    loss = -(labels * before(plain_batch(part, 0, 8)).log_softmax(1)).sum(1).mean()
    loss.backward()
    assert metrics["train_loss"] == pytest.approx(float(loss), rel=1e-5)
    assert torch.allclose(network[1].weight, before[1].weight - 0.1 * before[1].weight.grad, atol=1e-6)


def test_the_best_epoch_is_saved_with_its_weights(digits):
    recipe, best, curve = Recipe(epochs=6, batch_size=32, lr=0.3, lr_min=0.3, crop=0.0), Best(), []
    network = linear()
    fit(network, digits.train.first(200), digits.valid, recipe, seed=0, report=curve.append, best=best)
    accuracies = [metrics["valid_accuracy"] for metrics in curve]
    assert best.epoch == 1 + accuracies.index(max(accuracies))
    network.load_state_dict(best.state)
    assert evaluate(network, digits.valid, recipe)[0] == max(accuracies)


def test_average_and_best_epoch_outlive_the_process(digits):
    recipe = Recipe(epochs=4, batch_size=32, lr=0.1, crop=0.0, ema=0.9)

    def run(checkpointer):
        network, best = linear(), Best()
        metrics = fit(
            network,
            digits.train,
            digits.valid,
            recipe,
            seed=0,
            report=lambda _: None,
            checkpointer=checkpointer,
            best=best,
        )
        return network, best, metrics

    whole, best, metrics = run(MemoryCheckpointer())
    killed = MemoryCheckpointer(killed_after=2)
    with pytest.raises(KeyboardInterrupt):
        run(killed)
    for _ in range(2):  # the second time nothing is left to train
        again, same, found = run(killed)
        assert found == metrics
        assert torch.equal(whole[1].weight, again[1].weight)
        assert (best.epoch, best.metrics) == (same.epoch, same.metrics)
        assert all(torch.equal(tensor, same.state[name]) for name, tensor in best.state.items())


@pytest.mark.parametrize(("settings", "message"), [
    ({"ema": 1.0}, r"trainer\.ema must be a number"),
    ({"ema": -0.1}, r"trainer\.ema must be a number"),
    ({"label_smoothing": 1.0}, r"trainer\.label_smoothing must be a number"),
])  # fmt: skip
def test_senseless_values_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Recipe(epochs=1, **settings)
    with pytest.raises(UsageError, match=r"supernet\.ema=0\.9: a supernet does not support it"):
        SupernetRecipe(epochs=1, ema=0.9)


def test_neutral_values_change_no_protocol():
    assert Recipe(epochs=1).protocol() == Recipe(epochs=1, ema=0.0, label_smoothing=0.0).protocol()
    assert "ema" in Recipe(epochs=1, ema=0.5).protocol()
    assert "ema" not in Recipe(epochs=1).protocol()
