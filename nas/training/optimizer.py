"""The optimizers of a recipe, and a step for parameters that get their first gradient late."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from nas.training.recipe import Recipe


def sgd(parameters: Sequence[Tensor], recipe: Recipe, *, fused: bool) -> torch.optim.SGD:
    """SGD with the settings of a recipe."""
    return torch.optim.SGD(
        parameters,
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
        fused=fused,
    )


def optimizer_of(parameters: Sequence[Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over the trained parameters."""
    fused = fusible(parameters)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused)
    return sgd(parameters, recipe, fused=fused)


def fusible(parameters: Iterable[Tensor]) -> bool:
    """Whether torch's fused steps accept these parameters; they accept no complex ones."""
    return all(parameter.is_floating_point() for parameter in parameters)


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """A step, even if some parameters have a momentum and others get their first gradient, as in skipped layers.

    torch's fused SGD rejects such a mixture. A momentum of zero is equivalent: 0 * momentum + gradient is the gradient,
    which the first step uses.
    """
    for group in optimizer.param_groups:
        if not (group.get("fused") and group.get("momentum")):
            continue
        reached = [parameter for parameter in group["params"] if parameter.grad is not None]
        fresh = [one for one in reached if optimizer.state.get(one, {}).get("momentum_buffer") is None]
        if len(fresh) < len(reached):
            for parameter in fresh:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    optimizer.step()
