"""Signs that a gradient search is going wrong, measured after each epoch.

Zela, Elsken, Saikia, Marrakchi, Brox & Hutter, "Understanding and Robustifying Differentiable Architecture Search",
ICLR 2020, https://arxiv.org/abs/1909.09656: searches that end in cells of skip connections pass through sharp minima,
seen in the dominant eigenvalue of the validation loss's Hessian in alpha (section 4.2), and stopping there saves the
cell (section 5.1). The published code adds that the first epochs are never the outcome (https://github.com/automl/
RobustDARTS, `es_start_epoch`).

Differs from the published code, which takes the largest eigenvalue every second epoch, compares means eight epochs
apart, and ends a search when they have grown by a factor of 1.3: as in the paper, the eigenvalue of largest magnitude
is computed every epoch, and a rise by a third within five epochs ends a search. That eigenvalue can be negative; no
conclusion is drawn from epochs in which it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nas.core import Architecture
from nas.space.base import SearchSpace
from nas.supernets.base import GradientStrategy
from nas.training.fit import TrainingFailed

SKIP = "skip_connect"
LARGE_ALPHA = 1e3
"""Beyond it a softmax is one-hot: no search with the published learning rates comes near it."""
MAX_SKIP_SHARE = 0.5
"""Share of skip connections above which a cell counts as collapsed."""
WINDOW, RATIO = 5, 0.75
"""Epochs in the running mean of eigenvalues; ratio of two means this many epochs apart that ends a search."""
FIRST_EPOCHS = 10
"""Epochs of alpha whose cells an early stop never takes: the eigenvalue rises at first, with all edges undecided."""
LOOK_AHEAD = WINDOW + WINDOW // 2
"""Epochs between the one whose cell is taken and the one that reveals it; both windows are centred on their epoch."""
STOPPING_RULE = 2
"""Version of the rule of `stops_at`, saved with its outcome. Version 1 (cellnas 0.1.0) had no `FIRST_EPOCHS`."""


def skip_share(space: SearchSpace, architecture: Architecture) -> float:
    """Share of skip connections among the operations of an architecture, 0 to 1; 0 if the space has none."""
    chosen = [option for name, option in space.settings(architecture).items() if SKIP in space.choices[name]]
    return sum(map(SKIP.__eq__, chosen)) / max(1, len(chosen))


def entropy(probs: Mapping[str, Tensor]) -> float:
    """Mean entropy of the edges' distributions (nats): the logarithm of the number of operations while every edge is
    undecided, 0 once every edge is decided."""
    matrices = [matrix for matrix in probs.values() if matrix.dim() == 2]  # the others are weights of edges
    rows = [edge / edge.sum().clamp_min(1e-12) for matrix in matrices for edge in matrix]
    return float(torch.stack([-(row * row.clamp_min(1e-12).log()).sum() for row in rows]).mean())


def check_alpha(strategy: GradientStrategy, metrics: Mapping[str, float], when: str) -> None:
    """Raise `TrainingFailed` if alpha has diverged, and not the weights.

    Args:
        strategy: Strategy whose alphas are checked.
        metrics: Metrics of the epoch; not finite if something has diverged.
        when: Name of the epoch, for the message.
    """
    largest = max((float(alpha.detach().abs().max()) for alpha in strategy.alphas()), default=0.0)
    broken = not all(map(math.isfinite, metrics.values()))
    if not math.isfinite(largest) or (broken and largest > LARGE_ALPHA):
        rate = getattr(strategy, "alpha_lr", None)
        advice = "" if rate is None else f". Try a strategy.alpha_lr far below {rate:g}"
        raise TrainingFailed("not_finite", f"alpha grew to {largest:.2g} {when}{advice}")


def collapse(space: SearchSpace, architecture: Architecture) -> str | None:
    """A sentence on how the cell has collapsed and what to try; None if it has not."""
    for name, cell in space.graphs(architecture).items():
        if not any(cell.live()):
            return (
                f"the derived {name} is disconnected: no path from input to output (the search favoured the `none` "
                "operation). Try more strategy.epochs, or strategy=gdas, pc_darts or drnas"
            )
    share = skip_share(space, architecture)
    if share <= MAX_SKIP_SHARE:
        return None
    return (
        f"{share:.0%} of the derived cell's operations are skip connections: the search has collapsed, as DARTS is "
        "known to do. Try fewer strategy.epochs, strategy.early_stopping=true, discretization=perturbation, or "
        "strategy=pc_darts or drnas"
    )


def dominant_eigenvalue(loss: Tensor, alphas: Sequence[Tensor], rng: torch.Generator, iterations: int = 20) -> float:
    """The eigenvalue of largest magnitude of a loss's Hessian, by power iteration on exact products.

    Args:
        loss: Scalar with its graph, twice differentiable in the alphas.
        rng: Generator of the first direction.
    """
    gradients = torch.autograd.grad(loss, alphas, create_graph=True)
    direction: Sequence[Tensor] = [torch.randn(alpha.shape, generator=rng).to(alpha) for alpha in alphas]
    value = 0.0
    for _ in range(iterations):
        norm = torch.sqrt(torch.stack([part.square().sum() for part in direction]).sum())
        if not norm > 0:
            return 0.0
        direction = [part / norm for part in direction]
        product = torch.autograd.grad(gradients, alphas, direction, retain_graph=True)
        value = float(torch.stack([(a * b).sum() for a, b in zip(direction, product, strict=True)]).sum())
        direction = product
    return value


def stops_at(eigenvalues: Sequence[float], warmup: int = 0) -> int | None:
    """The epoch whose cell is taken, if the eigenvalues so far call for an end.

    The search ends when the mean over the five epochs around epoch i is more than a third above the mean around epoch
    i - 5, and the cell is that of epoch i - 5 (Zela et al., section 5.1). Both means must be of
    positive eigenvalues only: if the sign changes, their ratio has no meaning.

    Args:
        eigenvalues: One per epoch, from the first epoch of the search.
        warmup: Epochs at the start in which alpha was not learnt; they do not count.

    Returns:
        The epoch, from 1 and with those of the warm-up, above `warmup + FIRST_EPOCHS`; None to continue.
    """
    learnt = eigenvalues[warmup:]
    epoch = len(learnt) - LOOK_AHEAD
    if epoch <= FIRST_EPOCHS:
        return None
    compared = learnt[-2 * WINDOW :]
    if not all(value > 0 for value in compared):
        return None
    before, after = sum(compared[:WINDOW]), sum(compared[WINDOW:])
    return warmup + epoch if before / after < RATIO else None
