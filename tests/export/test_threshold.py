"""The threshold of "none of these" keeps 95 % of the right answers on validation images, and no higher one does."""

import numpy as np
import pytest

from nas.export.threshold import Threshold, choose_threshold


def two_classes(highest, correct):
    """Probabilities and labels of images whose likeliest class has these probabilities and is the right one or not."""
    highest = np.asarray(highest, dtype=np.float64)
    return np.stack([highest, 1 - highest], 1), np.where(correct, 0, 1)


def test_of_a_hundred_right_answers_the_five_least_sure_are_given_up():
    highest = np.linspace(0.505, 1, 100)  # 0.505, 0.510, … 1.000
    found = choose_threshold(*two_classes(highest, [True] * 100))
    assert found == Threshold(value=0.53, kept=0.95, accuracy=1.0, images=100)


def test_wrong_answers_do_not_lower_the_threshold_and_those_above_it_count_as_wrong():
    right, wrong = [0.9] * 38 + [0.6, 0.6], [0.55] * 30 + [0.95] * 10
    found = choose_threshold(*two_classes(right + wrong, [True] * 40 + [False] * 40))
    assert found == Threshold(value=0.9, kept=0.95, accuracy=38 / 48, images=80)


def test_equal_probabilities_are_kept_together():
    found = choose_threshold(*two_classes([0.7] * 50, [True] * 50))
    assert found == Threshold(value=0.7, kept=1.0, accuracy=1.0, images=50)


@pytest.mark.parametrize(("right", "kept"), [(20, 19), (21, 20), (39, 38), (40, 38), (41, 39), (1000, 950)])
def test_a_twentieth_is_rounded_in_favour_of_right_answers(right, kept):
    highest = 0.5 + np.arange(1, right + 1) / 2100
    found = choose_threshold(*two_classes(highest, [True] * right))
    assert found.kept == pytest.approx(kept / right)
    assert (highest >= found.value).sum() == kept


def test_no_higher_threshold_of_four_decimals_keeps_as_many():
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = rng.dirichlet(np.full(5, 0.4), 300)
        labels = np.where(rng.random(300) < 0.8, rows.argmax(1), rng.integers(0, 5, 300))
        found = choose_threshold(rows, labels)
        right = rows.max(1)[rows.argmax(1) == labels]
        assert (right >= found.value).mean() >= 0.95
        assert (right >= found.value + 1e-4).mean() < 0.95 or found.value == 1


@pytest.mark.parametrize(
    ("right", "wrong"), [(0, 0), (0, 100), (19, 100)], ids=["no image", "all wrong", "19 right answers"]
)
def test_from_too_few_right_answers_there_is_none(right, wrong):
    assert choose_threshold(*two_classes([0.9] * (right + wrong), [True] * right + [False] * wrong)) is None


def test_a_certain_network_has_a_threshold_of_at_most_one():
    rows = np.float32([[1, 0]] * 30) + np.float32(1e-7)
    assert choose_threshold(rows, np.zeros(30, int)) == Threshold(1.0, 1.0, 1.0, 30)


def test_rounding_of_another_device_keeps_the_image_that_sets_the_threshold():
    found = choose_threshold(*two_classes([0.87654321] * 20, [True] * 20))
    assert found.value == 0.8765


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([[0.5, 0.5]], [0, 1], r"probabilities \(1, 2\) and labels \(2,\); expected \(N, classes\) and \(N,\)"),
        ([0.5, 0.5], [0, 1], "probabilities"),
        ([[float("nan"), 0.5]], [0], "a probability is not a number from 0 to 1"),
        ([[3.0, -2.0]], [0], "a probability is not a number from 0 to 1"),
    ],
)
def test_logits_and_other_shapes_are_refused(rows, labels, message):
    with pytest.raises(ValueError, match=message):
        choose_threshold(rows, labels)
