import math

import numpy as np
import pytest
import scipy

from nas.analysis.bootstrap import bootstrap_interval
from nas.analysis.results import Column, IncumbentChange, RunResult
from nas.analysis.statistics import cliques, compare, compare_pairs, critical_difference, holm, rank, summarise
from nas.errors import UsageError

ACCURACY = Column("accuracy", optimum=95.0)
ERROR = Column("error", optimum=5.0, direction="minimize")


def run(strategy, seed, **metrics):
    return RunResult(strategy, seed, 1, None, 0.0, "a", [IncumbentChange(1, None, metrics)])


def runs(**values):
    """One run a value, seeds from 0, of column accuracy."""
    return [run(name, seed, accuracy=x) for name, many in values.items() for seed, x in enumerate(many)]


def seeds(**values):
    return {name: dict(enumerate(many)) for name, many in values.items()}


def test_a_summary_worked_out_by_hand():
    result = summarise([1, 2, 3, 4, 5, 6, 7, 20], Column("x", optimum=10))
    assert (result.n, result.mean, result.median) == (8, 6.0, 4.5)
    assert result.iqm == 4.5  # of 3, 4, 5, 6
    assert result.std == pytest.approx(math.sqrt(252 / 7))
    assert result.regret == 4.0
    assert result.ci_low < 6 < result.ci_high


def test_the_iqm_is_scipys_trimmed_mean(rng):
    for n in range(1, 12):
        values = rng.normal(size=n)
        assert summarise(values, ACCURACY).iqm == pytest.approx(scipy.stats.trim_mean(values, 0.25))


def test_regret_follows_the_direction():
    assert summarise([93.0, 94.0], ACCURACY).regret == 1.5
    assert summarise([6.0, 7.0], ERROR).regret == 1.5
    assert summarise([6.0], Column("x")).regret is None
    assert (
        summarise([0.1 + 0.2] * 3, Column("x", optimum=0.3)).regret == 0.0
    )  # a rounding error is not better than the optimum


def test_one_run_has_no_standard_deviation_and_no_interval():
    result = summarise([3.0], ACCURACY)
    assert (result.mean, result.std, result.ci_low, result.ci_high) == (3.0, None, None, None)


def test_equal_values_have_an_interval_of_no_width():
    result = summarise([94.37] * 5, ACCURACY)
    assert (result.ci_low, result.ci_high) == pytest.approx((94.37, 94.37))


def test_the_interval_is_scipys_bca_interval(rng):
    values = 95 - rng.exponential(size=40)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="BCa", n_resamples=20_000, rng=1).confidence_interval
    ours = summarise(values, ACCURACY)
    assert (ours.ci_low, ours.ci_high) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert summarise(values, ACCURACY) == ours


def test_the_interval_covers_the_mean_as_often_as_it_says(rng):
    """Of 400 skewed samples 95 % are 380; BCa at n = 50 falls short by about one in a hundred."""
    low, high = bootstrap_interval(rng.exponential(size=(50, 400)), 1000)
    assert 355 <= ((low < 1) & (high > 1)).sum() <= 396


def test_resamples_are_drawn_once_for_each_number_of_runs(rng, monkeypatch):
    """Drawing them takes longer than all else of a summary."""
    default_rng, draws = np.random.default_rng, []

    def counting(seed):
        draws.append(seed)
        return default_rng(seed)

    monkeypatch.setattr(np.random, "default_rng", counting)
    for n in (37, 37, 38, 37):
        summarise(rng.normal(size=n), ACCURACY)
    assert len(draws) == 2


