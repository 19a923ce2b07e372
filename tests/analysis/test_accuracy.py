"""Intervals of accuracies against published examples, and the number of images behind stored values."""

import numpy as np
import pytest

from nas.analysis.accuracy import least_images, newcombe, wilson


def test_the_interval_of_newcombes_example():
    """81 of 263: Newcombe, "Two-Sided Confidence Intervals for the Single Proportion", 1998, table I, method 3."""
    found = wilson(81 / 263, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


def test_an_interval_stays_within_0_and_1():
    assert wilson(0.0, 20).low == 0
    assert wilson(1.0, 20).high == 1
    assert wilson(1.0, 20).low == pytest.approx(0.8389, abs=1e-4)


def test_the_difference_of_newcombes_example():
    """56/70 - 48/80: Newcombe, "Interval Estimation for the Difference …", 1998, table II, method 10."""
    found = newcombe(56 / 70, 70, 48 / 80, 80)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)
    assert found.excludes_zero


def test_equal_accuracies_do_not_differ():
    assert not newcombe(0.9, 100, 0.9, 100).excludes_zero


def test_an_interval_holds_the_truth_19_times_in_20():
    rng = np.random.default_rng(0)
    truth, images = 0.93, 80
    found = [wilson(right / images, images) for right in rng.binomial(images, truth, 2000)]
    assert 0.93 < np.mean([one.low <= truth <= one.high for one in found]) < 0.97


@pytest.mark.parametrize("images", [20, 359, 2000, 9999, 50_000])
def test_the_number_of_images_follows_from_a_dozen_accuracies(images):
    rng = np.random.default_rng(images)
    assert least_images((rng.integers(images // 2, images, 40) / images).tolist()) == images


def test_few_accuracies_give_a_divisor_of_the_number_of_images():
    assert least_images([0.9, 0.95]) == 20
    assert least_images([0.5]) is None  # two images say nothing


@pytest.mark.parametrize("values", [[0.123456789, 0.98765432101], [1.5, 0.25], [-0.1], [93.4, 0.9], []])
def test_what_is_no_share_of_images_gives_no_number(values):
    assert least_images(values) is None
