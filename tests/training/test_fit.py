import copy
import math

import pytest
import torch
from torch import nn

from nas.core import Task
from nas.data.digits import Digits
from nas.data.images import Images
from nas.errors import UsageError, UserError
from nas.space.network import SupportsAuxiliaryHead, SupportsDropPath
from nas.training import count
from nas.training.device import PeakMemory, configured, resolve_device
from nas.training.fit import TrainingFailed, batches, evaluate, fit
from nas.training.recipe import Recipe
from search_spaces.darts import DARTS


@pytest.fixture(scope="module")
def digits():
    return Digits().split()


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def trained(digits, recipe, seed=0):
    curve, network = [], linear()
    metrics = fit(network, digits.train, digits.valid, recipe, seed=seed, report=curve.append)
    return network, metrics, curve


def test_a_linear_model_learns_the_digits(digits):
    network, metrics, curve = trained(digits, Recipe(epochs=5, batch_size=32, lr=0.05, crop=0.0))
    assert metrics["valid_accuracy"] > 0.9
    assert len(curve) == 5
    assert curve[-1] == metrics
    assert evaluate(network, digits.valid, Recipe(epochs=1))[0] == metrics["valid_accuracy"]


def test_a_seed_repeats_bit_for_bit_and_another_differs(digits):
    recipe = Recipe(epochs=2, batch_size=32, lr=0.05)
    (_, first, _), (_, again, _), (_, other, _) = (trained(digits, recipe, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_schedule_is_a_cosine_over_all_steps():
    recipe = Recipe(epochs=1, lr=0.1, lr_min=0.02)
    assert recipe.learning_rate(0.0) == pytest.approx(0.1)
    assert recipe.learning_rate(0.5) == pytest.approx(0.06)
    assert recipe.learning_rate(1.0) == pytest.approx(0.02)


def test_one_step_is_nesterov_sgd_with_weight_decay(digits):
    """Worked out by hand from torch's documented update: g + wd w, v = g', step = g' + m v."""
    recipe = Recipe(epochs=1, batch_size=4, lr=0.1, crop=0.0, flip=False, weight_decay=0.1, momentum=0.9)
    part = digits.train.first(4)
    network = linear()
    before = [p.detach().clone() for p in network.parameters()]
    x = (part.pixels / 255 - part.mean[0]) / part.std[0]
    loss = nn.functional.cross_entropy(network(x), part.labels)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    fit(network, part, None, recipe, seed=0, report=lambda metrics: None)
    for now, old, gradient in zip(network.parameters(), before, gradients, strict=True):
        decayed = gradient + 0.1 * old
        assert torch.allclose(now, old - 0.1 * (decayed + 0.9 * decayed), atol=1e-6)


def test_a_loss_that_is_not_finite_ends_the_training_with_what_to_try(digits):
    with pytest.raises(TrainingFailed, match=r"became (inf|nan) in epoch 1 of 3 .*Try trainer.lr=1e\+29") as error:
        trained(digits, Recipe(epochs=3, lr=1e30))
    assert error.value.kind == "not_finite"


def test_the_time_limit_ends_the_training(digits):
    with pytest.raises(TrainingFailed, match=r"trainer.time_limit=1e-06 s in epoch 1 of 3") as error:
        trained(digits, Recipe(epochs=3, time_limit=1e-6))
    assert error.value.kind == "time_limit"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_exhausted_memory_is_distinguished_from_other_errors(digits, error):
    class Hungry(nn.Module):
        def __init__(self, error):
            super().__init__()
            self.layer = nn.Linear(64, 10)
            self.error = error

        def forward(self, x):
            raise self.error

    with pytest.raises(TrainingFailed, match=r"Try a smaller trainer.batch_size") as failure:
        fit(Hungry(error), digits.train, None, Recipe(epochs=1), seed=0, report=lambda metrics: None)
    assert failure.value.kind == "out_of_memory"
    with pytest.raises(RuntimeError, match=r"a mistake of mine"):
        fit(Hungry(RuntimeError("a mistake of mine")), digits.train, None, Recipe(epochs=1), seed=0, report=print)


def test_a_real_allocation_that_cannot_be_met_is_out_of_memory(digits):
    class Huge(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, x):
            return torch.empty(2**50)

    with pytest.raises(TrainingFailed, match=r"out of memory"):
        fit(Huge(), digits.train, None, Recipe(epochs=1), seed=0, report=lambda metrics: None)


def test_a_last_batch_of_one_image_is_left_out():
    assert list(batches(10, 4)) == [(0, 4), (4, 8), (8, 10)]
    assert list(batches(9, 4)) == [(0, 4), (4, 8)]


def test_bf16_trains_to_about_the_same(digits):
    _, metrics, _ = trained(digits, Recipe(epochs=3, batch_size=32, lr=0.05, precision="bf16"))
    _, exact, _ = trained(digits, Recipe(epochs=3, batch_size=32, lr=0.05))
    assert metrics["valid_accuracy"] == pytest.approx(exact["valid_accuracy"], abs=0.05)
    assert metrics["train_loss"] != exact["train_loss"]


def test_memory_formats_agree(digits):
    results = []
    for channels_last in (True, False):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
        recipe = Recipe(epochs=1, batch_size=32, lr=0.05, channels_last=channels_last)
        results.append(fit(network, digits.train, digits.valid, recipe, seed=0, report=lambda metrics: None))
    assert results[0]["train_loss"] == pytest.approx(results[1]["train_loss"], rel=1e-4)


def test_settings_of_the_process_are_restored():
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    with configured(torch.device("cpu"), Recipe(epochs=1, threads=before[0] + 1)):
        assert torch.get_num_threads() == before[0] + 1
        assert torch.are_deterministic_algorithms_enabled()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_peak_memory_sees_an_allocation_that_is_gone():
    memory = PeakMemory(torch.device("cpu"))
    start = memory.mebibytes()
    block = torch.ones(500 * 2**18)  # 500 MiB, more than the process can have lying about
    del block
    assert memory.mebibytes() - start > 400


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:99", "", "cpu:1"])
def test_devices_that_are_not_there_are_refused(device):
    with pytest.raises(UsageError, match=r"device"):
        resolve_device(device)


def test_flops_are_multiply_accumulates():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(8 * 16, 5))
    assert count.flops(network, Task(3, 4, 4, 5)) == 16 * 8 * 27 + 8 * 16 * 5
    assert count.parameters(network) == 8 * 27 + 8 * 16 * 5 + 5
    assert network.training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "trainer.epochs must be a whole number of at least 1, got 0"),
        ({"epochs": 1, "lr": -1}, "trainer.lr must be a number above 0, got -1"),
        ({"epochs": 1, "lr": math.nan}, "trainer.lr must be a number above 0, got nan"),
        ({"epochs": 1, "lr_min": 0.5}, "trainer.lr_min must be a number of at least 0 and at most 0.1, got 0.5"),
        ({"epochs": 1, "precision": "fp8"}, "trainer.precision must be one of fp32, tf32, bf16, got 'fp8'"),
        ({"epochs": 1, "flip": "yes"}, "trainer.flip must be true or false, got 'yes'"),
        ({"epochs": 1, "momentum": 0}, "trainer.nesterov=true needs trainer.momentum above 0"),
        ({"epochs": 1, "batch_size": 1}, "trainer.batch_size must be a whole number of at least 2, got 1"),
        ({"epochs": 1, "threads": 10**6}, "trainer.threads must be a whole number of at least 1 and at most 1024"),
        ({"epochs": 1, "network": 8}, "trainer.network must be a mapping"),
        ({"epochs": 1, "train_images": 0}, "trainer.train_images must be a whole number of at least 2, got 0"),
    ],
)
def test_senseless_recipes_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Recipe(**settings)


