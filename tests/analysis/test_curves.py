import numpy as np
import pytest

from nas.analysis.curves import by_evaluations, by_simulated_seconds
from nas.analysis.results import Column, IncumbentChange, RunResult
from nas.analysis.statistics import summarise

X = Column("x")


def run(steps, queries, seed=0, strategy="a", cost=10.0):
    """A run of steps (query, value).

    Args:
        cost: Simulated seconds of an evaluation; None: unknown.
    """
    spent = [None if cost is None else cost * query for query in (*(query for query, _ in steps), queries)]
    changes = [
        IncumbentChange(query, time, {"x": float(value)}) for (query, value), time in zip(steps, spent, strict=False)
    ]
    return RunResult(strategy, seed, queries, spent[-1], 0.0, "arch", changes)


def test_the_incumbent_stays_until_a_better_one_comes():
    (curve,) = by_evaluations([run([(1, 5), (3, 7), (4, 9)], queries=6)], X)
    assert curve.x.tolist() == [1, 2, 3, 4, 5, 6]
    assert curve.mean.tolist() == [5, 5, 7, 9, 9, 9]
    assert (curve.low, curve.high, curve.runs) == (None, None, 1)


def test_the_mean_starts_when_every_run_has_an_incumbent():
    (curve,) = by_evaluations([run([(1, 0), (4, 4)], 5), run([(3, 2)], 5, seed=1)], X)
    assert curve.x.tolist() == [3, 4, 5]
    assert curve.mean.tolist() == [1, 3, 3]


def test_a_finished_run_keeps_its_winner():
    (curve,) = by_evaluations([run([(1, 0), (2, 8)], queries=2), run([(1, 0), (4, 2)], queries=5, seed=1)], X)
    assert curve.x.tolist() == [1, 2, 3, 4, 5]
    assert curve.mean.tolist() == [0, 4, 4, 5, 5]
    assert curve.first_end == 2


def test_a_column_that_was_not_searched_may_fall():
    (curve,) = by_evaluations([run([(1, 9), (2, 7)], 2)], X)
    assert curve.mean.tolist() == [9, 7]


def test_the_end_has_the_mean_of_the_table_and_nearly_its_interval(rng):
    runs = [run([(1, 0), (int(rng.integers(2, 50)), x)], 60, seed) for seed, x in enumerate(rng.normal(9, 1, 200))]
    (curve,) = by_evaluations(runs, X)
    table = summarise([run.metrics["x"] for run in runs], X)
    assert curve.mean[-1] == pytest.approx(table.mean)
    assert curve.low[-1] == pytest.approx(table.ci_low, abs=0.02)
    assert curve.high[-1] == pytest.approx(table.ci_high, abs=0.02)
    assert np.all(curve.low <= curve.mean)
    assert np.all(curve.mean <= curve.high)


def test_many_evaluations_are_thinned_to_whole_numbers():
    (curve,) = by_evaluations([run([(1, 0), (5000, 1)], 5000)], X)
    assert (curve.x[0], curve.x[-1], curve.mean[-1]) == (1, 5000, 1)
    assert len(curve.x) <= 150
    assert np.all(curve.x == np.round(curve.x))


def test_simulated_seconds_from_the_slowest_start_to_the_last_end():
    fast, slow = run([(1, 0), (5, 6)], 10, cost=10), run([(1, 2)], 4, seed=1, cost=50)
    (curve,) = by_simulated_seconds([fast, slow], X)
    assert (curve.x[0], curve.x[-1], curve.first_end) == (50, 200, 100)
    assert (curve.mean[0], curve.mean[-1]) == (4, 4)
    assert np.all(np.diff(curve.x) > 0)


def test_without_simulated_seconds_there_is_no_such_curve():
    assert by_simulated_seconds([run([(1, 0)], 2), run([(1, 0)], 2, strategy="b", cost=None)], X) == []


def test_a_single_evaluation_is_a_point():
    (curve,) = by_evaluations([run([(1, 3)], 1)], X)
    assert (curve.x.tolist(), curve.mean.tolist()) == ([1], [3])
    (free,) = by_simulated_seconds([run([(1, 3)], 1, cost=0.0)], X)
    assert (free.x.tolist(), free.mean.tolist()) == ([0], [3])


def test_strategies_keep_their_order():
    curves = by_evaluations([run([(1, 0)], 2, strategy=name) for name in ("z", "a")], X)
    assert [curve.strategy for curve in curves] == ["z", "a"]
