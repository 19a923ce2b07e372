"""Which trial of a fit is the best, where few validation images make accuracies alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas.core import Trial


def best_trial(trials: Sequence[Trial], images: int) -> Trial | None:
    """Of the trials whose accuracy is within one standard error of the highest, the one with the lowest loss.

    An accuracy on N images has the standard error sqrt(p (1 - p) / N), so the highest of many trials is often luck. The
    loss on the same images uses the probabilities too and varies less. Like the rule of one standard error of
    Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3, with the loss in place of simplicity.

    Args:
        trials: Trials with `valid_accuracy` and `valid_loss`, failed ones among them.
        images: Number of validation images.

    Returns:
        None if no trial is completed; the earliest of equals.
    """
    completed = [trial for trial in trials if trial.completed]
    if not completed:
        return None
    highest = max(trial.metrics["valid_accuracy"] for trial in completed)
    error = math.sqrt(highest * (1 - highest) / images)
    near = [trial for trial in completed if trial.metrics["valid_accuracy"] >= highest - error]
    return min(near, key=lambda trial: (trial.metrics["valid_loss"], trial.number))
