"""AdamW and warm-up, worked out by hand, and settings that do not go together."""

import pytest
import torch
from test_fit import linear
from torch import nn

from nas.config.settings import compose
from nas.data.digits import Digits
from nas.errors import UsageError
from nas.supernets.recipe import SupernetRecipe
from nas.training.average import ModelEMA
from nas.training.fit import fit
from nas.training.optimizer import optimizer_of, take_step
from nas.training.recipe import Recipe

PLAIN_IMAGES = {"crop": 0.0, "flip": False, "threads": 1}
NEUTRAL_SETTINGS = {"optimizer": "sgd", "warmup_epochs": 0, "mixup": 0.0, "cutmix": 0.0}


@pytest.fixture(scope="module")
def digits():
    return Digits().split()


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    """Two of six epochs of two steps: 1/4, 2/4, 3/4, 4/4 of the rate, and the cosine over the eight other steps."""
    recipe = Recipe(epochs=6, lr=0.4, lr_min=0.1, warmup_epochs=2)
    rates = [recipe.learning_rate_of_step(step, 2) for step in range(12)]
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    # 0.1 + 0.15 (1 + cos(pi / 4)), at half way, and one step before the end
    assert [rates[6], rates[8], rates[11]] == pytest.approx([0.35606602, 0.25, 0.11141807])


def test_without_warm_up_every_rate_is_bit_for_bit_that_of_before():
    recipe = Recipe(epochs=7, lr=0.1, lr_min=0.01)
    for step in range(21):
        assert recipe.learning_rate_of_step(step, 3) == recipe.learning_rate(step / (7 * 3))


def test_the_optimizer_steps_with_the_rates_of_the_warm_up(digits, monkeypatch):
    rates = []
    own = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self, *a: (rates.append(self.param_groups[0]["lr"]), own(self, *a))[1]
    )
    recipe = Recipe(epochs=3, batch_size=4, lr=0.01, optimizer="adamw", warmup_epochs=1, **PLAIN_IMAGES)
    fit(linear(), digits.train.first(8), None, recipe, seed=0, report=lambda _: None)
    assert rates == pytest.approx([0.005, 0.01, 0.01, 0.00853553, 0.005, 0.00146446609])


def test_one_step_is_adamw_with_decoupled_weight_decay(digits):
    """By hand: m = 0.1 g and v = 0.001 g^2, so the corrected step is g / (|g| + eps); the weights shrink by lr * wd."""
    recipe = Recipe(epochs=1, batch_size=4, lr=0.01, weight_decay=0.1, optimizer="adamw", **PLAIN_IMAGES)
    part, network = digits.train.first(4), linear()
    before = [p.detach().clone() for p in network.parameters()]
    x = (part.pixels / 255 - part.mean[0]) / part.std[0]
    loss = nn.functional.cross_entropy(network(x), part.labels)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    other = linear()
    optimizer = torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.1)
    nn.functional.cross_entropy(other(x), part.labels).backward()
    optimizer.step()
    fit(network, part, None, recipe, seed=0, report=lambda _: None)
    for now, theirs, old, g in zip(network.parameters(), other.parameters(), before, gradients, strict=True):
        large = g.abs() > 1e-5  # a gradient near zero has no sure sign
        assert torch.allclose(now[large], (old * (1 - 0.01 * 0.1) - 0.01 * g / (g.abs() + 1e-8))[large], atol=1e-6)
        assert torch.allclose(now[large], theirs[large], atol=1e-6)
        assert large.float().mean() > 0.5


class Skipping(nn.Module):
    """Layers that are skipped at random, as by stochastic depth and LayerDrop."""

    def __init__(self, rate):
        super().__init__()
        self.rate, self.head = rate, nn.Linear(64, 10)
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(5))

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            if not (self.training and torch.rand(()) < self.rate):
                x = x + layer(x)
        return self.head(x)


@pytest.mark.parametrize("optimizer", [{"lr": 0.01}, {"lr": 0.001, "optimizer": "adamw"}], ids=str)
def test_layers_that_are_skipped_at_random_are_trained(optimizer, digits):
    torch.manual_seed(0)
    network = Skipping(0.7)
    before = [layer.weight.detach().clone() for layer in network.layers]
    recipe = Recipe(epochs=2, batch_size=16, **optimizer, **PLAIN_IMAGES)
    assert fit(network, digits.train.first(128), None, recipe, seed=0, report=lambda _: None)["train_loss"] < 3
    assert not any(torch.equal(layer.weight, old) for layer, old in zip(network.layers, before, strict=True))


