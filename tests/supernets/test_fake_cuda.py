"""Supernets on simulated CUDA devices (see `fake_cuda`): every strategy on every space with one.

All of it runs on the second of two devices, and a look at the first fails.
"""

import gc
import math
import re
import warnings
import weakref
from functools import partial
from importlib import import_module, resources
from types import MappingProxyType

import numpy as np
import pytest
import torch
from fake_cuda import FREE, GIB, fake_cuda
from omegaconf import OmegaConf
from relaxed import Planted, Signs

from nas import Budget, UserError, search
from nas.core import Objective, Task
from nas.data.base import DataSet
from nas.data.images import Images
from nas.discretization.perturbation import Perturbation
from nas.evaluators.shared_weights import SharedWeights
from nas.strategies.darts import DARTS as DARTSStrategy
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.lstm_controller import LSTMController
from nas.strategies.pc_darts import PCDARTS
from nas.strategies.random import RandomSearch
from nas.supernets import gradient
from nas.supernets.gradient import GradientSearch
from nas.supernets.graphs import GraphStep
from nas.supernets.health import dominant_eigenvalue
from nas.supernets.memory_estimate import free_memory, need
from nas.supernets.recipe import SupernetRecipe
from search_spaces.darts import DARTS
from search_spaces.nasbench201 import NASBench201

SECOND_DEVICE = "cuda:1"
SPACES = MappingProxyType({"nasbench201": (NASBench201, 1), "darts": (DARTS, 3)})
"""Spaces with a supernet, and the fewest cells that include every kind of cell."""
QUICK_RECIPE = {"batch_size": 6, "train_images": 6, "valid_images": 6, "lr": 0.025, "nesterov": False, "threads": 1}


class Small(DataSet):
    """Noise of 8x8 pixels in three classes."""

    name = "small"
    task = Task(channels=3, height=8, width=8, classes=3)

    def __init__(self) -> None:
        super().__init__(0.5, 0)

    def read_train(self) -> Images:
        rng = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (48, 3, 8, 8), generator=rng, dtype=torch.uint8)
        return Images(pixels, torch.arange(48) % 3, (0.5,) * 3, (0.25,) * 3)

    def read_test(self) -> Images:
        return self.read_train()


class Killed(Exception):
    pass


def gradient_strategies():
    """Names of all strategies that search on a supernet, with their classes."""
    classes = {}
    for file in sorted((resources.files("configs") / "strategy").iterdir(), key=lambda file: file.name):
        config = OmegaConf.load(str(file))
        if any(
            "override /supernet@_global_.supernet" in part for part in config.get("defaults", []) if part != "_self_"
        ):
            module, _, name = config._target_.rpartition(".")
            classes[file.name.removesuffix(".yaml")] = getattr(import_module(module), name)
    return classes


STRATEGIES = gradient_strategies()
VARIANTS = [*STRATEGIES, "darts second order", "drnas partial channels"]


def strategy_of(variant, space, **more):
    name, _, option = variant.partition(" ")
    options = {
        "second order": {"order": "second"},
        "partial channels": {"partial_channels": 2},
        "": {},
    }[option] | more
    if name == "pc_darts":
        options["warmup"] = 0
    return STRATEGIES[name](space=space, objective=Objective(), **{"epochs": 2} | options)


def recipe_of(cells, **more):
    return SupernetRecipe(epochs=1, **QUICK_RECIPE | {"network": {"channels": 4, "cells": cells}} | more)


def test_all_published_strategies_are_covered():
    assert {"darts", "drnas", "gdas", "pc_darts"} <= set(STRATEGIES)


def check(result, watched):
    assert all(math.isfinite(value) for metrics in result.curve for value in metrics.values())
    assert all(("alpha_eigenvalue" in metrics) == bool(watched) for metrics in result.curve)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_gradient_search_runs_on_cuda_and_resumes(variant, tmp_path, monkeypatch):
    monkeypatch.setattr(gradient, "dominant_eigenvalue", partial(dominant_eigenvalue, iterations=1))
    space, watched = NASBench201(), {"eigenvalue": True} if variant == "darts" else {}

    def searched(report):
        work = GradientSearch(space, Small(), recipe_of(1), tmp_path)
        return work(strategy_of(variant, space, **watched), 0, 5, SECOND_DEVICE, report)

    def die(_epochs, curve):
        if len(curve) == 1:
            raise Killed

    with fake_cuda(count=2, only=1):
        with pytest.raises(Killed):
            searched(die)
        seen = []
        result = searched(lambda _epochs, curve: seen.append(len(curve)))
    assert seen == [1, 2]
    assert space.is_valid(result.architecture)
    check(result, watched)