def test_labels_and_images_stay_together(digits):
    part = digits.train.take(torch.tensor([5, 3]))
    assert isinstance(part, Images)
    assert part.labels.tolist() == [digits.train.labels[5].item(), digits.train.labels[3].item()]


CELLS = {"channels": 4, "cells": 3}


def cells(auxiliary):

    space = DARTS()
    return space.build(space.from_text("DARTS_V1"), Task(1, 8, 8, 10), {**CELLS, "auxiliary": auxiliary})


def test_drop_path_rises_linearly_and_the_auxiliary_loss_counts():
    images = Digits().split().train.first(64)
    network, seen = cells(auxiliary=True), []
    recipe = Recipe(epochs=4, batch_size=64, drop_path=0.2, auxiliary_weight=0.4, threads=1)
    fit(network, images, None, recipe, seed=0, report=lambda _metrics: seen.append(network.drop_path))
    assert seen == pytest.approx([0.0, 0.05, 0.1, 0.15])
    assert network.auxiliary.classifier.weight.grad is not None


@pytest.mark.parametrize(
    ("auxiliary", "more", "message"),
    [
        (True, {}, "has an auxiliary head"),
        (False, {"auxiliary_weight": 0.4}, "has no auxiliary head"),
    ],
)
def test_a_recipe_and_a_network_that_do_not_fit_are_reported(auxiliary, more, message):
    images = Digits().split().train.first(64)
    with pytest.raises(UsageError, match=message):
        fit(cells(auxiliary), images, None, Recipe(epochs=1, **more), seed=0, report=lambda _metrics: None)