def test_holm_on_a_worked_example():
    """0.01, 0.04, 0.03, 0.005 by 4, 3, 2, 1 in ascending order, and never less than the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_pair_worked_out_by_hand():
    """Differences 1, 2, 3, -4, 0, 5: ranks 1, 2, 3, 4 and 5 of the five that are no tie, 11 against 4."""
    (pair,) = compare_pairs(seeds(a=[1, 2, 3, 0, 9, 5], b=[0, 0, 0, 4, 9, 0]), ACCURACY)
    assert (pair.n, pair.wins, pair.ties, pair.losses) == (6, 4, 1, 1)
    assert pair.rank_biserial == pytest.approx(7 / 15)
    assert pair.mean_difference == pytest.approx(7 / 6)
    assert pair.p_value == pair.p_holm == scipy.stats.wilcoxon([1, 2, 3, -4, 5]).pvalue


def test_all_wins_are_an_effect_of_one_and_the_smallest_p():
    (pair,) = compare_pairs(seeds(a=range(1, 7), b=[0] * 6), ACCURACY)
    assert (pair.rank_biserial, pair.p_value) == (1.0, 2 / 2**6)
    (pair,) = compare_pairs(seeds(a=range(1, 7), b=[0] * 6), ERROR)
    assert (pair.rank_biserial, pair.losses, pair.mean_difference) == (-1.0, 6, 3.5)


def test_equal_strategies_do_not_differ():
    (pair,) = compare_pairs(seeds(a=[93.1, 94.2], b=[93.1, 94.2]), ACCURACY)
    assert (pair.ties, pair.p_value, pair.p_holm, pair.rank_biserial) == (2, 1.0, 1.0, 0.0)
    assert (pair.ci_low, pair.ci_high, pair.differs) == (0.0, 0.0, False)


def test_differences_tie_although_floats_do_not():
    (pair,) = compare_pairs(seeds(a=[91.53, 10.0], b=[91.50, 10.03]), ACCURACY)
    assert 91.53 - 91.50 != 10.03 - 10.0
    assert pair.rank_biserial == 0.0


def test_only_shared_seeds_are_paired():
    pairs = compare_pairs({"a": {0: 1.0, 1: 2.0, 2: 9.0}, "b": {2: 8.0, 1: 0.0}, "c": {7: 1.0}}, ACCURACY)
    assert [(pair.first, pair.second, pair.n) for pair in pairs] == [("a", "b", 2)]
    assert pairs[0].mean_difference == 1.5


@pytest.mark.parametrize(("strategies", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_the_published_one(strategies, q):
    """Demšar 2006, table 5 (a)."""
    assert critical_difference(strategies, 14) == pytest.approx(q * math.sqrt(strategies * (strategies + 1) / 84), 5e-4)


def test_demsars_example_has_its_cliques():
    """Demšar 2006, section 3.2.4: CD 1.25; only C4.5 and C4.5+m+cf differ."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    average = {"C4.5+m+cf": 1.964, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5": 3.143}
    assert cliques(average, 1.25) == (("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"),)
    assert cliques(average, 1.16) == (("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+m", "C4.5+cf", "C4.5"))
    assert cliques(average, 0.3) == (("C4.5+m+cf", "C4.5+m"), ("C4.5+cf", "C4.5"))
    assert cliques(average, 0.01) == ()


def test_ranks_share_ties_and_follow_the_direction():
    values = seeds(a=[3, 3, 1], b=[2, 3, 2], c=[1, 0, 3])
    result = rank(values, ACCURACY)
    assert result.average == pytest.approx({"a": (1 + 1.5 + 3) / 3, "b": (2 + 1.5 + 2) / 3, "c": (3 + 3 + 1) / 3})
    assert result.friedman == pytest.approx(scipy.stats.friedmanchisquare([3, 3, 1], [2, 3, 2], [1, 0, 3]).statistic)
    assert next(iter(rank(values, ERROR).average)) == "c"


def test_two_strategies_have_ranks_but_no_friedman_test():
    result = rank(seeds(a=[1, 2], b=[2, 3]), ACCURACY)
    assert (result.average, result.friedman, result.friedman_p) == ({"b": 1.0, "a": 2.0}, None, None)


