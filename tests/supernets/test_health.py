"""The signs of a search that goes wrong."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import rows
from torch import nn

from nas.core import Objective, Task, UsageError
from nas.strategies.darts import DARTS as Strategy
from nas.strategies.drnas import DrNAS
from nas.strategies.gdas import GDAS
from nas.supernets.gradient import check_fit
from nas.supernets.health import collapse, dominant_eigenvalue, entropy, skip_share, stops_at
from nas.supernets.recipe import SupernetRecipe
from search_spaces.darts import DARTS
from search_spaces.nasbench201 import NASBench201

NB201 = NASBench201()


def test_skip_share_and_entropy_of_known_cells():
    cell = NB201.from_text("|skip_connect~0|+|none~0|skip_connect~1|+|nor_conv_3x3~0|skip_connect~1|avg_pool_3x3~2|")
    assert skip_share(NB201, cell) == 0.5
    two = DARTS().from_text("DARTS_V2")
    assert skip_share(DARTS(), two) == 5 / 16
    assert entropy({"cell": torch.full((6, 5), 0.2)}) == pytest.approx(math.log(5))
    assert entropy({"cell": torch.eye(5)}) == pytest.approx(0.0)
    halves = torch.tensor([[0.5, 0.5, 0, 0, 0], [1.0, 0, 0, 0, 0]])
    assert entropy({"cell": halves, "cell_edges": torch.ones(2)}) == pytest.approx(math.log(2) / 2)


def test_a_collapse_is_told_in_words():
    skips = NB201.from_text(
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    assert "67% of the derived cell's operations are skip connections" in collapse(NB201, skips)
    dead = NB201.from_text("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|")
    assert "nothing of the cell's input reaches its output" in collapse(NB201, dead)
    assert collapse(NB201, (3,) * 6) is None


@pytest.mark.parametrize("sign", [1, -1])
def test_the_dominant_eigenvalue_of_a_quadratic(sign):
    values = sign * torch.tensor([5.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    hessian = basis @ values.diag() @ basis.T
    alpha = nn.Parameter(torch.ones(4, dtype=torch.float64))
    loss = 0.5 * alpha @ hessian @ alpha
    assert dominant_eigenvalue(loss, [alpha], torch.Generator()) == pytest.approx(5.0 * sign, rel=1e-3)


@pytest.mark.parametrize(
    ("space", "sizes"), [(NB201, {"channels": 4, "cells": 1}), (DARTS(), {"channels": 2, "cells": 3})]
)
def test_the_dominant_eigenvalue_of_a_supernet_is_that_of_its_exact_hessian(space, sizes):
    torch.manual_seed(0)
    network = space.supernet(Task(3, 8, 8, 4), sizes).double().to(memory_format=torch.channels_last)
    images = torch.randn(6, 3, 8, 8, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(4, (6,))
    names = list(space.alphas)
    alphas = [(0.3 * torch.randn(space.alphas[name], dtype=torch.float64)).requires_grad_() for name in names]

    def loss(*given):
        probs = {name: alpha.softmax(-1) for name, alpha in zip(names, given, strict=True)}
        return F.cross_entropy(network(images, probs, every=True), labels)

    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss(*alphas), alphas, create_graph=True)])
    lines = [torch.autograd.grad(value, alphas, retain_graph=True) for value in gradient]
    hessian = torch.stack([torch.cat([part.flatten() for part in line]) for line in lines])
    spectrum = torch.linalg.eigvalsh((hessian + hessian.T) / 2)
    dominant = float(spectrum[spectrum.abs().argmax()])
    # and the exact Hessian is the derivative of the gradients
    step = torch.zeros_like(alphas[0])
    step[0, 1] = 1e-5
    sides = [
        torch.autograd.grad(loss(alphas[0] + sign * step, *alphas[1:]), alphas, allow_unused=True)[0][0, 1]
        for sign in (1, -1)
    ]
    assert float((sides[0] - sides[1]) / 2e-5) == pytest.approx(float(hessian[1, 1]), rel=1e-3, abs=1e-6)
    found = dominant_eigenvalue(loss(*alphas), alphas, torch.Generator().manual_seed(1), iterations=80)
    assert abs(found) == pytest.approx(abs(dominant), rel=2e-2)


def test_the_rule_of_an_early_stop():
    flat = [1.0] * 12
    assert stops_at(flat) is None
    assert stops_at([1.0] * 5 + [1.2] * 5) is None  # less than a third more
    assert stops_at([1.0] * 5 + [1.4] * 5) == 5
    assert stops_at([1.0] * 5 + [1.4] * 4) is None  # too early to tell
    assert stops_at([0.1] * 8 + [5.0] * 5) == 8


def test_what_means_nothing_together_is_refused():
    plain = SupernetRecipe(epochs=1)
    for strategy in (GDAS, DrNAS):
        with pytest.raises(UsageError, match=r"strategy.eigenvalue=true: .* draws its probabilities"):
            check_fit(strategy(space=NB201, objective=Objective(), eigenvalue=True), plain, 64)
    early = Strategy(space=NB201, objective=Objective(), epochs=9, early_stopping=True)
    with pytest.raises(UsageError, match=r"early_stopping=true has no effect in 9 epochs"):
        check_fit(early, plain, 64)
    second = Strategy(space=NB201, objective=Objective(), order="second")
    with pytest.raises(UsageError, match=r"supernet.precision=bf16 with strategy.order=second"):
        check_fit(second, SupernetRecipe(epochs=1, precision="bf16"), 64)
    check_fit(second, plain, 2)


def test_health_stands_in_the_store_and_an_early_stop_is_told(nas, monkeypatch):
    values = iter([1.0] * 5 + [9.0] * 20)
    monkeypatch.setattr("nas.supernets.gradient.dominant_eigenvalue", lambda *_: next(values))
    done = nas("search", "space=nasbench201", "strategy=darts", "strategy.epochs=14", "strategy.early_stopping=true",
               "supernet.network={channels: 2, cells: 1}", "supernet.train_images=64", "supernet.valid_images=64",
               "supernet.threads=1", "data=digits", "trainer.epochs=1", "trainer.train_images=100",
               "trainer.network={channels: 2, cells: 1}", "run=early")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the search ended early and took the cell of epoch 5" in done.stdout
    (row,) = rows(nas, "run=early")
    assert row["info"]["stopped_early_at"] == 5


def test_gdas_searches_on_where_a_sample_hands_nothing_to_the_output():
    """All three edges into the output of a cell are `none` with probability 1/125: the loss then knows no alpha."""
    torch.manual_seed(0)
    strategy = GDAS(space=NB201, objective=Objective(), epochs=2)
    strategy.begin(np.random.default_rng(0), torch.device("cpu"))
    strategy.start_epoch(1)
    network = NB201.supernet(Task(1, 8, 8, 4), {"channels": 2, "cells": 1})
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    batch = torch.randn(4, 1, 8, 8), torch.randint(4, (4,))
    dead = torch.zeros(6, 5)
    dead[:, 0] = 1.0
    before = [alpha.detach().clone() for alpha in strategy.alphas()]
    strategy.probs = lambda rng: {"cell": dead}
    strategy.alpha_step(network, batch, batch, optimizer, torch.Generator())
    strategy.probs = lambda rng: {"cell": dead * strategy.parameters["cell"].detach().exp().requires_grad_()}
    strategy.alpha_step(network, batch, batch, optimizer, torch.Generator())
    # no gradient but that of the decay of alpha
    assert all((alpha - old).abs().max() < 1e-2 for alpha, old in zip(strategy.alphas(), before, strict=True))
    del strategy.probs
    rng = torch.Generator().manual_seed(0)
    for _ in range(300):
        strategy.alpha_step(network, batch, batch, optimizer, rng)


def test_samples_are_exactly_zero_and_one():
    strategy = GDAS(space=NB201, objective=Objective(), epochs=5)
    strategy.begin(np.random.default_rng(0), torch.device("cpu"))
    strategy.start_epoch(3)
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):
        assert set(strategy.probs(rng)["cell"].unique().tolist()) == {0.0, 1.0}
