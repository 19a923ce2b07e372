"""Finished searches as the runs of a comparison: how they are labelled, and which may be compared."""

import json
import sqlite3

import pytest
from conftest import steep

from nas import Budget, search
from nas.store.base import Run
from nas.store.memory import MemoryStore
from nas.strategies.random import RandomSearch
from nas.studies.finished_searches import grouped, labels, search_result

TABLE = ["evaluator=table", "table=cifar10_8x8", "budget.trials=20", "progress=false"]


def run(name, seed=0, **config):
    return Run(
        name, seed, {"objective": {"metric": "valid_accuracy"}, **config}, {"data": config.pop("images", "digits")}
    )


def test_a_label_is_the_strategy_and_what_differs_between_its_runs():
    runs = [
        run("a", choices={"strategy": "random"}, strategy={}),
        run("b", seed=1, choices={"strategy": "random"}, strategy={}),
        run("c", choices={"strategy": "reinforce"}, strategy={"lr": 0.1}),
        run("d", choices={"strategy": "reinforce"}, strategy={"lr": 0.5}),
        run("e", strategy={"type": "nas.strategies.random.RandomSearch"}),
    ]
    assert labels(runs) == {
        "a": "random",
        "b": "random",
        "c": "reinforce(lr=0.1)",
        "d": "reinforce(lr=0.5)",
        "e": "RandomSearch",
    }


def test_a_budget_makes_a_difference_and_a_folder_does_not():
    runs = [
        run("a", choices={"strategy": "random"}, budget={"trials": 5}, dir="here", store={"url": "a"}),
        run("b", choices={"strategy": "random"}, budget={"trials": 9}, dir="there", store={"url": "b"}),
    ]
    assert labels(runs) == {"a": "random(budget.trials=5)", "b": "random(budget.trials=9)"}


def test_only_searches_of_one_protocol_are_in_a_group():
    runs = [run("a"), run("b", images="cifar10"), run("c", seed=2)]
    groups = grouped(runs)
    assert [[one.name for one in group.runs] for group in groups] == [["a", "c"], ["b"]]


def test_a_search_becomes_what_a_comparison_of_it_would_have_measured(toy_space):
    store = MemoryStore()
    result = search(toy_space, RandomSearch, steep, budget=Budget(trials=30), store=store, run="one", seed=3)
    found = search_result(store.runs()[0], "random", store.trials("one"), 2.5, None)
    assert (found.strategy, found.seed, found.queries, found.seconds) == ("random", 3, 30, 2.5)
    assert found.architecture == result.best.text
    assert found.metrics == {"valid_accuracy": result.best.metrics["valid_accuracy"]}
    assert [step.query for step in found.steps] == sorted({step.query for step in found.steps})


def test_a_search_without_a_completed_trial_is_no_run(trial):
    assert search_result(run("one"), "random", [trial(0, None)], None, None) is None


@pytest.fixture
def compared(nas):
    """`nas`, with a sweep of two strategies and two seeds on a table, one of them interrupted."""
    for strategy in ("random", "regularized_evolution"):
        for seed in (0, 1):
            done = nas("search", *TABLE, f"strategy={strategy}", f"seed={seed}", "sweep=lab", f"run={strategy}-{seed}")
            assert done.returncode == 0, done.stderr
    return nas


def test_compare_draws_finished_searches_without_running_anything(compared, tmp_path):
    done = compared("compare", "sweep=lab", "format=json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "comparisons" / "lab" / "summary.json").read_text())
    direct = compared("compare", "strategies=[random,regularized_evolution]", "seeds=2", "budget.trials=20",
                      "executor=inline", "out=direct")  # fmt: skip
    assert direct.returncode == 0, direct.stderr
    for name in ("summary.md", "anytime.png", "runs.csv", "summary.json"):
        assert (tmp_path / "comparisons" / "lab" / name).exists()
    rows = [
        [
            line.split(",")[:3] + line.split(",")[5:]
            for line in (tmp_path / folder / "runs.csv").read_text().splitlines()
        ]
        for folder in ("comparisons/lab", "direct")
    ]
    assert sorted(rows[0]) == sorted(rows[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep=other"], "there is no sweep 'other' in the store; it has 'lab'"),
        (["sweep=lab", "seeds=3"], "seeds=3 has no effect with sweep=, whose searches are finished; leave it out"),
    ],
)
def test_a_comparison_of_a_sweep_that_cannot_be_made_is_refused(nas, arguments, message):
    assert nas("search", *TABLE, "sweep=lab", "run=one").returncode == 0
    refused = nas("compare", *arguments)
    assert (refused.returncode, refused.stderr) == (2, f"nas: {message}\n")


def test_unfinished_searches_are_left_out_and_named(compared):
    with sqlite3.connect("nas.db") as connection:
        connection.execute("UPDATE sessions SET ended = 'interrupted' WHERE run = 'random-1'")
    done = compared("compare", "sweep=lab")
    assert done.returncode == 0
    assert "1 unfinished run left out: random-1 (interrupted)" in done.stderr