def test_friedman_of_nothing_but_ties_is_no_difference():
    result = rank(seeds(a=[1, 1], b=[1, 1], c=[1, 1]), ACCURACY)
    assert (result.friedman, result.friedman_p) == (0.0, 1.0)
    assert result.cliques == (("a", "b", "c"),)


def test_ranks_use_the_seeds_that_all_have():
    assert rank({"a": {0: 1.0, 1: 2.0}, "b": {1: 1.0, 2: 3.0}}, ACCURACY).n == 1
    assert rank({"a": {0: 1.0}, "b": {1: 1.0}}, ACCURACY) is None
    assert rank({"a": {0: 1.0}}, ACCURACY) is None


def test_a_comparison_keeps_the_order_given():
    result = compare(runs(z=[90, 91], a=[92, 93], m=[94, 95]), ACCURACY)
    assert list(result.summaries) == ["z", "a", "m"]
    assert [(pair.first, pair.second) for pair in result.pairs] == [("z", "a"), ("z", "m"), ("a", "m")]
    assert result.best == "m"
    assert compare([run("a", 0, error=9.0), run("b", 0, error=7.0)], ERROR).best == "b"


def test_five_seeds_cannot_reach_significance():
    result = compare(runs(a=[1, 2, 3, 4, 5], b=[0] * 5), ACCURACY)
    assert result.pairs[0].p_value == 0.0625
    (warning,) = (sentence for sentence in result.warnings if "Wilcoxon" in sentence)
    assert warning.startswith("With 5 shared seeds no pair can reach p < 0.05")
    assert warning.endswith("is 0.062. Use at least 6 seeds.")


def test_more_pairs_need_more_seeds():
    """2 / 2^n by 3 pairs is below 0.05 from n = 7 on: 6 / 64 is 0.094, 6 / 128 is 0.047."""
    six = compare(runs(a=[0] * 6, b=[1] * 6, c=[2] * 6), ACCURACY)
    assert any("after Holm's correction over 3 pairs. Use at least 7 seeds." in warning for warning in six.warnings)
    assert not any(pair.differs for pair in six.pairs)
    seven = compare(runs(a=[0] * 7, b=[1, 2, 3, 4, 5, 6, 7], c=[9, 11, 13, 15, 17, 19, 21]), ACCURACY)
    assert all(pair.differs for pair in seven.pairs)
    assert not any("Holm" in warning for warning in seven.warnings)


def test_warnings_say_what_is_uncertain():
    few = compare([*runs(a=[1, 2, 3], b=[1, 2, 3]), run("c", 9, accuracy=1.0)], ACCURACY).warnings
    assert "c: one seed gives no standard deviation and no interval, and no test can use it." in few
    assert any(warning.startswith("The numbers of seeds differ (a 3, b 3, c 1)") for warning in few)
    assert "No shared seed, so no test: a and c; b and c." in few
    assert "a and b are equal in accuracy on all 3 seeds." in few
    rough = compare(runs(a=[1, 2, 3]), ACCURACY).warnings
    assert [warning.split(" the")[0] for warning in rough] == ["With 3 seeds per strategy"]
    assert compare(runs(a=range(30), b=range(5, 35)), ACCURACY).warnings == ()


def test_a_wrong_optimum_is_reported():
    result = compare(runs(a=[96.0] * 20), ACCURACY)
    assert result.summaries["a"].regret == -1.0
    assert result.warnings == ("a is better than the given optimum of accuracy (95), which is wrong.",)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UsageError, match="no runs to compare"):
        compare([], ACCURACY)
    with pytest.raises(UsageError, match="'a' has two runs of seed 0"):
        compare([run("a", 0, accuracy=1.0), run("a", 0, accuracy=1.0)], ACCURACY)
    with pytest.raises(UsageError, match="'a' of seed 0 has no accuracy"):
        compare([run("a", 0, error=1.0)], ACCURACY)
    with pytest.raises(UsageError, match="has nan as accuracy"):
        compare([run("a", 0, accuracy=math.nan)], ACCURACY)
