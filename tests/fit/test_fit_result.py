"""The answer of a fit: intervals, the test of the difference, and the sentence."""

import numpy as np
import pytest

from nas.core import Proposal, Trial
from nas.fit.result import difference, runner_up, sentence


def right(*ranges, images=200):
    found = np.zeros(images, dtype=bool)
    for start, stop in ranges:
        found[start:stop] = True
    return found


def test_only_images_on_which_they_differ_tell_which_is_better():
    found = difference(right((0, 150)), right((0, 140)))
    assert found["mean"] == pytest.approx(0.05)
    assert found["only_winner"] == 10
    assert found["only_baseline"] == 0
    assert found["p"] == pytest.approx(2 * 0.5**10)
    assert 0 < found["low"] < found["mean"] <= found["high"]
    few = difference(right((0, 105)), right((0, 100)))
    assert few["p"] > 0.05
    assert few["low"] < 0 < few["high"]
    assert difference(right((0, 9)), right((0, 9)))["p"] == 1.0


def about(method, accuracy):
    return {"method": method, "test_accuracy": accuracy, "test_low": 0.7, "test_high": 0.9, "test_images": 200}


@pytest.mark.parametrize(
    ("winner", "baseline", "words"),
    [
        (((0, 180),), ((0, 100),), "the difference is more than chance"),
        (((0, 101),), ((0, 100),), "the difference is not more than chance"),
        (((0, 100),), ((0, 180),), "which is better (p < 0.001): use the baseline"),
    ],
)
def test_the_sentence_says_whether_the_baseline_is_as_good(winner, baseline, words):
    ahead = difference(right(*winner), right(*baseline))
    assert words in sentence(about("frozen", 0.8), about("baseline", 0.7), ahead)


def test_a_baseline_that_wins_says_so():
    assert "It is the baseline itself: nothing else was better." in sentence(about("baseline", 0.8), None, None)
    assert "The baseline could not be trained" in sentence(about("frozen", 0.8), None, None)


def test_the_runner_up_is_another_architecture():
    def trial(number, canonical, accuracy):
        metrics = {"valid_accuracy": accuracy, "valid_loss": 1.0}
        return Trial(number, Proposal((number,)), canonical, canonical, 0, "completed", metrics, 1.0)

    trials = [trial(0, "a", 0.9), trial(1, "a", 0.89), trial(2, "b", 0.8)]
    found = runner_up(trials, trials[0], {0: "frozen", 1: "frozen", 2: "baseline"}, images=100)
    assert (found["trial"], found["method"]) == (2, "baseline")
    assert found["low"] < 0.1 < found["high"]
    assert runner_up(trials[:2], trials[0], {0: "frozen", 1: "frozen"}, images=100) is None
