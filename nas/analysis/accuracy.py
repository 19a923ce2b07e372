"""Intervals of accuracies that were measured on a number of images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

Z = 1.959963984540054
"""Quantile of the normal distribution for 95 %."""
MAX_IMAGES = 100_000
"""Largest number of images that `least_images` looks for."""
MIN_IMAGES = 20
"""Smallest number of images that says anything about an accuracy."""
ROUNDING = 1e-9
"""Largest distance of a stored accuracy from the fraction that it stands for."""


@dataclass(frozen=True)
class Interval:
    """Ends of a 95 % interval; low <= high."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def wilson(accuracy: float, images: int) -> Interval:
    """The score interval of an accuracy.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927. Unlike the usual
    p ± 1.96 s it stays within 0 and 1, and it is right for few images and for accuracies close to 1.

    Args:
        accuracy: Share of right answers, 0 to 1.
        images: Number of images, at least 1.
    """
    share = Z * Z / images
    centre = (accuracy + share / 2) / (1 + share)
    half = Z / (1 + share) * math.sqrt(accuracy * (1 - accuracy) / images + share / (4 * images))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def newcombe(first: float, first_images: int, second: float, second_images: int) -> Interval:
    """The interval of the difference first - second of two independent accuracies.

    Newcombe, "Interval Estimation for the Difference Between Independent Proportions", Statistics in Medicine 17, 1998,
    method 10. For two accuracies on the same images, which tend to be wrong on the same ones, it is too wide rather
    than too narrow.

    Args:
        first, second: Accuracies, 0 to 1.
        first_images, second_images: Number of images of each, at least 1.
    """
    one, other = wilson(first, first_images), wilson(second, second_images)
    difference = first - second
    return Interval(
        difference - math.hypot(first - one.low, other.high - second),
        difference + math.hypot(one.high - first, second - other.low),
    )


def least_images(accuracies: Iterable[float]) -> int | None:
    """The smallest number of images on which all these accuracies are possible.

    A store has accuracies but not the number of images. The true number is a multiple of this one, so an interval from
    it is never too narrow; with a dozen different accuracies it is the true number.

    Args:
        accuracies: Accuracies that were measured on the same images.

    Returns:
        None if they are not shares of at most `MAX_IMAGES` images, or of fewer than `MIN_IMAGES`.
    """
    images = 1
    for accuracy in set(accuracies):
        if not 0 <= accuracy <= 1:
            return None
        fraction = Fraction(accuracy).limit_denominator(MAX_IMAGES)
        if abs(float(fraction) - accuracy) > ROUNDING:
            return None
        images = math.lcm(images, fraction.denominator)
        if images > MAX_IMAGES:
            return None
    return images if images >= MIN_IMAGES else None
