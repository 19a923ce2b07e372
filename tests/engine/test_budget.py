"""Budgets of a search: trials, hours and simulated seconds, over all sessions of a run."""

import math
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from conftest import steep

from nas import Budget, UsageError, search
from nas.store.memory import MemoryStore
from nas.store.sqlite import SQLiteStore
from nas.strategies.random import RandomSearch


def test_hours_count_the_time_of_evaluations(toy_space, monkeypatch):
    """By a simulated clock each evaluation takes half an hour, so the third one exceeds 1.2 hours."""
    clock = iter(range(0, 10**9, 1800))
    monkeypatch.setattr("nas.engine.evaluation.time.perf_counter", lambda: float(next(clock)))
    result = search(toy_space, RandomSearch, steep, budget=Budget(hours=1.2))
    assert (result.ended, len(result.trials)) == ("budget", 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "budget.trials must be a whole number of at least 1, got 0"),
        ({"trials": "many"}, "budget.trials must be a whole number of at least 1, got 'many'"),
        ({"trials": 1, "hours": 0}, "budget.hours must be a number above 0 or null, got 0"),
        ({"trials": 1, "hours": -2}, "budget.hours must be a number above 0 or null, got -2"),
        ({}, "budget.trials, budget.hours and budget.simulated_seconds are all null"),
    ],
)
def test_an_invalid_budget_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Budget(**settings)


def test_a_search_by_hours_ends_when_its_space_is_exhausted(toy_space):
    toy_space.canonical = lambda architecture: "all one"
    result = search(toy_space, RandomSearch, steep, budget=Budget(hours=1))
    assert result.ended == "finished"
    assert len(result.trials) == 1001


def test_seeds_and_budgets_may_be_numbers_of_numpy(toy_space, tmp_path):
    store = SQLiteStore(f"sqlite:///{tmp_path}/nas.db")
    plain = search(toy_space, RandomSearch, steep, budget=Budget(trials=3, hours=1.0), seed=2)
    budget = Budget(trials=np.int64(3), hours=np.float32(1.0), failures=np.int32(4))
    result = search(toy_space, RandomSearch, steep, budget=budget, seed=np.int64(2), store=store)
    assert [(t.text, t.seed, t.metrics) for t in result.trials] == [(t.text, t.seed, t.metrics) for t in plain.trials]
    assert store.runs()[0].seed == 2
    assert type(budget.trials) is int
    with pytest.raises(UsageError, match=r"budget.trials must be a whole number of at least 1, got 1\.5"):
        Budget(trials=np.float32(1.5))


class Clock:
    """In place of `time` in the loop: a clock that only a strategy moves."""

    seconds = 100.0

    def monotonic(self):
        return self.seconds


@pytest.fixture
def thinking(monkeypatch):
    """A strategy that takes a second for each proposal, while nothing else takes any time."""
    clock = Clock()
    monkeypatch.setattr("nas.engine.loop.time", clock)

    class Thinking(RandomSearch):
        def ask(self, rng, pending):
            clock.seconds += 1
            return super().ask(rng, pending)

    return Thinking


def test_hours_are_wall_time_and_a_strategy_that_thinks_counts(toy_space, thinking):
    result = search(toy_space, thinking, steep, budget=Budget(hours=9.5 / 3600))
    assert (result.ended, len(result.trials)) == ("budget", 10)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_hours_are_summed_over_the_sessions_of_a_run(toy_space, thinking, tmp_path, kind):
    store = MemoryStore() if kind == "memory" else SQLiteStore(f"sqlite:///{tmp_path}/nas.db")
    search(toy_space, thinking, steep, budget=Budget(trials=4), store=store)
    result = search(toy_space, thinking, steep, budget=Budget(hours=3.5 / 3600), store=store)
    assert (result.ended, len(result.trials)) == ("budget", 4)
    result = search(toy_space, thinking, steep, budget=Budget(hours=9.5 / 3600), store=store)
    assert (result.ended, len(result.trials)) == ("budget", 10)


def test_the_elapsed_time_of_a_run_of_version_0_1_0_is_that_of_its_evaluations(toy_space, thinking, tmp_path):
    store = SQLiteStore(f"sqlite:///{tmp_path}/nas.db")
    search(toy_space, thinking, steep, budget=Budget(trials=4), store=store)
    with sqlite3.connect(tmp_path / "nas.db") as connection:
        connection.execute("DELETE FROM sessions")
        connection.execute("UPDATE trials SET seconds = 2")
    result = search(toy_space, thinking, steep, budget=Budget(hours=7.5 / 3600), store=store)
    assert len(result.trials) == 4
    result = search(toy_space, thinking, steep, budget=Budget(hours=9.5 / 3600), store=store)
    assert len(result.trials) == 6


def test_a_trial_that_was_running_when_a_session_ended_runs_again_even_beyond_the_hours(toy_space, tmp_path):
    store = SQLiteStore(f"sqlite:///{tmp_path}/nas.db")
    search(toy_space, RandomSearch, steep, budget=Budget(trials=5), store=store)
    with sqlite3.connect(tmp_path / "nas.db") as connection:
        connection.execute("DELETE FROM trials WHERE number = 3")
    result = search(toy_space, RandomSearch, steep, budget=Budget(hours=1e-9), store=store)
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("cost", [math.nan, math.inf, -1.0])
def test_a_cost_that_no_budget_can_count_fails_its_trial_and_does_not_use_up_the_budget(toy_space, cost):
    def simulating(proposal, context):
        return steep(proposal, context) | {"simulated_seconds": 10.0 if proposal.architecture[0] else cost}

    def measuring(proposal, context):
        context.measured("latency", cost)
        return steep(proposal, context)

    budget = Budget(trials=100, simulated_seconds=100)
    result = search(toy_space, RandomSearch, simulating, budget=budget)
    assert sum(trial.completed for trial in result.trials) == 10
    failed = [trial for trial in result.trials if not trial.completed]
    assert failed
    assert {trial.error for trial in failed} == {
        f"the cost simulated_seconds is {cost}; expected a finite number of at least 0"
    }
    trial = search(toy_space, RandomSearch, measuring, budget=Budget(trials=1)).trials[0]
    assert trial.error_kind == "not_finite"
    assert trial.cost == {}
    assert "latency is" in trial.error


def test_a_stored_cost_of_nan_does_not_use_up_the_budget(toy_space):
    """An earlier version stored such trials as completed."""
    store = MemoryStore()
    costly = lambda proposal, context: steep(proposal, context) | {"simulated_seconds": 10.0}  # noqa: E731
    search(toy_space, RandomSearch, costly, budget=Budget(trials=1), store=store, config={})
    first = store.trials("search")[0]
    old = MemoryStore()
    with old.open(store.runs()[0]) as record:
        record.add(replace(first, metrics={**first.metrics, "simulated_seconds": math.nan}))
    result = search(toy_space, RandomSearch, costly, budget=Budget(simulated_seconds=50), store=old, config={})
    assert len(result.trials) == 6
