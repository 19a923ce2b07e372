from dataclasses import replace

import pytest

from nas import UsageError
from nas.store.base import Retraining, Run
from nas.store.leaderboard import find_trial, leaderboard
from nas.store.memory import MemoryStore


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


def test_runs_are_ranked_together_only_where_they_can_be_compared(store):
    first, second = leaderboard(store)
    assert names(first) == [("one", 2), ("two", 0), ("two", 1), ("one", 0), ("one", 1)]
    assert names(second) == [("far", 0)]
    assert first[0].row()["protocol"] != second[0].row()["protocol"]


def test_one_run_by_number_and_all_of_it(store):
    assert names(leaderboard(store, "one", sort="number", top=0)[0]) == [("one", 0), ("one", 1), ("one", 2)]
    assert names(leaderboard(store, "one", top=1)[0]) == [("one", 2)]
    row = leaderboard(store, "one")[0][-1].row()
    assert (row["status"], row["error"], row["score"]) == ("failed", "made to fail", None)


def test_repeats_are_joined_on_request(store, trial):
    with store.open(Run("again", 1, {}, {"data": "toy", "split": "aa", "recipe": {"epochs": 3}})) as record:
        record.add(replace(trial(0, 0.6), seed=2))
        record.add(replace(trial(1, 0.6, (0, 0, 0, 0, 0, 0)), seed=2))  # the same training once more counts once
    entries = leaderboard(store, group=True)[0]
    joined = next(entry for entry in entries if entry.members == 3)
    # architecture 0: 0.2 in one, 0.3 in two, 0.6 in again
    assert (round(joined.score, 4), round(joined.spread, 4)) == (0.3667, 0.2082)
    assert [entry.score for entry in entries if entry.score] == sorted(
        (e.score for e in entries if e.score), reverse=True
    )


def test_a_test_result_is_joined_to_its_trial(store):
    store.add_retraining(Retraining("one", 2, "toy", "t", "c", 0, {}, {"test_accuracy": 0.77}, 1.0, "f"))
    assert leaderboard(store, "one")[0][0].row()["retrained"][0]["metrics"] == {"test_accuracy": 0.77}


def test_what_is_not_there_is_named(store):
    with pytest.raises(UsageError, match="there is no run 'nope' in the store; it has 'one', 'two', 'far'"):
        leaderboard(store, "nope")
    with pytest.raises(UsageError, match="sort must be score, number or one of valid_accuracy, got 'acc'"):
        leaderboard(store, sort="acc")
    with pytest.raises(UsageError, match="trial=9 is not a trial of run 'one'; expected best or 0 to 2"):
        find_trial(store, "one", 9)
    assert find_trial(store, "one", "best")[1].number == 2
