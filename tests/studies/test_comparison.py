"""Comparing strategies: resumable, independent of the number of workers, and never across different protocols."""

import contextlib
import csv
import io
import json
import os
import re
import shutil

import pytest
from light import SmallSpace

from nas.cli.commands.compare import entries
from nas.cli.main import main
from nas.config.overrides import list_items

SEEDS, TRIALS = 4, 40
STRATEGIES = "strategies=[regularized_evolution,reinforce(lr=0.5,optimizer=sgd)]"


def command(*more, strategies=STRATEGIES, seeds=SEEDS, executor="inline"):
    return [
        "--config-dir", "conf", "compare", strategies, f"seeds={seeds}", "space=light", "evaluator=table",
        "table=light", f"budget.trials={TRIALS}", f"executor={executor}", "out=result", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder of a finished comparison, and its stdout: a table of a light space, its YAML, and `result`."""
    folder, space = tmp_path_factory.mktemp("comparison"), SmallSpace()
    with (folder / "light.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "valid", "time", "test", "loss"])
        for a in space.architectures():
            noise = (hash(a) % 100) / 1000
            writer.writerow([space.to_text(a), sum(a) / 12 + noise, 100 + a[0], 10 * sum(a), 12 - sum(a)])
    table = (
        "_target_: nas.tables.table.Table\nfile: light.csv\nroot: null\nspace: {name}\ncolumn: valid\n"
        "cost: time\nreported: [test, loss]\nminimized: [loss]\n"
    )
    for group, text in (("space", "_target_: light.SmallSpace\n"), ("table", table)):
        (folder / "conf" / group).mkdir(parents=True)
        for name in ("light", "other"):
            (folder / "conf" / group / f"{name}.yaml").write_text(f"# Light.\n{text.format(name=name)}")
    before, stdout = os.getcwd(), io.StringIO()  # noqa: PTH109
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(stdout):
            assert main(command()) == 0
    finally:
        os.chdir(before)
    return folder, stdout.getvalue()


@pytest.fixture
def folder(nas, compared, tmp_path):
    """The current folder of `nas`, with the table and its YAML, and no comparison."""
    shutil.copytree(compared[0], tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("result"))
    return tmp_path


@pytest.fixture
def finished(compared, folder):
    """The current folder of `nas`, with a finished comparison."""
    shutil.copytree(compared[0] / "result", folder / "result")
    return folder


def runs(folder, out="result"):
    with (folder / out / "runs.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_a_comparison_writes_its_runs_summary_and_figures(compared):
    folder, stdout = compared
    files = {path.name for path in (folder / "result").iterdir()}
    assert {"runs.csv", "summary.md", "summary.json", "anytime.png", "anytime.svg"} <= files
    summary = json.loads((folder / "result" / "summary.json").read_text())
    assert [one["strategy"] for one in summary] == [
        "random",
        "regularized_evolution",
        "reinforce(lr=0.5,optimizer=sgd)",
    ]
    for one in summary:
        assert one["seeds"] == SEEDS
        assert one["queries"] == TRIALS
        assert set(one["metrics"]) == {"test", "loss"}
        for name, optimum in (("test", 120.0), ("loss", 0.0)):
            metric = one["metrics"][name]
            assert set(metric) == {"mean", "std", "median", "iqm", "ci_low", "ci_high", "regret"}
            assert metric["regret"] == pytest.approx(abs(optimum - metric["mean"]))
            assert metric["ci_low"] <= metric["mean"] <= metric["ci_high"]
    rows = runs(folder)
    assert len(rows) == 3 * SEEDS
    mean = sum(float(row["test"]) for row in rows if row["strategy"] == "random") / SEEDS
    assert summary[0]["metrics"]["test"]["mean"] == pytest.approx(mean)
    assert "regularized_evolution" in stdout
    assert stdout.rstrip().endswith("runs.csv, summary.json")
    head = json.loads((folder / "result" / "runs.journal").read_text().partition("\n")[0])
    assert head["config_dir"] == str(folder / "conf")  # for the hint if a later command lacks it


def test_a_killed_comparison_resumes_with_workers_and_finished_runs_are_not_repeated(nas, finished):
    before = runs(finished)
    journal = finished / "result" / "runs.journal"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:5]) + lines[5][:50])  # killed while writing its fifth run
    (finished / "result" / "runs.csv").unlink()
    again = nas(*command("workers=2", executor="processes"))
    assert again.returncode == 0, again.stderr
    assert "4 of 12 runs are already done" in again.stderr
    assert runs(finished) == before  # the workers' runs equal those that were run in one process
    assert journal.read_text().splitlines(keepends=True)[:5] == lines[:5]


def test_seeds_and_strategies_are_added_to_a_comparison(nas, finished):
    before = runs(finished)
    strategies = "strategies=[random,local_search,regularized_evolution]"
    assert nas(*command(strategies=strategies, seeds=SEEDS + 1)).returncode == 0
    rows = runs(finished)
    assert len(rows) == 3 * (SEEDS + 1)
    expected = [row for row in before if not row["strategy"].startswith("reinforce")]
    assert [row for row in rows if int(row["seed"]) < SEEDS and row["strategy"] != "local_search"] == expected


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["budget.trials=41"], "was started with budget.trials=40 (now 41)"),
        (["space=other", "table=other"], "was started with space.name=light (now other)"),
        (["table.column=time"], "was started with table.column=valid (now time)"),
        (
            ["table.reported=[test]", "table.minimized=[]"],
            "table.reported=['test', 'loss'] (now ['test']). Choose another out=",
        ),
        (["objective.direction=minimize"], "was started with objective.direction=maximize"),
    ],
)
def test_runs_of_another_protocol_are_refused(refused, finished, more, message):
    before = (finished / "result" / "runs.journal").read_bytes()
    error = refused(*command(*more, strategies="strategies=[random]"), match=re.escape(message))
    assert error.count("\n") == 1
    assert (finished / "result" / "runs.journal").read_bytes() == before


def test_a_changed_table_is_refused(refused, finished):
    table = finished / "light.csv"
    table.write_text(table.read_text().replace(",100,", ",101,", 1))
    before = (finished / "result" / "runs.journal").read_bytes()
    refused(*command(strategies="strategies=[random]"), match="was started with protocol.table=")
    assert (finished / "result" / "runs.journal").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seeds=1000000"], "seeds must be a whole number of at least 1 and at most 10000, got 1000000"),
        (["strategies=[random,rienforce]"], "unknown strategy 'rienforce' (did you mean 'reinforce'?)"),
        (["strategies=[reinforce(rate=1)]"], "unknown key 'strategy.rate' (did you mean 'strategy.lr'?)"),
        (["strategies=[reinforce(lr=0]"], "strategies has 'reinforce(lr=0'; expected a strategy such as"),
        (["strategies=[reinforce(lr=-1)]"], "strategy.lr must be a number above 0 and at most 1e+06, got -1"),
        (["strategies=[random,random]"], "strategies names 'random' twice"),
        (["table.column=loss"], "table.column and table.reported both name 'loss'"),
        (["executor=processes", "executor.order=async"], "executor.order=async has no effect in nas compare"),
        (["out=light.csv"], "out=light.csv is a file; expected a folder"),
        (["out=conf"], "out=conf holds something other than a comparison; choose another folder"),
        (["executor=inline", "workers=3"], "workers=3 has no effect with executor=inline; add executor=processes"),
        (["table.cost=null", "budget.trials=null", "budget.simulated_seconds=5"], "would never be reached"),
        ([f"strategies=[reinforce(lr=0.{'0' * 80}1)]"], "strategies has a name of 97 characters; expected at most 90"),
        (["strategies=[]", "seeds=1", "trainer.epochs=1"], "trainer.epochs=1 has no effect, since evaluator=table"),
    ],
)  # fmt: skip
def test_mistakes_are_reported_in_one_sentence(refused, folder, arguments, message):
    error = refused(*command("strategies=[random]", *arguments), match=re.escape(message))
    assert error.count("\n") == 1
    assert not (folder / "result").exists()


def test_a_table_that_reports_nothing_is_compared_by_the_objective(nas, folder):
    result = nas(*command("table.reported=[]", "table.minimized=[]", strategies="strategies=[random]", seeds=1))
    assert result.returncode == 0, result.stderr
    (summary,) = json.loads((folder / "result" / "summary.json").read_text())
    assert set(summary["metrics"]) == {"valid_accuracy"}


def test_a_list_of_strategies_is_split_only_at_its_own_commas():
    assert list_items("[random,reinforce(lr=0.5,optimizer=sgd), 'local_search']") == [
        "random", "reinforce(lr=0.5,optimizer=sgd)", "local_search",
    ]  # fmt: skip
    assert list_items("random") == ["random"]
    assert entries(["reinforce"]) == ["random", "reinforce"]
    assert entries(["reinforce", "random"]) == ["reinforce", "random"]


def test_strategies_are_compared_by_training(nas, folder):
    """Every trial is stored in the folder of the comparison, and the objective is reported."""
    quick = ["data=digits", "trainer.epochs=1", "trainer.train_images=64", "trainer.network={channels: 4, cells: 1}"]
    result = nas(
        "compare", "strategies=[random]", "seeds=2", "evaluator=training", *quick, "trainer.threads=1",
        "budget.trials=2", "executor=inline", "out=trained",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    summary = json.loads((folder / "trained" / "summary.json").read_text())
    assert list(summary[0]["metrics"]) == ["valid_accuracy"]
    assert summary[0]["metrics"]["valid_accuracy"]["regret"] is None
    listing = nas("leaderboard", "store.url=sqlite:///trained/runs.db", "format=json")
    assert len(json.loads(listing.stdout)) == 4
