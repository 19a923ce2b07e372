"""How the weights of a supernet are trained: a recipe without what a supernet has not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from nas.errors import UsageError
from nas.training.recipe import Recipe


@dataclass(frozen=True)
class SupernetRecipe(Recipe):
    """A recipe whose messages name the key `supernet`.

    Args:
        graphs: on CUDA, replay the step of a gradient search as one graph where it is the same each time.
    """

    part: ClassVar[str] = "supernet"

    graphs: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_recipe(self)
        if not isinstance(self.graphs, bool):
            raise UsageError(f"supernet.graphs must be true or false, got {self.graphs!r}")

    def protocol(self) -> dict[str, Any]:
        return {key: value for key, value in super().protocol().items() if key != "graphs"}


def check_recipe(recipe: Recipe) -> None:
    """Raise `UsageError` where a recipe asks for what a supernet has not."""
    for key in ("drop_path", "auxiliary_weight", "label_smoothing", "ema", "warmup_epochs", "mixup", "cutmix"):
        if getattr(recipe, key):
            raise UsageError(f"supernet.{key}={getattr(recipe, key):g}: a supernet has none; set it to 0")
    if recipe.optimizer != "sgd":
        raise UsageError(f"supernet.optimizer={recipe.optimizer}: a supernet is trained by SGD; set it to sgd")
