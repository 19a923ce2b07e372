import math
from dataclasses import replace

import pytest

from nas import Budget, UsageError, search
from nas.cli.trial_table import print_trials
from nas.store.base import Retraining, Run
from nas.store.entries import protocol_description
from nas.store.leaderboard import find_trial, leaderboard
from nas.store.memory import MemoryStore
from nas.strategies.random import RandomSearch


@pytest.fixture
def store(trial):
    store = MemoryStore()
    for name, scores, split in (("one", (0.2, None, 0.4), "aa"), ("two", (0.3, 0.3), "aa"), ("far", (0.9,), "bb")):
        protocol = {"data": "toy", "split": split, "recipe": {"epochs": 3}}
        with store.open(Run(name, 0, {}, protocol)) as record:
            for number, score in enumerate(scores):
                record.add(replace(trial(number, score), seed=len(name) + (name == "two")))
    return store


def names(entries):
    return [(entry.run.name, entry.trial.number) for entry in entries]


def test_only_comparable_runs_are_ranked_together(store):
    first, second = leaderboard(store)
    assert names(first) == [("one", 2), ("two", 0), ("two", 1), ("one", 0), ("one", 1)]
    assert names(second) == [("far", 0)]
    assert first[0].row()["protocol"] != second[0].row()["protocol"]


def test_one_run_is_listed_whole_and_by_number(store):
    assert names(leaderboard(store, "one", sort="number", top=0)[0]) == [("one", 0), ("one", 1), ("one", 2)]
    assert names(leaderboard(store, "one", top=1)[0]) == [("one", 2)]
    row = leaderboard(store, "one")[0][-1].row()
    assert (row["status"], row["error"], row["score"]) == ("failed", "made to fail", None)


def test_repeats_are_grouped_on_request(store, trial):
    with store.open(Run("again", 1, {}, {"data": "toy", "split": "aa", "recipe": {"epochs": 3}})) as record:
        record.add(replace(trial(0, 0.6), seed=2))
        record.add(replace(trial(1, 0.6, (0, 0, 0, 0, 0, 0)), seed=2))  # a training that is stored twice counts once
    entries = leaderboard(store, group=True)[0]
    group = next(entry for entry in entries if entry.members == 3)
    # architecture 0: 0.2 in one, 0.3 in two, 0.6 in again
    assert group.score == pytest.approx(0.3667, abs=5e-5)
    assert group.spread == pytest.approx(0.2082, abs=5e-5)
    assert [entry.score for entry in entries if entry.score] == sorted(
        (e.score for e in entries if e.score), reverse=True
    )


def test_a_test_result_is_joined_to_its_trial(store):
    store.add_retraining(Retraining("one", 2, "toy", "t", "c", 0, {}, {"test_accuracy": 0.77}, 1.0, "f"))
    assert leaderboard(store, "one")[0][0].row()["retrained"][0]["metrics"] == {"test_accuracy": 0.77}


def test_a_missing_run_metric_or_trial_is_named(store):
    with pytest.raises(UsageError, match="there is no run 'nope' in the store; it has 'one', 'two', 'far'"):
        leaderboard(store, "nope")
    with pytest.raises(UsageError, match="sort must be score, number or one of valid_accuracy, got 'acc'"):
        leaderboard(store, sort="acc")
    with pytest.raises(UsageError, match="trial=9 is not a trial of run 'one'; expected best or 0 to 2"):
        find_trial(store, "one", 9)
    assert find_trial(store, "one", "best")[1].number == 2


def by(store, sort):
    return [entry.trial.number for entry in leaderboard(store, sort=sort, top=0)[0]]


@pytest.fixture
def measured(trial):
    """A run with a latency beside its objective, in trials 0 to 5: 3, NaN, 1, NaN, 2, 0.5; trial 6 failed."""

    def make(config):
        store = MemoryStore()
        with store.open(Run("run", 0, config, {})) as record:
            for number, latency in enumerate((3.0, math.nan, 1.0, math.nan, 2.0, 0.5)):
                metrics = {"top5": number / 10, "mean_acc": number / 10, "latency": latency, "valid_accuracy": 0.1}
                one = replace(trial(number, 0.1), metrics=metrics, cost={"memory": 9.0 - number})
                record.add(one)
            record.add(trial(6, None))
        return store

    return make


def test_nan_is_last_in_either_order(measured):
    store = measured({})
    assert by(store, "latency") == by(store, "latency asc") == [5, 2, 4, 0, 1, 3, 6]
    assert by(store, "latency desc") == [0, 4, 2, 5, 1, 3, 6]


