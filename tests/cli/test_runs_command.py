"""`nas runs`: where the runs of a store stand."""

import csv
import io
import json
from dataclasses import replace

import pytest

from nas.formatting import ago
from nas.store.base import Run
from nas.store.sqlite import SQLiteStore


@pytest.fixture
def study(nas, tmp_path, trial):
    """A store with a finished run, an interrupted one that minimises, and one of a sweep without trials."""
    store = SQLiteStore(f"sqlite:///{tmp_path / 'nas.db'}")
    with store.open(Run("first", 0), 3) as record:
        for number, score in enumerate((0.25, None, 0.75)):
            record.add(trial(number, score), elapsed=2.5)
        record.end_session(3.0, "budget")
    config = {"objective": {"metric": "loss", "direction": "minimize"}, "sweep": "study"}
    with store.open(Run("second", 0, config)) as record:
        record.add(replace(trial(0, 0.5), metrics={"loss": 2.0}))
    with store.open(Run("third", 0, {"sweep": "other"}), 5) as record:
        record.end_session(0.0, "failures")
    return nas


def test_every_run_is_listed_with_its_state_and_the_newest_is_last(study):
    lines = study("runs").stdout.splitlines()
    words = [line.split() for line in lines[4:7]]
    assert [row[:5] for row in words[:1]] == [["first", "finished", "3/3", "0.7500", "valid_accuracy"]]
    assert words[1][:5] == ["second", "interrupted", "1", "2.0000", "loss"]
    assert words[2][:3] == ["third", "failed", "0/5"]
    assert lines[-1] == "3 runs: 1 finished, 1 failed, 1 interrupted"
    assert "just now" in lines[4]


def test_a_smaller_budget_than_before_plans_nothing(study, tmp_path):
    with SQLiteStore(f"sqlite:///{tmp_path / 'nas.db'}").open(Run("first", 0), 2) as record:
        record.end_session(3.0, "budget")
    row = next(line.split() for line in study("runs").stdout.splitlines() if " first " in line)
    assert row[:4] == ["first", "finished", "3", "0.7500"]


def test_other_programs_get_every_fact(study):
    rows = json.loads(study("runs", "format=json").stdout)
    assert [row["run"] for row in rows] == ["first", "second", "third"]
    first = rows[0]
    assert (first["trials"], first["planned"], first["failed"], first["best"], first["best_trial"]) == (
        3,
        3,
        1,
        0.75,
        2,
    )
    assert first["updated"].endswith("+00:00")
    assert rows[1]["best"] == 2.0  # as it was measured, though lower is better
    table = list(csv.DictReader(io.StringIO(study("runs", "format=csv").stdout)))
    assert [row["state"] for row in table] == ["finished", "interrupted", "failed"]
    assert list(table[0]) == list(first)


def test_a_run_that_is_being_written_is_running_and_has_an_owner(study, tmp_path):
    with SQLiteStore(f"sqlite:///{tmp_path / 'nas.db'}").open(Run("live", 0)):
        row = json.loads(study("runs", "state=running", "format=json").stdout)[0]
        assert row["run"] == "live"
        assert ", process " in row["owner"]
        assert ", process " in study("runs", "state=running").stdout


def test_runs_of_a_sweep_or_a_state_are_listed_alone(study, refused):
    assert [row["run"] for row in json.loads(study("runs", "sweep=study", "format=json").stdout)] == ["second"]
    assert [row["run"] for row in json.loads(study("runs", "state=failed", "format=json").stdout)] == ["third"]
    assert study("runs", "state=running").stdout == "no run is running; the store has 3 runs\n"
    refused("runs", "sweep=stud", match="there is no sweep 'stud' in the store; it has 'study', 'other'")
    refused("runs", "state=dead", match="state must be one of running, finished, failed, interrupted, got 'dead'")


def test_a_missing_store_is_named(refused):
    refused("runs", match="there is no store nas.db; run nas search first")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "just now"), (9, "just now"), (59.9, "59 s ago"), (60, "1 min ago"), (7300, "2 h ago"), (86_400, "1 day ago"),
     (1e6, "11 days ago")],
)  # fmt: skip
def test_times_are_written_for_people(seconds, expected):
    assert ago(seconds) == expected
