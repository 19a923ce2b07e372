"""Checks that a gradient strategy, a recipe and the images fit together, before a search starts."""

from __future__ import annotations

from nas.errors import UsageError
from nas.supernets.base import GradientStrategy
from nas.supernets.health import FIRST_EPOCHS, LOOK_AHEAD
from nas.training.recipe import Recipe


def check_compatible(strategy: GradientStrategy, recipe: Recipe, valid_images: int) -> None:
    """Raise `UsageError` if a strategy and a recipe ask for things that exclude each other."""
    for key in ("eigenvalue", "early_stopping"):
        if getattr(strategy, key) and strategy.stochastic:
            raise UsageError(
                f"strategy.{key}=true: {type(strategy).__name__} draws new probabilities at each step, so there is "
                "no single loss whose curvature could be measured; leave it out"
            )
    min_epochs = warmup(strategy) + FIRST_EPOCHS + LOOK_AHEAD + 1
    if strategy.early_stopping and strategy.epochs < min_epochs:
        after = f" after strategy.warmup={warmup(strategy)}" if warmup(strategy) else ""
        raise UsageError(
            f"strategy.early_stopping=true has no effect in {strategy.epochs} epochs: it never selects a cell "
            f"from the first {FIRST_EPOCHS}{after}, and it looks {LOOK_AHEAD} epochs ahead; set "
            f"strategy.epochs to {min_epochs} or more"
        )
    if getattr(strategy, "order", "first") == "second" and recipe.precision == "bf16":
        raise UsageError(
            "supernet.precision=bf16 with strategy.order=second: second order takes differences of gradients, "
            "which would be mostly rounding error; set fp32 or tf32"
        )
    if valid_images < 2:
        raise UsageError(
            f"supernet.valid_images={recipe.valid_images}: alpha is learnt on batches of validation images, and one "
            "image has no variance to normalise by; expected 2 or more"
        )


def warmup(strategy: GradientStrategy) -> int:
    """Epochs at the start of a search in which a strategy does not learn alpha."""
    return int(getattr(strategy, "warmup", 0))
