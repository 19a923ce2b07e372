import math
from types import MappingProxyType

import numpy as np
import pytest
import scipy
from conftest import MAXIMIZE, ToySpace, margins
from light import LightSpace, MixedSpace, SmallSpace, steep

from nas import Budget, UsageError, search
from nas.core import Proposal, Trial
from nas.engine.randomness import TrialRandom
from nas.space import Float, Integer
from nas.strategies.bayesian import BayesianOptimization
from nas.strategies.expected_improvement import log_expected_improvement, standardised
from nas.strategies.features import Features
from nas.strategies.gaussian_process import Kernel, Posterior, fitted
from nas.strategies.surrogate import estimated_at


class Line(ToySpace):
    """One number at a hundred steps, and one that the score does not depend on."""

    choices = MappingProxyType({"x": Float(0, 1, steps=101), "idle": Integer(0, 20)})


def told(strategy, scores):
    """A strategy that was told the scores of its own proposals; None: the trial failed."""
    random = TrialRandom(0)
    strategy.reset(random.start())
    for number, score in enumerate(scores):
        proposal = strategy.ask(random.trial(number), [])
        value = score(proposal.architecture) if callable(score) else score
        status, metrics = ("failed", {}) if value is None else ("completed", {"valid_accuracy": value})
        strategy.tell(Trial(number, proposal, "", "", 0, status, metrics, 0.0))
    return strategy, random


def test_distances_are_those_of_scaled_places_of_different_options_and_of_what_is_off():
    """op, kernel, width, dilation, units, lr, drop; the last column says for each whether it is off."""
    points, groups = Features(MixedSpace()), Features(MixedSpace()).groups

    def squares(one, other):
        difference = points([one]) - points([other])
        return [float((difference[0, groups == group] ** 2).sum()) for group in range(8)]

    conv, wide = (1, 1, 0, 0, 0, 0, 0), (1, 1, 3, 1, 0, 3, 0)
    assert squares(conv, wide) == pytest.approx([0, 0, 1, 1, 0, 1, 0, 0])
    small, pool = (1, 0, 0, 0, 0, 0, 0), (2, 0, 0, 0, 0, 0, 0)  # a kernel of 3 has no dilation, a pool no width either
    assert squares(small, pool) == pytest.approx([1, 0, 0.25, 0, 0, 0, 0, 1])
    assert squares(pool, (2, 0, 0, 0, 4, 0, 0)) == pytest.approx([0, 0, 0, 0, 1, 0, 0, 0])


def test_the_gradient_of_the_fit_leads_to_the_scale_that_made_the_scores():
    """Scores that vary along one column only: its length is short, that of the other long, and there is no noise."""
    rng = np.random.default_rng(0)
    points = rng.random((60, 2))
    scores = np.sin(12 * points[:, 0])
    kernel = fitted(points, (scores - scores.mean()) / scores.std(), np.array([0, 1]))
    assert kernel.scales[0] > 10 * kernel.scales[1]
    assert kernel.noise < 1e-3


def test_scores_without_a_pattern_are_noise():
    rng = np.random.default_rng(0)
    assert fitted(rng.random((80, 2)), rng.standard_normal(80), np.array([0, 1])).noise > 0.3


def test_a_process_with_points_added_one_by_one_is_that_of_all_of_them():
    rng = np.random.default_rng(0)
    points, kernel = rng.random((30, 3)), Kernel(np.array([1.0, 2.0, 0.5]), 0.01)
    grown = Posterior.of(kernel, points[:20])
    for row in range(20, 30):
        grown = grown.with_point(points[row : row + 1])
    assert grown.lower == pytest.approx(Posterior.of(kernel, points).lower)


@pytest.mark.parametrize("mean", [-3.0, -0.5, 0.0, 2.0])
def test_the_logarithm_of_expected_improvement_is_that_of_the_integral(mean):
    integral, _ = scipy.integrate.quad(lambda x: max(x - 0.5, 0) * scipy.stats.norm.pdf(x, mean, 0.7), 0.5, 10)
    found = log_expected_improvement(np.array([mean]), np.array([0.7]), 0.5)[0]
    assert found == pytest.approx(math.log(integral), abs=1e-4)


