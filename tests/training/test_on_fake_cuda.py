"""Training on CUDA devices that are not there (see `fake_cuda`): each precision, and each command with a device."""

import json
import math

import pytest
import torch
from conftest import ARCH
from fake_cuda import fake_cuda

from nas import UsageError
from nas.core import Task
from nas.data.digits import Digits
from nas.data.images import Images
from nas.studies.tabulation import Trainer, Training
from nas.training.device import PeakMemory, configured, resolve_device
from nas.training.fit import Best, fit
from nas.training.recipe import Recipe
from search_spaces.darts import DARTS
from search_spaces.nasbench201 import NASBench201

SECOND_DEVICE = "cuda:1"
TASK = Task(3, 8, 8, 3)
TINY_SETTINGS = [
    "data=digits",
    "trainer.epochs=1",
    "trainer.batch_size=16",
    "trainer.train_images=32",
    "trainer.valid_images=32",
    "trainer.network={channels: 2, cells: 1}",
]


class Killed(Exception):
    pass


class Memory:
    """Saves the last state of a training to a file and loads it."""

    def __init__(self, path, stop_after=None):
        self.path, self.stop_after, self.saves = path, stop_after, 0

    def restore(self):
        return torch.load(self.path, map_location="cpu", weights_only=True) if self.path.exists() else None

    def save(self, state):
        torch.save(state(), self.path)
        self.saves += 1
        if self.saves == self.stop_after:
            raise Killed


def images(count):
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), generator=rng, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 3, (0.5,) * 3, (0.25,) * 3)


def trained(network, recipe, device, checkpointer=None, best=None):
    target, curve = resolve_device(device), []
    with configured(target, recipe):
        fit(
            network.to(target),
            images(12).to(target),
            images(9).to(target),
            recipe,
            seed=3,
            report=curve.append,
            checkpointer=checkpointer,
            best=best,
        )
    return curve


def cell():
    torch.manual_seed(0)
    return NASBench201(2, 1).build((3, 1, 2, 4, 0, 3), TASK)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_on_cuda_resumes_and_has_the_numbers_of_the_cpu(precision, tmp_path):
    settings = {"ema": 0.9, "label_smoothing": 0.1, "grad_clip": 1.0, "cutout": 0.25}
    recipe = Recipe(epochs=2, batch_size=6, lr=0.05, precision=precision, threads=1, **settings)
    expected = trained(cell(), recipe, "cpu")
    path = tmp_path / "kept.pt"
    with fake_cuda(count=2, only=1):
        with pytest.raises(Killed):
            trained(cell(), recipe, SECOND_DEVICE, Memory(path, stop_after=1), Best())
        best = Best()
        found = trained(cell(), recipe, SECOND_DEVICE, Memory(path), best)
    assert len(found) == len(expected) == 2
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4 if precision != "bf16" else 0.05)
    assert best.epoch in (1, 2)
    assert {tensor.device.type for tensor in best.state.values()} == {"cpu"}


def test_paths_are_dropped_and_an_auxiliary_head_is_trained_on_cuda():
    space = DARTS()
    sizes = {"channels": 2, "cells": 3, "auxiliary": True}
    recipe = Recipe(epochs=1, batch_size=6, drop_path=0.3, auxiliary_weight=0.4, threads=1)
    torch.manual_seed(0)
    with fake_cuda(count=2, only=1):
        (metrics,) = trained(space.build(space.from_text("DARTS_V2"), Task(3, 32, 32, 3), sizes), recipe, SECOND_DEVICE)
    assert all(math.isfinite(value) for value in metrics.values())


def test_peak_memory_can_be_read_before_anything_was_on_the_device():
    with fake_cuda(count=2, only=1):
        assert PeakMemory(torch.device(SECOND_DEVICE)).mebibytes() > 0


def test_the_device_of_a_training_is_the_current_one_within():
    with fake_cuda(count=3) as cuda:
        with configured(torch.device("cuda:2"), Recipe(epochs=1)):
            assert cuda.current == 2
        assert cuda.current == 0


@pytest.mark.parametrize(
    ("count", "text", "named"),
    [
        (0, "cuda", "this machine has no CUDA device"),
        (0, "cuda:1", "this machine has no CUDA device"),
        (1, "cuda:1", "this machine has 1 CUDA device, cuda:0"),
        (3, "cuda:3", "this machine has 3 CUDA devices, cuda:0 to cuda:2"),
        (3, "cuda:-1", "device must be auto, cpu, cuda or cuda:N, got 'cuda:-1'"),
        (3, "cuda:", "device must be auto, cpu, cuda or cuda:N, got 'cuda:'"),
        (3, "cuda:x", "device must be auto, cpu, cuda or cuda:N, got 'cuda:x'"),
        (3, "gpu", "device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
    ],
)
def test_a_device_that_does_not_exist_is_named_with_the_existing_ones(count, text, named):
    with fake_cuda(count), pytest.raises(UsageError, match=named):
        resolve_device(text)


def test_auto_and_cuda_are_the_first_device():
    with fake_cuda(2):
        assert str(resolve_device("auto")) == str(resolve_device("cuda")) == "cuda:0"


def test_a_table_is_trained_on_the_device_that_it_is_given():
    space = NASBench201(2, 1)
    recipe = Recipe(epochs=1, batch_size=16, train_images=32, valid_images=32, threads=1)
    training = Training((3, 1, 2, 4, 0, 3), "text", "key", repeat=0, seed=1)
    with fake_cuda(count=2, only=1):
        found = Trainer(space, Digits(), recipe, SECOND_DEVICE)(training)
    assert "failed" not in found
    assert 0 <= found["test_accuracy"] <= 1


COMMANDS = {
    "search": ["search", *TINY_SETTINGS, "strategy=random", "budget.trials=1", "run=one", "format=json"],
    "retrain": ["retrain", f"arch={ARCH}", *TINY_SETTINGS, "format=json"],
    "tabulate": ["tabulate", *TINY_SETTINGS, "executor=inline", "seeds=1", "out=t.csv"],
    "describe": ["describe", f"arch={ARCH}", "format=json"],
}


@pytest.mark.parametrize("command", ["search", "retrain", "describe"])
def test_commands_compute_on_the_device_that_they_are_given(command, nas):
    with fake_cuda(count=2, only=1) as cuda:
        done = nas(*COMMANDS[command], f"device={SECOND_DEVICE}")
    assert done.returncode == 0, done.stderr
    assert cuda.initialised
    assert json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_a_device_that_does_not_exist(command, nas):
    with fake_cuda(count=1):
        done = nas(*COMMANDS[command], "device=cuda:1")
    assert done.returncode == 2
    assert "device=cuda:1: this machine has 1 CUDA device, cuda:0" in done.stderr
