"""How the weights of a supernet are trained: a recipe without the settings that a supernet does not support.

By default as Liu, Simonyan & Yang, "DARTS: Differentiable Architecture Search", ICLR 2019,
https://arxiv.org/abs/1806.09055, section 3.1, train theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nas.errors import UsageError
from nas.training.recipe import Recipe
from nas.validation import true_or_false


@dataclass(frozen=True)
class SupernetRecipe(Recipe):
    """A recipe with the defaults of DARTS, whose messages name the key `supernet`.

    Args:
        epochs: Passes over the training images; a gradient search takes the number of its strategy.
        network: Sizes of the supernet; None stands for a published size (`SupernetSpace.search_network`).
        graphs: On CUDA, run the step of a gradient search as one graph if it is the same each time.
    """

    part: ClassVar[str] = "supernet"

    epochs: int = 50
    batch_size: int = 64
    lr: float = 0.025
    lr_min: float = 0.001
    nesterov: bool = False
    weight_decay: float = 3e-4
    grad_clip: float | None = 5.0
    network: Mapping[str, Any] = field(default_factory=lambda: {"channels": None, "cells": None})
    graphs: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_recipe(self)
        true_or_false("supernet.graphs", self.graphs)

    def protocol(self) -> dict[str, Any]:
        return {key: value for key, value in super().protocol().items() if key != "graphs"}


def check_recipe(recipe: Recipe) -> None:
    """Raise `UsageError` if a recipe asks for something that a supernet does not support."""
    for key in ("drop_path", "auxiliary_weight", "label_smoothing", "ema", "warmup_epochs", "mixup", "cutmix"):
        if getattr(recipe, key):
            raise UsageError(f"supernet.{key}={getattr(recipe, key):g}: a supernet does not support it; set it to 0")
    if recipe.optimizer != "sgd":
        raise UsageError(f"supernet.optimizer={recipe.optimizer}: a supernet is trained by SGD; set it to sgd")