# what is not slow runs the most of a supernet: partial channels and weights of edges; shared weights run sampled paths
@pytest.mark.parametrize("variant", [pytest.param(v, marks=[pytest.mark.slow] * (v != "pc_darts")) for v in VARIANTS])
def test_every_gradient_search_runs_on_cuda_on_the_larger_space(variant):
    space, cells = DARTS(), SPACES["darts"][1]
    work = GradientSearch(space, Small(), recipe_of(cells))
    with fake_cuda(count=2, only=1):
        result = work(strategy_of(variant, space, epochs=1), 0, 5, SECOND_DEVICE, lambda *_: None)
    assert space.is_valid(result.architecture)
    check(result, {})


@pytest.mark.parametrize("variant", ["darts", "darts second order", "pc_darts"])
def test_a_step_runs_as_a_graph_with_the_numbers_of_the_cpu(variant):
    """Without the warning that it cannot be: nothing in it looks at the device or copies from the host."""
    space = Planted()
    recipe = SupernetRecipe(epochs=1, batch_size=32, train_images=192, lr=0.1, nesterov=False, flip=False, threads=1)
    options = {"partial_channels": 1} if variant == "pc_darts" else {}

    def searched(device):
        return GradientSearch(space, Signs(), recipe)(
            strategy_of(variant, space, **options), 0, 5, device, lambda *_: None
        )

    expected = searched("cpu")
    with fake_cuda(count=2, only=1) as cuda, warnings.catch_warnings():
        warnings.simplefilter("error")
        result = searched(SECOND_DEVICE)
    # of six steps an epoch two are ordinary, then the step is recorded and its graph runs four times
    assert (cuda.captures, cuda.replays) == (2, 8)
    for ours, theirs in zip(result.curve, expected.curve, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert result.architecture == expected.architecture


def test_a_step_that_copies_from_the_host_does_not_run_as_a_graph_and_says_so():
    class Copying(DARTSStrategy):
        def probs(self, rng):
            ones = torch.ones(4)
            return {name: rows * ones.to(rows.device) for name, rows in super().probs(rng).items()}

    space = Planted()
    strategy = Copying(space=space, objective=Objective(), epochs=1)
    recipe = SupernetRecipe(epochs=1, batch_size=32, train_images=128, nesterov=False, threads=1)
    with fake_cuda() as cuda, pytest.warns(UserWarning, match="does not run as a CUDA graph .*capturing"):
        GradientSearch(space, Signs(), recipe)(strategy, 0, 5, "cuda", lambda *_: None)
    assert cuda.replays == 0


def test_a_step_is_recorded_on_the_device_of_its_batch():
    """Whichever device is current outside: a graph belongs to the current one."""
    with fake_cuda(count=2, only=1) as cuda:
        total = torch.zeros((), device=SECOND_DEVICE)
        batch = torch.ones(2, 1, device=SECOND_DEVICE), torch.zeros(2, device=SECOND_DEVICE)
        step = GraphStep(lambda train, valid: total.add_(train[0].sum()).clone(), 2)
        result = [float(step(batch, batch)) for _ in range(5)]
    assert result == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert (cuda.captures, cuda.replays, cuda.current) == (1, 3, 0)


def test_the_memory_of_a_finished_search_is_free_at_once(monkeypatch):
    """Without the garbage collector, that is: nothing refers to itself in a circle."""
    supernets = []

    class Watched(gradient.Weights):
        def __init__(self, *args, **more):
            super().__init__(*args, **more)
            supernets.append(weakref.ref(self.supernet))

    monkeypatch.setattr(gradient, "Weights", Watched)
    space = Planted()
    recipe = SupernetRecipe(epochs=1, batch_size=32, train_images=192, nesterov=False, threads=1)
    gc.collect()
    gc.disable()
    try:
        with fake_cuda() as cuda:
            GradientSearch(space, Signs(), recipe)(strategy_of("darts", space), 0, 5, "cuda", lambda *_: None)
            assert cuda.replays > 0
            assert [reference() for reference in supernets] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("space", ["nasbench201", pytest.param("darts", marks=pytest.mark.slow)])
def test_perturbation_derives_a_cell_on_cuda_and_resumes(space, tmp_path, monkeypatch):
    kind, cells = SPACES[space]
    space, tuned = kind(), []
    monkeypatch.setattr("nas.discretization.perturbation.derivable_columns", lambda *_: [1, 3])
    tune = gradient.SearchRun.tune

    def searched(stop):
        def counted(run, probs, epochs):
            tuned.append(run.tuned)
            tune(run, probs, epochs)
            if stop and run.decision_count == 2:
                raise Killed

        monkeypatch.setattr(gradient.SearchRun, "tune", counted)
        strategy = DARTSStrategy(space=space, objective=Objective(), epochs=1, discretization=Perturbation(1))
        return GradientSearch(space, Small(), recipe_of(cells), tmp_path)(
            strategy, 0, 5, SECOND_DEVICE, lambda *_: None
        )

    with fake_cuda(count=2, only=1):
        with pytest.raises(Killed):
            searched(stop=True)
        result = searched(stop=False)
    assert space.is_valid(result.architecture)
    assert tuned[:5] == [0, 1, 2, 2, 2]  # two decisions, a kill, both restored without training, and a third


@pytest.mark.parametrize(
    ("strategy", "train", "space"),
    [
        pytest.param(RandomSearch, {"train": "before"}, "nasbench201", id="rsps-nasbench201"),
        pytest.param(RandomSearch, {"train": "before"}, "darts", id="rsps-darts", marks=pytest.mark.slow),
        pytest.param(
            RegularizedEvolution, {"train": "before", "sampling": "fair"}, "nasbench201", id="spos-nasbench201"
        ),
        pytest.param(
            RegularizedEvolution,
            {"train": "before", "sampling": "fair"},
            "darts",
            id="spos-darts",
            marks=pytest.mark.slow,
        ),
        pytest.param(LSTMController, {"train": "on_proposal"}, "nasbench201", id="enas-nasbench201"),
        pytest.param(LSTMController, {"train": "on_proposal"}, "darts", id="enas-darts"),
    ],
)
def test_shared_weights_train_score_and_resume_on_cuda(strategy, train, space, tmp_path):
    kind, cells = SPACES[space]
    space = kind()

    def searched(trials=2):
        evaluator = SharedWeights(space, Small(), recipe_of(cells), **train)
        evaluator.checkpoint_dir = tmp_path
        return search(space, strategy, evaluator, budget=Budget(trials=trials), device=SECOND_DEVICE, seed=1)

    with fake_cuda(count=2, only=1):
        first = searched()
        again = searched() if train["train"] == "before" else first  # loads what the first has trained
    assert [trial.error for trial in first.trials] == [None, None]
    assert [trial.metrics for trial in again.trials] == [trial.metrics for trial in first.trials]


def test_memory_that_torch_reserves_but_does_not_use_is_free():
    with fake_cuda(count=2, only=1) as cuda:
        assert free_memory(torch.device(SECOND_DEVICE)) == FREE
        cuda.reserved, cuda.allocated = 10 * GIB, 4 * GIB
        assert free_memory(torch.device(SECOND_DEVICE)) == FREE + 6 * GIB


def test_weights_of_edges_are_the_softmax_over_the_edges_into_each_node():
    """Hand-made: of NAS-Bench-201's six edges one leads to node 1, two to node 2, three to node 3."""
    strategy = PCDARTS(space=NASBench201(), objective=Objective())
    strategy.init(np.random.default_rng(0), torch.device("cpu"))
    with torch.no_grad():
        strategy.parameters["cell_edges"].copy_(torch.tensor([1.0, 2.0, 0.5, 0.1, 0.2, 0.3]))
    result = strategy.expected()["cell_edges"]
    targets = NASBench201().targets["cell"]
    for node in set(targets):
        rows = [row for row, target in enumerate(targets) if target == node]
        values = np.exp([[1.0, 2.0, 0.5, 0.1, 0.2, 0.3][row] for row in rows])
        assert result[rows].tolist() == pytest.approx((values / values.sum()).tolist())


def test_a_batch_that_is_too_large_only_for_the_eigenvalue_is_refused(monkeypatch):
    space = NASBench201()
    strategy = strategy_of("darts", space)
    run = gradient.SearchRun(GradientSearch(space, Small(), recipe_of(1)), strategy, 5, torch.device("cpu"), None)
    probs = {name: rows.detach() for name, rows in strategy.expected().items()}
    needs = [gradient_need(run, probs, curvature) for curvature in (False, True)]
    assert 1.5 < needs[1] / needs[0] < 4
    monkeypatch.setattr("nas.supernets.weights.free_memory", lambda _device: sum(needs) / 2)
    run.weights.check_step(probs)
    with pytest.raises(UserError, match=r"eigenvalue that strategy\.early_stopping=true.*supernet\.batch_size=\d"):
        run.weights.check_step(probs, "strategy.early_stopping")


def test_running_out_of_memory_in_the_eigenvalue_loses_no_epoch(monkeypatch):
    """The largest batch that fits is determined, reported, and used in later epochs; the training stays the same."""
    space, sizes = Planted(), []
    recipe = SupernetRecipe(epochs=1, batch_size=32, train_images=64, nesterov=False, threads=1)

    def searched(**more):
        strategy = DARTSStrategy(space=space, objective=Objective(), epochs=3, **more)
        return GradientSearch(space, Signs(), recipe)(strategy, 0, 5, "cpu", lambda *_: None)

    class Tight(gradient.Weights):
        def batches(self, augmenter, epoch, part):
            for images, labels in super().batches(augmenter, epoch, part):
                yield (Counted.of(images) if part == 3 else images), labels

    class Counted(torch.Tensor):
        @staticmethod
        def of(images):
            return images.as_subclass(Counted)

    def measure(loss, alphas, rng):
        size = sizes.pop()
        if size > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return float(size)

    plain = searched()
    forward = space.supernet(Task(1, 2, 2, 2)).__class__.forward

    def seen(network, images, probs, run_all_operations=False):
        if isinstance(images, Counted):
            sizes.append(len(images))
            images = images.as_subclass(torch.Tensor)
        return forward(network, images, probs, run_all_operations)

    monkeypatch.setattr("relaxed.Supernet.forward", seen)
    monkeypatch.setattr(gradient, "Weights", Tight)
    monkeypatch.setattr(gradient, "dominant_eigenvalue", measure)
    with pytest.warns(UserWarning, match="after epoch 1 is measured on .* images: out of memory") as caught:
        result = searched(eigenvalue=True)
    assert [re.findall(r"on (\d+) images", str(warning.message)) for warning in caught] == [["16"], ["8"]]
    assert [metrics["alpha_eigenvalue"] for metrics in result.curve] == [8.0] * 3
    unwatched = [{k: v for k, v in metrics.items() if k != "alpha_eigenvalue"} for metrics in result.curve]
    assert unwatched == [dict(metrics) for metrics in plain.curve]


def gradient_need(run, probs, curvature):
    fixed, each = need(run.weights.supernet, probs, run.task, curvature=curvature)
    return fixed + each * run.recipe.batch_size


@pytest.mark.parametrize("curvature", [False, True])
def test_the_estimate_of_memory_leaves_no_graph_behind(curvature):
    """A graph that lives on ties the weights to its stream, and a CUDA graph of a later step cannot be recorded."""
    space = NASBench201()
    supernet = space.supernet(Task(1, 8, 8, 10), {"channels": 4, "cells": 1})
    probs = {name: torch.full(shape, 0.2) for name, shape in space.alpha_shapes.items()}
    need(supernet, probs, Task(1, 8, 8, 10), curvature=curvature)
    assert not any(is_in_a_graph(weight) for weight in supernet.parameters())


def is_in_a_graph(weight):
    """Whether a graph is alive that accumulates the gradient of a weight: its node is then the same each time."""

    def node():
        return weight.view_as(weight).grad_fn.next_functions[0][0]

    node().metadata["seen"] = True
    return "seen" in node().metadata
