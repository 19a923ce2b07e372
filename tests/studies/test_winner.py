"""The winner of a comparison, which `nas export`, `nas draw` and `nas retrain` accept as a source."""

import json

import pytest
from written import without_processes

from nas.errors import UsageError, UserError
from nas.studies.comparison import JOURNAL
from nas.studies.winner import winner

HEAD = {
    "format": 1,
    "space": {"name": "nasbench201", "settings": {"channels": 4, "cells": 1}},
    "objective": {"metric": "valid_accuracy", "direction": "maximize"},
    "protocol": {"table": "c3"},
    "environment": {"python": "3.11"},
}


def line(strategy, seed, searched, test):
    steps = [{"query": 1, "simulated_seconds": None, "metrics": {"test_accuracy": test}}]
    run = {"strategy": strategy, "settings": {}, "seed": seed, "queries": 1, "simulated_seconds": None}
    run |= {"seconds": 0.1, "architecture": f"{strategy}-{seed}", "steps": steps}
    return run if searched is None else run | {"searched": searched}


def journal(folder, *lines, **head):
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps(one) + "\n" for one in (HEAD | head, *lines))
    (folder / JOURNAL).write_text(text)
    return folder


LINES = [line("b", 1, 0.5, 0.1), line("a", 1, 0.5, 0.2), line("a", 0, 0.4, 0.9), line("c", 0, 0.3, 0.99)]


def test_the_searched_metric_decides_and_never_a_reported_one(tmp_path):
    folder = journal(tmp_path, *LINES)
    assert winner(folder, None).text == "a-1"  # among equals the first by seed, then by name
    assert winner(folder, "c").text == "c-0"
    assert winner(folder, "a 0").text == "a-0"
    assert (
        winner(journal(tmp_path, *LINES, objective=HEAD["objective"] | {"direction": "minimize"}), None).text == "c-0"
    )


def test_a_comparison_that_still_runs_is_only_read(tmp_path):
    folder = journal(tmp_path, *LINES)
    with (folder / JOURNAL).open("a") as file:
        file.write('{"strategy": "d", "se')
    before = (folder / JOURNAL).read_bytes()
    assert winner(folder, None).text == "a-1"
    assert (folder / JOURNAL).read_bytes() == before
    assert [path.name for path in folder.iterdir()] == [JOURNAL]


def test_a_folder_that_is_not_a_comparison_is_refused(tmp_path):
    def refused(folder, run, message):
        with pytest.raises(UserError, match=message):
            winner(folder, run)

    refused(tmp_path / "nowhere", None, "is not a folder of nas compare: its runs.journal is missing")
    refused(journal(tmp_path), None, "has no finished run yet")
    refused(journal(tmp_path, *LINES), "a 7", r"run=a 7 is not a run of .*expected a strategy \(a, b, c\)")
    old = [line("a", 0, None, 0.1), line("a", 1, None, 0.1)]
    refused(journal(tmp_path, *old), None, "an earlier version of cellnas, .* such as 'run=a 0'")
    assert winner(tmp_path, "a 1").searched is None
    (tmp_path / JOURNAL).write_text("{}\n")
    refused(tmp_path, None, "its runs.journal is damaged")
    for damage in (
        {"searched": "nan"},
        {"searched": float("nan")},
        {"architecture": 5},
        {"strategy": 7},
        {"seed": "a"},
    ):
        refused(journal(tmp_path, line("a", 0, 0.5, 0.1) | damage), None, "its runs.journal is damaged")
    refused(journal(tmp_path, *LINES, environment=5), None, "its runs.journal is damaged")
    (tmp_path / JOURNAL).write_text("no json\n")
    refused(tmp_path, None, "is damaged")
    assert issubclass(UsageError, UserError)


def test_the_winner_of_a_comparison_is_drawn_retrained_and_exported(nas, refused, tmp_path):
    quick = ["trainer.epochs=1", "trainer.train_images=64", "trainer.network={channels: 4, cells: 1}"]
    compared = nas(
        "compare", "strategies=[random]", "seeds=1", "budget.trials=2", "executor=inline", "evaluator=training",
        "data=digits", *quick, "trainer.threads=1", "out=compared",
    )  # fmt: skip
    assert compared.returncode == 0, compared.stderr
    source = ["comparison=compared", "run=random"]
    drawn = nas("draw", *source)
    assert drawn.returncode == 0, drawn.stderr
    assert "pictures/compared-random-" in drawn.stdout
    retrained = nas("retrain", *source, *quick)
    assert retrained.returncode == 0, retrained.stderr
    with without_processes():
        exported = nas("export", *source, "format=[genotype,state]", "images=2", "out=model")
    assert exported.returncode == 0, exported.stderr
    facts = json.loads((tmp_path / "model" / "model.json").read_text())
    assert facts["arch"] == winner(tmp_path / "compared", None).text
    assert facts["trained"]["test_accuracy"] > 0
    assert facts["network"] == {"channels": 4, "cells": 1}
    assert facts["commands"]["compare"].startswith("nas compare")
    origin = json.loads((tmp_path / "model" / "genotype.json").read_text())["found"]
    assert origin["comparison"] == "compared"
    assert 0 < origin["metrics"]["valid_accuracy"] < 1
    error = refused("export", *source, "trial=2", match="leave it out")
    assert error.count("\n") == 1
