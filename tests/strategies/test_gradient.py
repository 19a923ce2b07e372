"""Strategies that learn alpha by gradients, each compared with its paper."""

import copy
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from relaxed import Planted, Signs

from nas.core import Objective, Task
from nas.strategies.darts import DARTS
from nas.strategies.drnas import DrNAS
from nas.strategies.gdas import GDAS
from nas.strategies.pc_darts import PCDARTS
from nas.supernets.gradient import GradientSearch
from nas.training.recipe import Recipe
from search_spaces.nasbench201 import NASBench201

CPU = torch.device("cpu")
STRATEGIES = {
    "darts": partial(DARTS, alpha_lr=0.05, epochs=12),
    "darts, second order": partial(DARTS, alpha_lr=0.05, epochs=12, order="second"),
    "gdas": partial(GDAS, alpha_lr=0.1, epochs=25),
    "pc_darts": partial(PCDARTS, alpha_lr=0.05, epochs=12, warmup=2, partial_channels=1),
    "drnas": partial(DrNAS, alpha_lr=0.1, epochs=20),
}
RECIPE = Recipe(epochs=1, batch_size=64, lr=0.1, lr_min=0.01, nesterov=False, crop=0.0, flip=False, threads=1)
PLANTED_ARCHITECTURES = [(0, 1), (2, 3), (3, 0)]


def search_for(strategy, planted, seed):
    space = Planted(planted)
    search = GradientSearch(space, Signs(), RECIPE)
    return search(strategy(space=space, objective=Objective()), 0, seed, "cpu", lambda _epochs, _curve: None)


@pytest.mark.parametrize("name", STRATEGIES)
def test_it_finds_a_planted_best_operation_wherever_it_is(name):
    for seed, planted in enumerate(PLANTED_ARCHITECTURES):
        assert search_for(STRATEGIES[name], planted, seed).architecture == planted


@pytest.mark.parametrize("name", STRATEGIES)
def test_with_alpha_frozen_it_does_not(name):
    def frozen(**parts):
        strategy = STRATEGIES[name](**parts, epochs=3)
        strategy.step = lambda _gradients: None
        return strategy

    hits = sum(
        search_for(frozen, planted, seed).architecture == planted for seed, planted in enumerate(PLANTED_ARCHITECTURES)
    )
    assert hits <= len(PLANTED_ARCHITECTURES) // 3, f"{hits} of {len(PLANTED_ARCHITECTURES)}"


def initialised(strategy, space):
    method = strategy(space=space, objective=Objective())
    method.init(np.random.default_rng(0), CPU)
    method.start_epoch(method.epochs)
    return method


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_second_order_gradient_is_that_of_the_loss_after_a_step_of_the_weights(monkeypatch, nesterov):
    """Against a finite difference, in float64, of the very quantity: eq. 6 of the paper, with momentum and decay."""
    monkeypatch.setattr("nas.strategies.darts.STEP", 1e-5)  # so that eq. 8 is exact up to rounding
    torch.manual_seed(0)
    space = Planted((1, 2))  # smooth in its weights, unlike a network with rectifiers
    strategy = initialised(partial(DARTS, order="second"), space)
    for name, start in strategy.parameters.items():
        strategy.parameters[name] = torch.nn.Parameter(torch.randn(start.shape, dtype=torch.float64))
    alpha = strategy.parameters["e0"]
    supernet = space.supernet(Signs.task).double()
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.02, momentum=0.9, weight_decay=0.01, nesterov=nesterov)
    batches = [(torch.randn(8, 1, 2, 2).double(), torch.arange(8) % 2) for _ in range(2)]
    rng = torch.Generator()
    strategy.loss(supernet, batches[0], rng).backward()
    optimizer.step()  # so that there is a momentum
    before = [weight.detach().clone() for weight in supernet.parameters()]
    state = copy.deepcopy(optimizer.state_dict())
    (gradient, _), _ = strategy.unrolled(supernet, *batches, optimizer, rng)
    assert all(torch.equal(a, b) for a, b in zip(before, supernet.parameters(), strict=True))

    def after_a_step(shift):
        with torch.no_grad():
            alpha.add_(shift)
        optimizer.zero_grad()
        strategy.loss(supernet, batches[0], rng).backward()
        optimizer.step()
        with torch.no_grad():
            loss = strategy.loss(supernet, batches[1], rng).item()
            for weight, start in zip(supernet.parameters(), before, strict=True):
                weight.copy_(start)
            alpha.sub_(shift)
        optimizer.load_state_dict(copy.deepcopy(state))
        return loss

    for column in range(4):
        shift = torch.zeros_like(alpha)
        shift[0, column] = 1e-4
        expected = (after_a_step(shift) - after_a_step(-shift)) / 2e-4
        assert gradient[0, column].item() == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_gdas_runs_one_operation_an_edge_and_cools_down():
    strategy = initialised(GDAS, NASBench201())
    strategy.start_epoch(1)
    assert strategy.tau == 10.0
    strategy.start_epoch(strategy.epochs)
    assert strategy.tau == pytest.approx(0.1)
    probs = strategy.probs(torch.Generator().manual_seed(0))["cell"]
    assert sorted(probs.detach().flatten().tolist()) == [0.0] * 24 + [1.0] * 6
    (gradient,) = torch.autograd.grad((probs * torch.randn(6, 5)).sum(), [strategy.parameters["cell"]])
    assert (gradient != 0).any()


def test_gdas_draws_by_the_probabilities_of_alpha():
    strategy = initialised(GDAS, NASBench201())
    with torch.no_grad():
        strategy.parameters["cell"][:] = torch.tensor([0.0, 1.0, 2.0, 0.0, 0.0])
    rng = torch.Generator().manual_seed(0)
    drawn = sum(strategy.probs(rng)["cell"] for _ in range(1500)) / 1500
    expected = strategy.expected()["cell"]
    torch.testing.assert_close(drawn.detach().mean(0), expected.mean(0), atol=0.02, rtol=0)


def test_pc_darts_weighs_the_edges_into_a_node_and_does_not_train_alpha_at_first():
    space = NASBench201()
    strategy = initialised(PCDARTS, space)
    edges = strategy.probs(torch.Generator())["cell_edges"]
    for node in (1, 2, 3):
        rows = [row for row, target in enumerate(space.targets["cell"]) if target == node]
        assert edges[rows].sum().item() == pytest.approx(1.0)
    strategy.start_epoch(strategy.warmup)
    batch = (torch.randn(4, 1, 4, 4), torch.zeros(4, dtype=torch.int64))
    supernet = space.supernet(Task(1, 4, 4, 2), {"channels": 4, "cells": 1})
    assert strategy.alpha_step(supernet, batch, batch, SimpleNamespace(), torch.Generator()) is None


def test_drnas_samples_around_its_mean_and_is_pulled_to_the_flat_distribution():
    strategy = initialised(DrNAS, NASBench201())
    with torch.no_grad():
        strategy.parameters["cell"][:] = torch.tensor([-2.0, 0.0, 3.0, 0.0, 0.0])
    rng = torch.Generator().manual_seed(0)
    drawn = sum(strategy.probs(rng)["cell"] for _ in range(1500)) / 1500
    torch.testing.assert_close(drawn.detach().mean(0), strategy.expected()["cell"].mean(0), atol=0.02, rtol=0)
    (gradient,) = torch.autograd.grad(strategy.penalty(), [strategy.parameters["cell"]])
    assert (gradient[:, 2] > 0).all()
    assert (gradient[:, 0] < 0).all()
