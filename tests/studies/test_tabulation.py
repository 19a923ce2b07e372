"""Tabulating a small space on the digits: complete, resumable, and read back by the table evaluator."""

import csv
import gzip
import json
import pickle
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

import pytest
import yaml
from torch import nn

from nas import Budget, UserError, search
from nas.data.digits import Digits
from nas.evaluators.table import TableEvaluator
from nas.executors.inline import Inline
from nas.executors.processes import Processes
from nas.space.base import SearchSpace
from nas.strategies.random import RandomSearch
from nas.studies.tabulation import tabulate
from nas.tables.table import Table
from nas.tables.write import write_table
from nas.training.recipe import Recipe


class Small(SearchSpace):
    """3 x 2 networks, and the two without a hidden layer are equal."""

    choices = MappingProxyType({"width": ("0", "4", "16"), "activation": ("relu", "tanh")})

    def build(self, architecture, task, network=None):
        width, activation = self.options(architecture)
        inputs = task.channels * task.height * task.width
        if width == "0":
            return nn.Sequential(nn.Flatten(), nn.Linear(inputs, task.classes))
        hidden = nn.ReLU() if activation == "relu" else nn.Tanh()
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, int(width)), hidden, nn.Linear(int(width), task.classes))

    def canonical(self, architecture):
        return "linear" if architecture[0] == 0 else super().canonical(architecture)


RECIPE = Recipe(epochs=1, batch_size=64, train_images=300, threads=1)


