"""The signs of a search that goes wrong."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import rows
from torch import nn

from nas.core import Objective, Task
from nas.errors import UsageError
from nas.strategies.darts import DARTS as Strategy
from nas.strategies.drnas import DrNAS
from nas.strategies.gdas import GDAS
from nas.supernets.compatibility import check_compatible
from nas.supernets.health import check_alpha, collapse, dominant_eigenvalue, entropy, skip_share, stops_at
from nas.supernets.recipe import SupernetRecipe
from nas.training.fit import TrainingFailed
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


def test_a_collapse_is_described_in_a_sentence():
    skips = NB201.from_text(
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    assert "67% of the derived cell's operations are skip connections" in collapse(NB201, skips)
    dead = NB201.from_text("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|")
    assert "the derived cell is disconnected: no path from input to output" in collapse(NB201, dead)
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
    ("space", "sizes"),
    [
        (NB201, {"channels": 4, "cells": 1}),
        pytest.param(DARTS(), {"channels": 2, "cells": 3}, marks=pytest.mark.slow),  # 224 rows of a Hessian
    ],
)
def test_the_dominant_eigenvalue_of_a_supernet_is_that_of_its_exact_hessian(space, sizes):
    torch.manual_seed(0)
    network = space.supernet(Task(3, 4, 4, 4), sizes).double().to(memory_format=torch.channels_last)
    images = torch.randn(6, 3, 4, 4, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(4, (6,))
    names = list(space.alpha_shapes)
    alphas = [(0.3 * torch.randn(space.alpha_shapes[name], dtype=torch.float64)).requires_grad_() for name in names]

    def loss(*given):
        probs = {name: alpha.softmax(-1) for name, alpha in zip(names, given, strict=True)}
        return F.cross_entropy(network(images, probs, run_all_operations=True), labels)

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
    value = dominant_eigenvalue(loss(*alphas), alphas, torch.Generator().manual_seed(1), iterations=80)
    assert abs(value) == pytest.approx(abs(dominant), rel=2e-2)


def first_stop(eigenvalues, warmup=0):
    """The epoch at which a search with these eigenvalues ends, and the one whose cell it takes."""
    for epoch in range(1, len(eigenvalues) + 1):
        chosen = stops_at(eigenvalues[:epoch], warmup)
        if chosen is not None:
            return epoch, chosen
    return None


def test_a_late_rise_ends_a_search_with_the_cell_from_before():
    """Means over 5 epochs, 5 apart: 1.0 and (3 + 2 x 2) / 5 = 1.4 when two epochs of the rise are seen; 1 / 1.4 < 0.75.

    The mean of epochs 28 to 32 stands for epoch 30, and the cell is that of epoch 25.
    """
    assert first_stop([1.0] * 30 + [2.0] * 20) == (32, 25)
    # a slow rise of 7 % an epoch is 40 % in five: it ends the search as soon as a cell may be taken
    assert first_stop([1.07**epoch for epoch in range(50)]) == (18, 11)
    assert first_stop([1.05**epoch for epoch in range(50)]) is None  # 28 % in five


def test_a_rise_of_less_than_a_third_ends_nothing():
    assert first_stop([1.0] * 30 + [1.33] * 20) is None
    assert first_stop([1.0] * 30 + [1.34] * 20) == (35, 28)


def test_noise_around_a_level_ends_nothing():
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert first_stop((1 + 0.2 * rng.uniform(-1, 1, 200)).tolist()) is None


def test_the_rise_at_the_start_is_no_reason_to_stop():
    """Every search starts with a steep rise, while every edge is undecided."""
    assert first_stop([0.1] * 5 + [0.4] * 45) is None
    assert first_stop([0.1 * epoch for epoch in range(1, 11)] + [1.0] * 40) is None
    assert stops_at([0.1] * 10 + [1.0] * 7) is None  # the cell of epoch 10
    assert stops_at([0.1] * 12 + [1.0] * 6) == 11


def test_a_change_of_sign_is_no_ratio():
    assert first_stop([-1.0] * 30 + [1.0] * 20) is None
    assert first_stop([1.0] * 30 + [-2.0] * 20) is None
    assert first_stop([-1.0] * 30 + [-2.0] * 20) is None
    assert first_stop([(-1.0) ** epoch for epoch in range(1, 51)]) is None
    assert first_stop([0.0] * 30 + [1.0] * 5) is None
    # where all of them are positive again, they are compared again
    assert first_stop([1.0] * 20 + [-1.0] + [1.0] * 9 + [2.0] * 10) == (32, 25)


def test_epochs_of_warm_up_do_not_count():
    series = [1.0] * 30 + [2.0] * 20
    assert first_stop([50.0] * 15 + series, warmup=15) == (15 + 32, 15 + 25)
    assert first_stop([1e-9] * 15 + [1.0] * 40, warmup=15) is None
    assert stops_at([0.1] * 22 + [1.0] * 10, warmup=15) is None  # the cell of the tenth epoch of alpha
    assert stops_at([0.1] * 25 + [1.0] * 8, warmup=15) == 26


def test_settings_that_exclude_each_other_are_refused():
    plain = SupernetRecipe(epochs=1)
    for strategy in (GDAS, DrNAS):
        with pytest.raises(UsageError, match=r"strategy.eigenvalue=true: .* draws new probabilities"):
            check_compatible(strategy(space=NB201, objective=Objective(), eigenvalue=True), plain, 64)
    early = Strategy(space=NB201, objective=Objective(), epochs=17, early_stopping=True)
    with pytest.raises(
        UsageError, match=r"early_stopping=true has no effect in 17 epochs: .* set strategy.epochs to 18"
    ):
        check_compatible(early, plain, 64)
    check_compatible(Strategy(space=NB201, objective=Objective(), epochs=18, early_stopping=True), plain, 64)
    warm = Strategy(space=NB201, objective=Objective(), epochs=18, early_stopping=True, warmup=3)
    with pytest.raises(UsageError, match=r"after strategy.warmup=3, .* set strategy.epochs to 21"):
        check_compatible(warm, plain, 64)
    second = Strategy(space=NB201, objective=Objective(), order="second")
    with pytest.raises(UsageError, match=r"supernet.precision=bf16 with strategy.order=second"):
        check_compatible(second, SupernetRecipe(epochs=1, precision="bf16"), 64)
    check_compatible(second, plain, 2)


def test_an_early_stop_is_stored_and_reported(nas, monkeypatch):
    values = iter([1.0] * 15 + [9.0] * 20)
    monkeypatch.setattr("nas.supernets.gradient.dominant_eigenvalue", lambda *_: next(values))
    done = nas("search", "space=nasbench201", "strategy=darts", "strategy.epochs=30", "strategy.early_stopping=true",
               "supernet.network={channels: 2, cells: 1}", "supernet.train_images=8", "supernet.valid_images=8",
               "supernet.threads=1", "data=digits", "trainer.epochs=1", "trainer.train_images=50",
               "trainer.network={channels: 2, cells: 1}", "run=early")  # fmt: skip
    assert done.returncode == 0, done.stderr
    # the rise starts at epoch 16; epoch 18 is the first that may stop the search, with the cell of epoch 11
    assert "the search stopped early and used the cell of epoch 11" in done.stdout
    (row,) = rows(nas, "run=early")
    assert row["info"]["stopped_early_at"] == 11
    assert row["fault"] is None


def test_gdas_continues_after_sampling_a_disconnected_cell():
    """All three edges into the output of a cell are `none` with probability 1/125: the loss then does not use alpha."""
    torch.manual_seed(0)
    strategy = GDAS(space=NB201, objective=Objective(), epochs=2)
    strategy.init(np.random.default_rng(0), torch.device("cpu"))
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
    # no gradient except that of the decay of alpha
    assert all((alpha - old).abs().max() < 1e-2 for alpha, old in zip(strategy.alphas(), before, strict=True))
    del strategy.probs
    drawn, probs = [], strategy.probs
    strategy.probs = lambda rng: drawn.append(probs(rng)) or drawn[-1]
    rng = torch.Generator().manual_seed(4)
    for _ in range(8):
        strategy.alpha_step(network, batch, batch, optimizer, rng)
    assert [bool((sample["cell"][3:, 0] == 1).all()) for sample in drawn] == [False] * 3 + [True] + [False] * 4


def test_samples_are_exactly_zero_and_one():
    strategy = GDAS(space=NB201, objective=Objective(), epochs=5)
    strategy.init(np.random.default_rng(0), torch.device("cpu"))
    strategy.start_epoch(3)
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):
        assert set(strategy.probs(rng)["cell"].unique().tolist()) == {0.0, 1.0}


def filled(alpha):
    """A strategy all of whose first parameters have one value."""
    strategy = Strategy(space=NB201, objective=Objective(), alpha_lr=1e30)
    strategy.init(np.random.default_rng(0), torch.device("cpu"))
    with torch.no_grad():
        strategy.alphas()[0].fill_(alpha)
    return strategy


@pytest.mark.parametrize(
    ("alpha", "loss", "message"),
    [
        (float("nan"), 1.0, "alpha grew to nan in epoch 2. Try a strategy.alpha_lr far below 1e+30"),
        (1e30, float("nan"), "alpha grew to 1e+30 in epoch 2. Try a strategy.alpha_lr far below 1e+30"),
    ],
)
def test_diverged_alpha_is_reported_with_its_own_learning_rate(alpha, loss, message):
    strategy = filled(alpha)
    with pytest.raises(TrainingFailed, match=re.escape(message)):
        check_alpha(strategy, {"loss": loss}, "in epoch 2")


@pytest.mark.parametrize(("alpha", "loss"), [(1e30, 1.0), (2.0, float("nan"))], ids=["finite loss", "weights diverged"])
def test_alpha_is_not_blamed_for_a_finite_loss_or_for_diverged_weights(alpha, loss):
    check_alpha(filled(alpha), {"loss": loss}, "in epoch 2")
