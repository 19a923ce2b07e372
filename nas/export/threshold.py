"""The probability below which a model says "none of these", chosen on validation images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

NONE_LABEL = "none of these"
"""Label of an image whose likeliest class is below the threshold."""
MIN_KEPT = Fraction(19, 20)
"""Share of the correctly labelled images that must keep their label."""
MIN_CORRECT_IMAGES = 20
"""With fewer, a twentieth is less than one image, and the one least sure image would set the threshold alone."""
DECIMALS = 4
"""A threshold is rounded down to them: the same image has slightly different probabilities on other devices."""


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it does to the validation images that it was chosen on.

    Args:
        value: An image whose highest probability is below it belongs to none of the classes; 0 to 1.
        kept: Share of the correctly labelled images that are not below it, at least 0.95.
        accuracy: Accuracy on the images that are not below it, 0 to 1.
        images: Number of validation images.
    """

    value: float
    kept: float
    accuracy: float
    images: int

    def to_json(self) -> dict[str, Any]:
        """The value of `threshold` in `model.json`."""
        return asdict(self)


def choose_threshold(probabilities: npt.ArrayLike, labels: npt.ArrayLike | Sequence[int]) -> Threshold | None:
    """The largest threshold, to four decimals, that lets 95 % of the correctly labelled images keep their label.

    What is in no class is not among validation images, so no error rate on it can be computed. What can be promised is
    the cost: at most one in twenty of the right answers on these images becomes "none of these". Under that condition
    the largest threshold turns away most of everything else. Wrong answers do not count: the more of them are turned
    away, the better.

    Args:
        probabilities: (N, classes), rows that sum to 1, of images that the model was not trained on.
        labels: (N,), positions of the true classes.

    Returns:
        None if fewer than `MIN_CORRECT_IMAGES` are labelled correctly.

    Raises:
        ValueError: The shapes do not match, or a probability is not a number from 0 to 1.
    """
    rows, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if rows.ndim != 2 or truth.shape != rows.shape[:1]:
        raise ValueError(f"probabilities {rows.shape} and labels {truth.shape}; expected (N, classes) and (N,)")
    if not ((rows >= 0) & (rows <= 1 + 1e-6)).all():
        raise ValueError("a probability is not a number from 0 to 1")
    if not len(rows):
        return None
    highest, correct = rows.max(1), rows.argmax(1) == truth
    of_correct = np.sort(highest[correct])[::-1]
    if len(of_correct) < MIN_CORRECT_IMAGES:
        return None
    last_kept = math.ceil(MIN_KEPT * len(of_correct)) - 1
    value = math.floor(min(float(of_correct[last_kept]), 1.0) * 10**DECIMALS) / 10**DECIMALS
    above = highest >= value
    return Threshold(
        value=value,
        kept=float((of_correct >= value).mean()),
        accuracy=float(correct[above].mean()),
        images=len(rows),
    )