def tabulated(folder, executor=None, recipe=RECIPE, reported=None, **more):
    return tabulate(
        Small(),
        {"name": "small", "settings": {}},
        Digits(),
        recipe,
        path=folder / "table.csv.gz.journal",
        executor=executor or Inline(),
        device="cpu",
        report=lambda done, total, line: reported.append((done, total)) if reported is not None else None,
        **more,
    )


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A tabulation with two seeds, its `folder`, and what was `reported`."""
    folder, reported = tmp_path_factory.mktemp("tabulated"), []
    return {**tabulated(folder, reported=reported, seeds=2), "folder": folder, "reported": reported}


def without_seconds(trainings):
    return [{key: value for key, value in line.items() if key != "seconds"} for line in trainings]


def read(path):
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))


def test_every_class_is_trained_with_every_seed_and_written_as_a_row(once, tmp_path):
    assert once["reported"] == [(n, 10) for n in range(11)]
    path = tmp_path / "table.csv.gz"
    yaml_path = write_table(once, path, "digits", {"valid_fraction": 0.25})
    rows = read(path)
    assert len(rows) == 5
    for row in rows:
        single = [float(row["test_accuracy_0"]), float(row["test_accuracy_1"])]
        assert float(row["test_accuracy"]) == pytest.approx(sum(single) / 2, abs=1e-6)
        assert float(row["seconds"]) > 0
        assert row["seeds"] == "2"
    counts = {row["arch"]: int(row["parameters"]) for row in rows}
    assert counts["width=0;activation=relu"] == 64 * 10 + 10
    assert counts["width=4;activation=tanh"] == 64 * 4 + 4 + 4 * 10 + 10

    written = yaml.safe_load(yaml_path.read_text())
    assert written["defaults"][:2] == [{"override /space": "small"}, {"override /data": "digits"}]
    assert written["data"] == {"valid_fraction": 0.25}
    settings = written["table"] | {"root": str(tmp_path)}
    assert settings.pop("_target_") == "nas.tables.table.Table"
    evaluator = TableEvaluator(Small(), Table(**settings))
    result = search(Small(), RandomSearch, evaluator, budget=Budget(trials=30))
    assert result.best.metrics["valid_accuracy"] == max(float(row["valid_accuracy_0"]) for row in rows)


def test_an_interrupted_tabulation_resumes_and_gives_the_same_table(once, tmp_path):
    lines = (once["folder"] / "table.csv.gz.journal").read_text().splitlines(keepends=True)
    (tmp_path / "table.csv.gz.journal").write_text("".join(lines[:5]) + lines[5][:40])
    reported = []
    again = tabulated(tmp_path, reported=reported, seeds=2)
    assert reported[0] == (4, 10)
    assert without_seconds(again["trainings"]) == without_seconds(once["trainings"])


class Copies:
    """An executor of two workers that are copies of the trainer, as in processes of their own; the later task first."""

    workers, order = 2, "async"

    @contextmanager
    def open(self, make, seconds=None):
        self.trainers = [pickle.loads(pickle.dumps(make())) for _ in range(2)]
        self.tasks = []
        yield self

    def submit(self, key, task):
        self.tasks.append((key, task))

    def wait(self):
        key, task = self.tasks.pop()
        return [(key, self.trainers[key % 2](task))]


@pytest.mark.parametrize("executor", [Copies(), pytest.param(Processes(2), marks=pytest.mark.slow)])
def test_workers_give_the_same_values(executor, once, tmp_path):
    two = tabulated(tmp_path, executor=executor, seeds=2)
    assert without_seconds(two["trainings"]) == without_seconds(once["trainings"])


def test_further_seeds_may_be_for_a_sample_and_added_later(tmp_path):
    sample = tabulated(tmp_path, seeds=2, repeated=2)
    assert sorted(line["repeat"] for line in sample["trainings"]) == [0] * 5 + [1] * 2
    reported = []
    tabulated(tmp_path, seeds=2, reported=reported)
    assert reported == [(7, 10), (8, 10), (9, 10), (10, 10)]
    write_table(sample, tmp_path / "table.csv", "digits", {})
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["valid_accuracy_1"] == "" for row in rows) == [False] * 2 + [True] * 3


def test_another_recipe_is_refused(once):
    journal = once["folder"] / "table.csv.gz.journal"
    before = journal.read_bytes()
    with pytest.raises(UserError, match=r"was started with recipe.lr=0.1 \(now 0.2\)"):
        tabulated(once["folder"], recipe=replace(RECIPE, lr=0.2))
    assert journal.read_bytes() == before


def test_a_training_that_fails_leaves_no_table_and_says_which(tmp_path):
    recipe = replace(RECIPE, epochs=2, lr=1e30)
    with pytest.raises(
        UserError,
        match=r"trainings failed, the first for .*No table was written because it would be incomplete.*stored in",
    ):
        tabulated(tmp_path, seeds=1, recipe=recipe)
    lines = [json.loads(line) for line in (tmp_path / "table.csv.gz.journal").read_text().splitlines()]
    assert len(lines) == 6


def test_the_command_says_where_the_table_is_and_how_to_use_it(nas, tmp_path):
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "small.yaml").write_text("# Small.\n_target_: test_tabulation.Small\n")
    arguments = [
        "--config-dir",
        "conf",
        "tabulate",
        "space=small",
        "data=digits",
        "trainer.epochs=1",
        "executor=inline",
    ]
    done = nas(*arguments, "trainer.train_images=200", "trainer.threads=1", "seeds=1", "out=tables/small.csv.gz")
    assert done.returncode == 0
    assert "5 classes, 5 trainings" in done.stdout
    (tmp_path / "conf" / "table").mkdir()
    (tmp_path / "tables" / "small.yaml").rename(tmp_path / "conf" / "table" / "small.yaml")
    program, *printed = done.stdout.splitlines()[-1].split()
    assert program == "nas"
    found = nas(*printed, "budget.trials=5", "strategy=random", "run=on-table")
    assert found.returncode == 0, found.stderr
    assert "benchmark results (not visible to the search): test_accuracy" in found.stdout
    shown = json.loads(nas(*printed, "budget.trials=5", "strategy=random", "run=on-table", "format=json").stdout)
    assert 0.05 < shown["best"]["reported"]["test_accuracy"] <= 1.0
    assert nas("--config-dir", "conf", "retrain", "run=on-table", "--cfg").returncode == 0
    (tmp_path / "mine.yaml").write_text("mine")
    for out in ("mine.csv", "tables/../mine.csv.gz"):
        kept = nas(*arguments, f"out={out}")
        assert kept.stderr.count("\n") == 1
        assert kept.returncode == 2
        assert "mine.yaml already exists and was left unchanged; choose another out=" in kept.stderr
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    bad = nas("tabulate", "out=table.txt")
    assert bad.stderr == "nas: out must be a .csv or .csv.gz file, got 'table.txt'\n"
    assert bad.returncode == 2