class MemoryCheckpointer:
    """Saves the state in memory, and kills the training after this many epochs."""

    def __init__(self, killed_after=None):
        self.state, self.killed_after, self.epochs = None, killed_after, 0

    def restore(self):
        return self.state

    def save(self, state):
        self.state = copy.deepcopy(state())
        self.epochs += 1
        if self.epochs == self.killed_after:
            raise KeyboardInterrupt


def test_a_killed_training_resumes_to_the_same_network():
    """With random crops, drop-path and an auxiliary head, so that all its random numbers are in it."""
    data = Digits()
    images = data.split().train.first(30)
    space = DARTS(channels=4, cells=3, auxiliary=True)
    recipe = Recipe(epochs=3, batch_size=15, lr=0.05, drop_path=0.5, auxiliary_weight=0.4, cutout=0.25)

    def run(checkpointer, curve):
        torch.manual_seed(0)
        network = space.build(space.from_text("DARTS_V2"), data.task)
        return network, fit(network, images, images, recipe, seed=1, report=curve.append, checkpointer=checkpointer)

    whole, parts, killed = [], [], MemoryCheckpointer(killed_after=2)
    expected, metrics = run(MemoryCheckpointer(), whole)
    with pytest.raises(KeyboardInterrupt):
        run(killed, [])
    network, again = run(killed, parts)
    assert parts == whole
    assert again == metrics
    for name, tensor in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name
    finished, _ = run(killed, [])  # no epoch is left
    assert torch.equal(finished.classifier.weight, network.classifier.weight)


def test_a_saved_state_of_another_network_is_refused(digits):
    checkpointer = MemoryCheckpointer()
    checkpointer.state = {"network": {"weight": torch.zeros(3)}}
    with pytest.raises(UserError, match="does not fit it"):
        fit(linear(), digits.train, None, Recipe(epochs=1), seed=0, report=print, checkpointer=checkpointer)


def test_drop_path_needs_a_network_that_drops_paths():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    with pytest.raises(UsageError, match="do not support drop-path"):
        fit(network, Digits().split().train, None, Recipe(epochs=1, drop_path=0.2), seed=0, report=lambda _m: None)


class OfAStranger(nn.Module):
    """Attributes that are called like ours and mean something else."""

    def __init__(self):
        super().__init__()
        self.drop_path = nn.Dropout(0.1)
        self.auxiliary = False
        self.layer = nn.Linear(64, 10)

    def forward(self, images):
        return self.layer(self.drop_path(images.flatten(1)))


def test_attributes_of_a_users_network_are_not_mistaken_for_ours():
    network, images = OfAStranger(), Digits().split().train.first(64)
    assert count.parameters(network) == 650
    fit(network, images, None, Recipe(epochs=1), seed=0, report=lambda _m: None)
    assert isinstance(network.drop_path, nn.Dropout)
    with pytest.raises(
        UsageError, match=r"do not support drop-path \(they do not derive from nas.space.SupportsDropPath\)"
    ):
        fit(network, images, None, Recipe(epochs=1, drop_path=0.1), seed=0, report=lambda _m: None)


def test_a_users_network_may_state_that_it_drops_paths_and_has_a_head():
    class Stating(nn.Module, SupportsDropPath, SupportsAuxiliaryHead):
        def __init__(self):
            super().__init__()
            self.drop_path = 0.0
            self.layer, self.auxiliary = nn.Linear(64, 10), nn.Linear(64, 10)

        def forward(self, images):
            x = images.flatten(1)
            return (self.layer(x), self.auxiliary(x)) if self.training else self.layer(x)

    network, images = Stating(), Digits().split().train.first(64)
    assert count.parameters(network) == 650
    recipe = Recipe(epochs=2, drop_path=0.2, auxiliary_weight=0.4)
    fit(network, images, None, recipe, seed=0, report=lambda _m: None)
    assert network.drop_path == pytest.approx(0.1)
    assert network.auxiliary.weight.grad is not None


def test_a_drop_path_that_is_stated_must_be_a_number():
    class Wrong(OfAStranger, SupportsDropPath):
        pass

    with pytest.raises(UsageError, match="its drop_path must be a number, got Dropout"):
        fit(Wrong(), Digits().split().train.first(64), None, Recipe(epochs=1), seed=0, report=lambda _m: None)


def test_an_auxiliary_head_is_not_counted():
    assert count.parameters(cells(auxiliary=True)) == count.parameters(cells(auxiliary=False))
