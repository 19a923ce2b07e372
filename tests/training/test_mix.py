"""Mixup and CutMix: mixed images and labels worked out by hand, and what they leave as it was."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from test_fit import linear
from torch import nn

from nas.data.digits import Digits
from nas.errors import UsageError
from nas.space.network import SupportsAuxiliaryHead
from nas.store.memory import MemoryStore
from nas.studies.retraining import TrainingJob, retrain
from nas.supernets.recipe import SupernetRecipe
from nas.training.fit import fit
from nas.training.mix import Mix, Mixer
from nas.training.recipe import Recipe

PARTNER = torch.tensor([1, 2, 0])
PLAIN_IMAGES = {"crop": 0.0, "flip": False, "threads": 1}


@pytest.fixture(scope="module")
def digits():
    return Digits().split()


def batch():
    """(3, 1, 4, 4) in channels-last memory: image i is i + 1 everywhere."""
    return (torch.arange(3.0) + 1)[:, None, None, None].expand(3, 4, 4, 1).contiguous().permute(0, 3, 1, 2)


def test_mixup_is_a_convex_combination():
    images = batch()
    mixed = Mix(PARTNER, 0.75).images(images)
    assert mixed[:, 0, 0, 0].tolist() == pytest.approx([0.75 + 0.5, 1.5 + 0.75, 2.25 + 0.25])
    assert torch.equal(mixed, mixed[:, :1, :1, :1].expand(3, 1, 4, 4))
    assert torch.equal(images, batch())
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("row", "column", "rows", "columns", "share"),
    [
        (2, 2, (1, 3), (1, 3), 1 - 4 / 16),
        (0, 2, (0, 1), (1, 3), 1 - 2 / 16),  # clipped above
        (0, 0, (0, 1), (0, 1), 1 - 1 / 16),
        (3, 3, (2, 4), (2, 4), 1 - 4 / 16),
    ],
)
def test_cutmix_pastes_a_clipped_box_and_corrects_its_share(row, column, rows, columns, share):
    """lambda 0.75: a box of 1/4 of the area, so 2 of 4 pixels a side."""
    mix = Mixer(0.0, 1.0, 4, 4).cut(PARTNER, 0.75, row, column)
    expected = batch()[:, 0]
    expected[:, slice(*rows), slice(*columns)] = torch.tensor([2.0, 3.0, 1.0])[:, None, None]
    images = batch()
    mixed = mix.images(images)
    assert torch.equal(mixed[:, 0], expected)
    assert mix.share == share
    assert torch.equal(images, batch())
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("share", "left"), [(1.0, 1.0), (0.0, 0.0)])
def test_cutmix_at_its_ends(share, left):
    assert Mixer(0.0, 1.0, 4, 4).cut(PARTNER, share, 2, 2).share == left


def drawn(mixer, sizes, seed=0):
    return mixer.draw(sizes, torch.Generator().manual_seed(seed), torch.device("cpu"))


def test_draws_repeat_and_stay_within_their_batch():
    mixer = Mixer(0.2, 1.0, 8, 8)
    first, again, other = (drawn(mixer, [5, 5, 3], seed) for seed in (1, 1, 2))
    assert [mix.partner.sort().values.tolist() for mix in first] == [[*range(5)], [*range(5)], [*range(3)]]
    assert [mix.share for mix in first] == [mix.share for mix in again] != [mix.share for mix in other]
    assert all(torch.equal(a.partner, b.partner) for a, b in zip(first, again, strict=True))


def test_shares_are_those_of_the_beta_distribution():
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)): 0.1786 for 0.2, 1/12 for 1."""
    for alpha, variance in ((0.2, 0.25 / 1.4), (1.0, 1 / 12)):
        shares = np.array([mix.share for mix in drawn(Mixer(alpha, 0.0, 8, 8), [2] * 4000)])
        assert shares.mean() == pytest.approx(0.5, abs=0.03)
        assert shares.var() == pytest.approx(variance, abs=0.01)


def test_with_both_half_of_the_batches_are_cut():
    boxes = [mix.box is not None for mix in drawn(Mixer(1.0, 1.0, 8, 8), [2] * 1000)]
    assert 420 < sum(boxes) < 580
    assert all(mix.box is not None for mix in drawn(Mixer(0.0, 1.0, 8, 8), [2] * 50))
    assert all(mix.box is None for mix in drawn(Mixer(1.0, 0.0, 8, 8), [2] * 50))