def test_a_gradient_that_comes_late_is_stepped_as_by_torchs_plain_steps():
    recipe = Recipe(epochs=1, lr=0.1, weight_decay=0.01)
    gradients = [(1.0, None, None), (None, 0.5, None), (2.0, -1.0, None), (0.3, 0.7, None)]
    found = []
    for fused in (True, False):
        parameters = [nn.Parameter(torch.tensor([0.5])) for _ in range(3)]
        optimizer = optimizer_of(parameters, recipe)
        for group in optimizer.param_groups:
            group["fused"] = fused
        for step in gradients:
            for parameter, value in zip(parameters, step, strict=True):
                parameter.grad = None if value is None else torch.tensor([value])
            take_step(optimizer) if fused else optimizer.step()
        found.append([parameter.item() for parameter in parameters])
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0][2] == 0.5  # never reached: kept, without a decay


def test_a_network_whose_layers_are_all_reached_is_trained_as_by_torchs_own_step(digits, monkeypatch):
    recipe = Recipe(epochs=2, batch_size=16, lr=0.05, **PLAIN_IMAGES)
    found = []
    for step in (take_step, lambda optimizer: optimizer.step()):
        monkeypatch.setattr("nas.training.fit.take_step", step)
        torch.manual_seed(0)
        network = Skipping(0.0)
        fit(network, digits.train.first(64), None, recipe, seed=0, report=lambda _: None)
        found.append(list(network.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_average_follows_adamw(digits):
    recipe = Recipe(epochs=1, batch_size=4, lr=0.01, optimizer="adamw", ema=0.9, **PLAIN_IMAGES)
    network, part = linear(), digits.train.first(4)
    expected = ModelEMA(linear(), 0.9)
    plain = linear()
    fit(plain, part, None, Recipe(**{**vars(recipe), "ema": 0.0}), seed=0, report=lambda _: None)
    expected.update_parameters(plain)
    fit(network, part, None, recipe, seed=0, report=lambda _: None)
    assert torch.equal(network[1].weight, expected.module[1].weight)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"optimizer": "adam"}, "optimizer must be one of sgd, adamw, got 'adam'"),
        ({"optimizer": None}, "optimizer must be one of sgd, adamw, got null"),
        ({"warmup_epochs": 3}, r"warmup_epochs must be below \w+.epochs=3, got 3"),
        ({"warmup_epochs": -1}, "warmup_epochs must be a whole number of at least 0, got -1"),
        ({"warmup_epochs": 0.5}, r"warmup_epochs must be a whole number of at least 0, got 0\.5"),
        ({"optimizer": "adamw", "momentum": 0.5}, r"momentum=0\.5 has no effect with \w+.optimizer=adamw, whose betas"),
    ],
)
def test_senseless_settings_are_refused(more, message):
    for make, part in ((Recipe, "trainer"), (SupernetRecipe, "supernet")):
        with pytest.raises(UsageError, match=rf"{part}\.{message}"):
            make(epochs=3, **more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"optimizer": "adamw"}, "supernet.optimizer=adamw: a supernet is trained by SGD; set it to sgd"),
        ({"warmup_epochs": 1}, "supernet.warmup_epochs=1: a supernet does not support it; set it to 0"),
        ({"mixup": 0.2}, "supernet.mixup=0.2: a supernet does not support it; set it to 0"),
        ({"cutmix": 1}, "supernet.cutmix=1: a supernet does not support it; set it to 0"),
    ],
)
def test_a_supernet_is_trained_as_before(more, message):
    with pytest.raises(UsageError, match=message):
        SupernetRecipe(epochs=3, **more)


def test_neutral_values_change_no_protocol_and_adamw_records_only_its_own_settings():
    plain = Recipe(epochs=3).protocol()
    assert Recipe(epochs=3, **NEUTRAL_SETTINGS).protocol() == plain
    assert not NEUTRAL_SETTINGS.keys() & plain.keys()
    adamw = Recipe(epochs=3, optimizer="adamw", nesterov=False).protocol()
    assert adamw == Recipe(epochs=3, optimizer="adamw").protocol()
    assert adamw["optimizer"] == "adamw"
    assert not {"momentum", "nesterov"} & adamw.keys()


def test_the_recipe_of_deit_is_the_published_one():
    """Touvron et al. 2021, table 9: a learning rate of 0.0005 * batch / 512."""
    recipe = compose("retrain", ["trainer=deit"]).make("trainer")
    published = {"epochs": 300, "optimizer": "adamw", "weight_decay": 0.05, "warmup_epochs": 5, "label_smoothing": 0.1}
    published |= {"mixup": 0.8, "cutmix": 1.0, "grad_clip": None, "lr": 0.0005 * recipe.batch_size / 512}
    assert {key: getattr(recipe, key) for key in published} == published