def test_expected_improvement_falls_on_where_it_is_too_small_for_a_number():
    below = log_expected_improvement(-np.arange(0.0, 1000.0), np.ones(1000), 0.0)
    assert np.isfinite(below).all()
    assert (np.diff(below) < 0).all()


def test_failed_trials_count_as_the_worst_and_equal_scores_as_equal():
    found = standardised(np.array([0.5, math.nan, 0.9, 0.1, 0.7]))
    assert found[1] == found[3] == found.min()
    assert [found.mean(), found.std()] == pytest.approx([0, 1])
    assert standardised(np.array([0.3, 0.3, math.nan])).tolist() == [0, 0, 0]


def test_terrible_scores_do_not_hide_the_differences_of_good_ones():
    good = np.linspace(0.90, 0.95, 20)
    found = standardised(np.append(good, [-1000.0, 0.0]))
    assert found[:20].max() - found[:20].min() > 1


@pytest.mark.parametrize("huge", [1e15, 1e-300])
def test_scores_of_any_size_are_standardised(huge):
    found = standardised(huge * np.array([1.0, 2.0, 3.0, 5.0]))
    assert np.isfinite(found).all()


def test_the_kernel_is_estimated_at_each_trial_first_and_then_at_a_tenth_more():
    estimates = sorted({estimated_at(count) for count in range(1, 60)})
    assert estimates == [*range(1, 21), 22, 24, 26, 28, 30, 33, 36, 39, 42, 46, 50, 55]


def test_the_first_proposals_are_a_latin_hypercube():
    """Of six decisions of four options, 14 strata: each option is in three to four of them."""
    strategy, _ = told(BayesianOptimization(LightSpace(), MAXIMIZE), [0.5] * 14)
    for position in range(6):
        counts = np.bincount([architecture[position] for architecture in strategy.told], minlength=4)
        assert counts.min() >= 2


def test_it_finds_the_peak_of_a_line_and_ignores_what_does_not_count():
    def peak(architecture):
        return -abs(architecture[0] - 63) / 100

    strategy, _ = told(BayesianOptimization(Line(), MAXIMIZE), [peak] * 22)
    assert min(abs(architecture[0] - 63) for architecture in strategy.told) <= 1


def test_it_is_far_above_random_search_on_a_slope():
    assert np.mean(margins(BayesianOptimization, 3)) > 0.1


def test_what_is_pending_is_neither_proposed_again_nor_left_out_of_the_expectation():
    strategy, random = told(BayesianOptimization(Line(), MAXIMIZE), [lambda a: -abs(a[0] - 50)] * 12)
    pending: list[Proposal] = []
    for number in range(4):
        pending.append(strategy.ask(random.trial(100 + number), pending))
    assert len({proposal.architecture for proposal in pending}) == 4


@pytest.mark.parametrize("score", [0.5, None])
def test_equal_scores_and_nothing_but_failures_are_tolerated(score):
    strategy, _ = told(BayesianOptimization(LightSpace(), MAXIMIZE), [score] * 20)
    assert len(set(strategy.told)) == 20


def test_it_ends_when_the_whole_space_is_known():
    class Six(ToySpace):
        choices = MappingProxyType({"two": ("a", "b"), "three": ("a", "b", "c"), "one": ("a",)})

    found = search(Six(), BayesianOptimization, lambda p, c: {"valid_accuracy": 0.1}, budget=Budget(trials=20))
    assert (len(found.trials), found.ended) == (6, "finished")


def test_no_two_of_a_small_space_are_equal_until_it_is_exhausted():
    found = search(SmallSpace(), BayesianOptimization, steep, budget=Budget(trials=40))
    assert len({trial.text for trial in found.trials}) == 40


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"initial": 1}, "strategy.initial must be a whole number of at least 2, got 1"),
        ({"candidates": 0}, "strategy.candidates must be a whole number of at least 1, got 0"),
        ({"candidates": "many"}, "strategy.candidates must be a whole number of at least 1, got 'many'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        BayesianOptimization(LightSpace(), MAXIMIZE, **settings)