def test_without_mixing_the_generator_is_not_touched():
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    assert Mixer(0.0, 0.0, 8, 8).draw([4, 4], generator, torch.device("cpu")) == [None, None]
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("kind", [{"mixup": 0.4}, {"cutmix": 1.0}])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_the_mixed_label(digits, monkeypatch, kind, smoothing):
    """A linear layer of zeros but for its bias has the same logits for every image, so only the targets differ."""
    part, mixes = digits.train.first(6), []
    own = Mixer.draw
    monkeypatch.setattr(Mixer, "draw", lambda *args: mixes.extend(own(*args)) or mixes)
    network = linear()
    with torch.no_grad():
        network[1].weight.zero_()
    bias = network[1].bias.detach().clone()
    recipe = Recipe(epochs=1, batch_size=6, label_smoothing=smoothing, **kind, **PLAIN_IMAGES)
    metrics = fit(network, part, None, recipe, seed=5, report=lambda _: None)
    (mix,) = mixes
    order = torch.randperm(6, generator=torch.Generator().manual_seed(5))
    labels = F.one_hot(part.labels[order], 10).float()
    target = mix.share * labels + (1 - mix.share) * labels[mix.partner]
    target = (1 - smoothing) * target + smoothing / 10
    expected = -(target * bias.log_softmax(0)).sum(1).mean()
    assert 0 < mix.share < 1
    assert metrics["train_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_one_step_with_mixup_is_that_of_the_mixed_batch(digits, monkeypatch):
    part, mix = digits.train.first(4), Mix(torch.tensor([3, 2, 1, 0]), 0.7)
    monkeypatch.setattr(Mixer, "draw", lambda *_: [mix])
    network = linear()
    before = [p.detach().clone() for p in network.parameters()]
    order = torch.randperm(4, generator=torch.Generator().manual_seed(0))
    x = ((part.pixels / 255 - part.mean[0]) / part.std[0])[order]
    y = F.one_hot(part.labels[order], 10).float()
    loss = F.cross_entropy(network(0.7 * x + 0.3 * x.flip(0)), 0.7 * y + 0.3 * y.flip(0))
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    recipe = Recipe(
        epochs=1, batch_size=4, lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.0, mixup=1.0, **PLAIN_IMAGES
    )
    metrics = fit(network, part, None, recipe, seed=0, report=lambda _: None)
    assert metrics["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
    for now, old, gradient in zip(network.parameters(), before, gradients, strict=True):
        assert torch.allclose(now, old - 0.1 * gradient, atol=1e-6)


class Headed(nn.Module, SupportsAuxiliaryHead):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.classifier, self.auxiliary = nn.Linear(8, 10), nn.Linear(8, 10)

    def forward(self, images):
        x = self.stem(images).relu().mean((2, 3))
        return (self.classifier(x), self.auxiliary(x)) if self.training else self.classifier(x)


def test_an_auxiliary_head_memory_formats_and_precisions_go_with_mixing(digits):
    def loss(**more):
        torch.manual_seed(0)
        network = Headed()
        recipe = Recipe(epochs=1, batch_size=20, lr=0.01, label_smoothing=0.1, mixup=0.2, cutmix=1.0, threads=1,
                        auxiliary_weight=0.4, **more)  # fmt: skip
        metrics = fit(network, digits.train.first(40), None, recipe, seed=0, report=lambda _: None)
        assert network.auxiliary.weight.grad.abs().sum() > 0
        return metrics["train_loss"]

    plain = loss()
    assert plain == pytest.approx(1.4 * 2.303, rel=0.1)  # both heads begin at about log 10
    assert loss(channels_last=False) == pytest.approx(plain, rel=1e-5)
    assert loss(precision="bf16") == pytest.approx(plain, rel=1e-2)


def test_a_killed_retraining_of_all_new_settings_ends_as_an_uninterrupted_one(toy_space, tmp_path):
    recipe = Recipe(
        epochs=5, batch_size=32, lr=0.003, optimizer="adamw", weight_decay=0.05, warmup_epochs=3, mixup=0.4, cutmix=1.0,
        ema=0.9, train_images=130, valid_images=100, threads=1,
    )  # fmt: skip

    def run(name, killed_after=None):
        curve = []

        def report(metrics):
            curve.append(dict(metrics))
            if len(curve) == killed_after:
                raise KeyboardInterrupt

        folder = tmp_path / name
        job = TrainingJob(toy_space, "toy", (0,) * 6, Digits(), recipe, validate=True)
        result, _ = retrain(job, MemoryStore(), lambda _: folder, report)
        return result.metrics, curve, [load_file(folder / f"{which}.safetensors") for which in ("model", "best")]

    metrics, curve, states = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("killed", killed_after=2)  # within the warm-up
    assert (tmp_path / "killed.partial.pt").exists()
    same, parts, again = run("killed")
    assert (same, parts) == (metrics, curve)
    for mine, theirs in zip(states, again, strict=True):
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixup": -0.1}, r"mixup must be a number of at least 0 and at most 1000, got -0\.1"),
        ({"mixup": float("nan")}, r"mixup must be a number of at least 0 and at most 1000, got nan"),
        ({"cutmix": "yes"}, r"cutmix must be a number of at least 0 and at most 1000, got 'yes'"),
        ({"cutmix": True}, r"cutmix must be a number of at least 0 and at most 1000, got True"),
        ({"cutmix": 1e9}, r"cutmix must be a number of at least 0 and at most 1000, got 1000000000\.0"),
    ],
)
def test_senseless_values_are_refused(settings, message):
    for make, part in ((Recipe, "trainer"), (SupernetRecipe, "supernet")):
        with pytest.raises(UsageError, match=rf"{part}\.{message}"):
            make(epochs=3, **settings)


def test_a_whole_number_is_the_same_training():
    assert repr(Recipe(epochs=1, mixup=1).protocol()) == repr(Recipe(epochs=1, mixup=1.0).protocol())
