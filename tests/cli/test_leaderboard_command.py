"""`nas leaderboard`: conditions, columns, sweeps and formats."""

import csv
import io
import json
from dataclasses import replace

import pytest

from nas.store.base import Run
from nas.store.sqlite import SQLiteStore


@pytest.fixture
def study(nas, tmp_path, trial):
    """Three runs, two of them of a sweep; the larger an architecture, the better."""
    store = SQLiteStore(f"sqlite:///{tmp_path / 'nas.db'}")
    for seed, (name, sweep) in enumerate([("one", "study"), ("two", "study"), ("three", None)]):
        config = {"choices": {"strategy": "random"}, **({} if sweep is None else {"sweep": sweep})}
        with store.open(Run(name, seed, config, {"recipe": {"epochs": 3}})) as record:
            for number in range(4):
                metrics = {"valid_accuracy": number / 10, "parameters": 500_000 * number}
                record.add(replace(trial(number, 0.1), metrics=metrics, cost={"memory": 9.0}))
            record.add(trial(4, None))
    return nas


def numbers(result):
    return [(row["run"], row["number"]) for row in json.loads(result.stdout)]


def test_only_trials_that_meet_a_condition_are_listed(study):
    found = study("leaderboard", "run=one", "where=params<=1e6 and epochs=3", "format=json")
    assert numbers(found) == [("one", 2), ("one", 1), ("one", 0)]
    assert numbers(study("leaderboard", "where=not status=completed", "format=json")) == [
        ("one", 4), ("two", 4), ("three", 4)
    ]  # fmt: skip
    assert (
        study("leaderboard", "run=one", "where=params>9M").stdout == "no trial of run 'one' meets where='params>9M'\n"
    )


def test_the_seed_of_a_run_is_not_that_of_a_training(study):
    assert numbers(study("leaderboard", "where=run_seed=1 and number=3", "format=json")) == [("two", 3)]
    assert study("leaderboard", "where=seed=99").stdout == (
        "no trial meets where='seed=99'; seed is that of a trial's training, and run_seed is the seed= of its run\n"
    )


def test_only_the_runs_of_a_sweep_are_listed(study, refused):
    found = numbers(study("leaderboard", "sweep=study", "top=2", "format=json"))
    assert found == [("one", 3), ("two", 3)]
    assert numbers(study("leaderboard", "sweep=study", "run=two", "top=1", "format=json")) == [("two", 3)]
    refused("leaderboard", "sweep=studies", match="there is no sweep 'studies' in the store; it has 'study'")
    refused("leaderboard", "sweep=study", "run=three", match="there is no sweep 'study'")


def test_chosen_columns_are_shown_in_their_order(study):
    lines = study(
        "leaderboard", "run=one", "columns=[trial,params,valid_accuracy,strategy]", "top=1"
    ).stdout.splitlines()
    assert lines[2].split() == ["trial", "params", "valid_accuracy", "strategy"]
    assert lines[4].split() == ["3", "1.5", "M", "0.3000", "random"]
    found = study(
        "leaderboard", "run=one", "columns=[rank,trial,error_kind]", "sort=number desc", "top=1", "format=json"
    )
    assert json.loads(found.stdout) == [{"rank": 1, "trial": 4, "error_kind": "error"}]
    found = study("leaderboard", "run=one", "columns=[number,memory]", "top=2", "format=csv")
    assert found.stdout == "number,memory\n3,9.0\n2,9.0\n"


def test_csv_has_every_metric_of_the_listed_trials(study):
    table = list(csv.DictReader(io.StringIO(study("leaderboard", "run=one", "format=csv").stdout)))
    assert [row["number"] for row in table] == ["3", "2", "1", "0", "4"]
    assert (table[0]["valid_accuracy"], table[0]["memory"], table[0]["rank"]) == ("0.3", "9.0", "1")
    assert (table[-1]["valid_accuracy"], table[-1]["error"]) == ("", "made to fail")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["where=parms<1"], r"unknown name 'parms' \(did you mean 'params'\?\)"),
        (["where=params<<1"], "expected a number, a word or a text in quotes, got '<' at character 8"),
        (["where="], "expected the name of a metric, a cost or a fact, got the end"),
        (["columns=[run,acuracy]"], r"columns: unknown name 'acuracy' \(did you mean '.*accuracy'\?\)"),
        (["columns=[arch,arch]"], "columns names 'arch' twice; leave one out"),
        (["format=yaml"], "format must be one of table, json, csv, got 'yaml'"),
    ],
)
def test_mistakes_are_named(study, refused, arguments, message):
    refused("leaderboard", *arguments, match=message)