@pytest.mark.parametrize(
    ("config", "sort", "first"),
    [
        ({"objective": {"metric": "top5", "direction": "maximize"}}, "top5", 5),
        ({"objective": {"metric": "mean_acc", "direction": "minimize"}}, "mean_acc", 0),  # despite its name
        ({}, "mean_acc", 0),  # nothing declares it
        ({"minimized": ["latency"]}, "mean_acc", 5),  # the evaluator declares
        ({"minimized": ["latency"]}, "latency", 5),
        ({"minimized": []}, "memory", 5),  # a cost is minimised
        ({}, "memory desc", 0),
        ({}, "number desc", 6),
        ({}, "score asc", 0),
    ],
)
def test_a_metric_is_sorted_in_the_direction_that_its_run_declares(measured, config, sort, first):
    store = measured(config)
    assert by(store, sort)[0] == first
    assert by(store, sort)[-1] == (0 if sort == "number desc" else 6)


def test_an_evaluator_declares_what_is_minimized(toy_space):
    class Timed:
        minimized = ("latency",)

        def __call__(self, proposal, context):
            first = float(proposal.architecture[0])
            return {"valid_accuracy": 0.5, "latency": first, "throughput": first}

    store = MemoryStore()
    search(toy_space, RandomSearch, Timed(), budget=Budget(trials=12), store=store)
    best = {name: leaderboard(store, sort=name)[0][0].trial.metrics[name] for name in ("latency", "throughput")}
    assert best == {"latency": 0.0, "throughput": 3.0}
    # what it declares is not part of the identity of the run
    with store.open(replace(store.runs()[0], config={**store.runs()[0].config, "minimized": []})):
        pass


def test_table_look_ups_of_one_training_are_not_repeats(trial):
    """Four look-ups count once per row of the table, which holds a class or an architecture."""
    twins = ((0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 1))
    for rows, expected in (("class", [(0.5, None, 1)]), ("architecture", [(0.55, 0.0707, 2)])):
        for config in ({"table": {"rows": rows}}, {"evaluator": {"table": {"rows": rows}}}):
            store = MemoryStore()
            for name in ("one", "two"):
                with store.open(Run(name, 0, config, {"table": "abc"})) as record:
                    for number in range(4):
                        odd = number % 2 if rows == "architecture" else 0
                        one = trial(number, 0.5 + odd / 10, twins[number % 2])
                        record.add(replace(one, canonical="twins", seed=len(name) + number))
            entry = leaderboard(store, group=True)[0]
            assert [(round(e.score, 4), e.spread and round(e.spread, 4), e.members) for e in entry] == expected


def test_scores_of_one_supernet_are_not_repeats(trial):
    protocol = {"shared_weights": {"train": "before", "seed": 0}, "recipe": {}}
    store = MemoryStore()
    with store.open(Run("one", 0, {}, protocol)) as record:
        for number in range(4):
            record.add(replace(trial(number, 0.5, (0,) * 6), seed=number))
    assert [(entry.members, entry.spread) for entry in leaderboard(store, group=True)[0]] == [(1, None)]


def test_the_error_of_a_failed_trial_is_shown(store, trial, capsys):
    print_trials(leaderboard(store, "one")[0], several=False)
    assert "trial 1 failed: made to fail" in capsys.readouterr().out.splitlines()
    with store.open(Run("many", 0, {}, {"table": "abc"})) as record:
        for number in range(12):
            record.add(replace(trial(number, None), error=f"reason {max(number - 5, 0)}"))
    print_trials(leaderboard(store, "many", top=0)[0], several=True)
    lines = capsys.readouterr().out.splitlines()[-6:]
    assert lines[0] == "trials many 0, many 1, many 2, many 3, many 4 and 1 more failed: reason 0"
    assert lines[1] == "trial many 6 failed: reason 1"
    assert lines[-1] == "2 more reasons; format=json lists them all."


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, "uniform paths, 1 epoch (seed 5)"), (2, "paths, 2 epochs (seed 5)")]
)
def test_the_supernet_of_a_group_is_named_with_its_epochs(trial, epochs, expected):
    shared = {"sampling": "uniform", "seed": 5}
    run = Run("one", 0, {}, {"recipe": {"epochs": epochs}, "shared_weights": shared})
    assert expected in protocol_description(run, trial(0, 0.5))
