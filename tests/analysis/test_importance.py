"""Functional ANOVA on functions whose main effects are known."""

import numpy as np
import pytest

from nas.analysis.importance import MAX_TRIALS, importance


def found(function, sizes=(3, 3, 3, 3), trials=400, noise=0.0, seed=1):
    rng = np.random.default_rng(seed)
    architectures = np.stack([rng.integers(size, size=trials) for size in sizes], axis=1)
    scores = [function(row) + noise * rng.normal() for row in architectures.tolist()]
    return importance([f"d{index}" for index in range(len(sizes))], sizes, architectures.tolist(), scores)


def test_the_shares_are_those_of_the_function():
    """Variance of [a = 2] is 2/9 and of [b = 0] / 2 is 2/36: shares 0.8 and 0.2."""
    result = found(lambda row: float(row[0] == 2) + 0.5 * (row[1] == 0))
    assert [effect.decision for effect in result.effects[:2]] == ["d0", "d1"]
    assert [effect.share for effect in result.effects] == pytest.approx([0.8, 0.2, 0, 0], abs=1e-6)
    assert result.effects[0].means == pytest.approx((1 / 6, 1 / 6, 7 / 6))
    assert result.explained == pytest.approx(1)
    assert result.interactions == pytest.approx(0, abs=1e-6)


def test_an_exclusive_or_is_an_interaction():
    result = found(lambda row: float((row[0] == 0) != (row[1] == 0)), sizes=(2, 2, 2), trials=200)
    assert result.interactions > 0.8


def test_noise_does_not_make_a_decision_important():
    result = found(lambda row: float(row[2]), noise=0.3)
    assert result.effects[0].decision == "d2"
    assert all(effect.share < 0.05 for effect in result.effects[1:])


def test_nothing_is_said_about_pure_noise():
    result = found(lambda row: 0.0, noise=1.0)
    assert result.explained < 0.1
    assert result.effects == ()


def test_too_few_or_equal_trials_give_no_answer():
    assert found(lambda row: float(row[0]), trials=19) is None
    assert found(lambda row: 1.0) is None
    assert found(lambda row: float(row[0]), sizes=(2,) * 30, trials=59) is None


def test_of_many_trials_a_sample_is_taken_and_the_answer_is_always_the_same():
    results = [found(lambda row: float(row[0]), trials=3 * MAX_TRIALS, noise=0.2) for _ in range(2)]
    assert results[0] == results[1]
    assert results[0].trials == MAX_TRIALS


def test_a_decision_without_a_choice_does_not_matter():
    result = found(lambda row: float(row[0]), sizes=(3, 1))
    assert {effect.decision: round(effect.share, 6) for effect in result.effects} == {"d0": 1, "d1": 0}


def test_hundreds_of_decisions_take_seconds_and_do_not_hide_the_one_that_matters():
    result = found(lambda row: float(row[7] == 1), sizes=(2,) * 100, trials=600, noise=0.1)
    assert result.effects[0].decision == "d7"
    assert result.effects[0].share > 0.5


@pytest.mark.parametrize("scale", [1e300, 1e-300, -1.0])
def test_the_scale_of_the_scores_does_not_matter(scale):
    result = found(lambda row: scale * (float(row[0] == 2) + 0.5 * (row[1] == 0)))
    assert [effect.share for effect in result.effects[:2]] == pytest.approx([0.8, 0.2], abs=1e-6)
    assert max(result.effects[0].means, key=abs) == pytest.approx(scale * 7 / 6)
