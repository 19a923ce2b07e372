"""Evaluators, one way of scoring a proposal per file."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.evaluators.base import Evaluator as Evaluator
    from nas.evaluators.shared_weights import SharedWeights as SharedWeights
    from nas.evaluators.table import TableEvaluator as TableEvaluator
    from nas.evaluators.training import TrainingEvaluator as TrainingEvaluator

__getattr__ = lazy_attributes(
    __name__,
    {
        "base": ("Evaluator",),
        "shared_weights": ("SharedWeights",),
        "table": ("TableEvaluator",),
        "training": ("TrainingEvaluator",),
    },
)
