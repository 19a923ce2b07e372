"""Comparing strategies: the same course on any number of workers, resumable, and never across unequal protocols."""

import csv
import json

import pytest
from light import SmallSpace

from nas.cli.commands.compare import entries
from nas.config.overrides import list_items

SEEDS, TRIALS = 6, 40
STRATEGIES = "strategies=[regularized_evolution,reinforce(lr=0.5,optimizer=sgd)]"


@pytest.fixture
def folder(tmp_path):
    """The current folder of `nas`, with a table of a light space and its YAML."""
    space = SmallSpace()
    with (tmp_path / "light.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "valid", "time", "test", "loss"])
        for a in space.architectures():
            noise = (hash(a) % 100) / 1000
            writer.writerow([space.to_text(a), sum(a) / 12 + noise, 100 + a[0], 10 * sum(a), 12 - sum(a)])
    for group, text in (
        ("space", "_target_: light.SmallSpace\n"),
        (
            "table",
            "_target_: nas.tables.table.Table\nfile: light.csv\nroot: null\nspace: light\ncolumn: valid\n"
            "cost: time\nreported: [test, loss]\nminimized: [loss]\n",
        ),
    ):
        place = tmp_path / "conf" / group
        place.mkdir(parents=True)
        (place / "light.yaml").write_text(f"# Light.\n{text}")
    return tmp_path


def command(*more, strategies=STRATEGIES, seeds=SEEDS, executor="inline"):
    return [
        "--config-dir", "conf", "compare", strategies, f"seeds={seeds}", "space=light", "evaluator=table",
        "table=light", f"budget.trials={TRIALS}", f"executor={executor}", "out=result", *more,
    ]  # fmt: skip


def runs(folder, out="result"):
    with (folder / out / "runs.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_a_comparison_writes_its_runs_summary_and_figures(nas, folder):
    done = nas(*command())
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (folder / "result").iterdir()}
    assert {"runs.csv", "summary.md", "summary.json", "anytime.png", "anytime.svg"} <= made
    summary = json.loads((folder / "result" / "summary.json").read_text())
    assert [one["strategy"] for one in summary] == [
        "random",
        "regularized_evolution",
        "reinforce(lr=0.5,optimizer=sgd)",
    ]
    for one in summary:
        assert (one["seeds"], one["queries"]) == (SEEDS, TRIALS)
        assert set(one["metrics"]) == {"test", "loss"}
        for name, optimum in (("test", 120.0), ("loss", 0.0)):
            found = one["metrics"][name]
            assert set(found) == {"mean", "std", "median", "iqm", "ci_low", "ci_high", "regret"}
            assert found["regret"] == pytest.approx(abs(optimum - found["mean"]))
            assert found["ci_low"] <= found["mean"] <= found["ci_high"]
    rows = runs(folder)
    assert len(rows) == 3 * SEEDS
    mean = sum(float(row["test"]) for row in rows if row["strategy"] == "random") / SEEDS
    assert summary[0]["metrics"]["test"]["mean"] == pytest.approx(mean)
    assert "regularized_evolution" in done.stdout
    assert done.stdout.rstrip().endswith("runs.csv, summary.json")


def test_workers_change_nothing_and_finished_runs_are_not_repeated(nas, folder):
    assert nas(*command()).returncode == 0
    before = runs(folder)
    assert nas(*command("workers=2", "out=other", executor="processes")).returncode == 0
    assert runs(folder, "other") == before

    journal = folder / "result" / "runs.journal"
    lines = journal.read_text().splitlines(keepends=True)
    assert json.loads(lines[0])["config_dir"] == str(folder / "conf")  # for the hint where a later command lacks it
    journal.write_text("".join(lines[:8]) + lines[8][:50])  # killed while writing its eighth run
    again = nas(*command())
    assert again.returncode == 0
    assert "7 of 18 runs are done already" in again.stderr
    assert runs(folder) == before
    assert journal.read_text().splitlines(keepends=True)[:8] == lines[:8]


def test_seeds_and_strategies_are_added_to_a_comparison(nas, folder):
    assert nas(*command(seeds=3)).returncode == 0
    first = runs(folder)
    more = nas(*command(strategies="strategies=[random,local_search,regularized_evolution]", seeds=5))
    assert more.returncode == 0
    rows = runs(folder)
    assert len(rows) == 15
    kept = [row for row in first if not row["strategy"].startswith("reinforce")]
    assert [row for row in rows if int(row["seed"]) < 3 and row["strategy"] != "local_search"] == kept


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["budget.trials=41"], "was started with budget.trials=40, now it is 41"),
        (["space=nasbench201", "table=nasbench201"], "was started with space.name=light, now it is nasbench201"),
        (["table.column=time"], "was started with table.column=valid, now it is time"),
        (
            ["table.reported=[test]", "table.minimized=[]"],
            "table.reported=['test', 'loss'], now it is ['test']. Choose another out=",
        ),
        (["objective.direction=minimize"], "was started with objective.direction=maximize"),
    ],
)
def test_runs_of_another_protocol_are_refused(nas, folder, more, message):
    assert nas(*command(seeds=1)).returncode == 0
    before = (folder / "result" / "runs.journal").read_bytes()
    refused = nas(*command(*more, seeds=1))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert message is None or message in refused.stderr
    assert (folder / "result" / "runs.journal").read_bytes() == before


def test_a_changed_table_is_refused(nas, folder):
    assert nas(*command(seeds=1)).returncode == 0
    table = folder / "light.csv"
    table.write_text(table.read_text().replace(",100,", ",101,", 1))
    refused = nas(*command(seeds=1))
    assert refused.returncode == 2
    assert "was started with protocol.table=" in refused.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seeds=0"], "seeds must be a whole number of at least 1 and at most 10000, got 0"),
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
def test_mistakes_are_told_in_a_sentence(nas, folder, words, message):
    done = nas(*command(*words))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / "result").exists()


def test_a_table_that_reports_nothing_is_compared_by_the_objective(nas, folder):
    done = nas(*command("table.reported=[]", "table.minimized=[]", seeds=2))
    assert done.returncode == 0, done.stderr
    summary = json.loads((folder / "result" / "summary.json").read_text())
    assert {name for one in summary for name in one["metrics"]} == {"valid_accuracy"}


def test_a_list_of_strategies_is_parted_at_its_own_commas():
    assert list_items("[random,reinforce(lr=0.5,optimizer=sgd), 'local_search']") == [
        "random", "reinforce(lr=0.5,optimizer=sgd)", "local_search",
    ]  # fmt: skip
    assert list_items("random") == ["random"]
    assert entries(["reinforce"]) == ["random", "reinforce"]
    assert entries(["reinforce", "random"]) == ["reinforce", "random"]


def test_strategies_are_compared_by_training_as_well(nas, folder):
    """Each trial is kept in a store of the comparison, and the objective is what is reported."""
    quick = ["data=digits", "trainer.epochs=1", "trainer.train_images=200", "trainer.network={channels: 4, cells: 1}"]
    done = nas(
        "compare", "strategies=[random]", "seeds=2", "evaluator=training", *quick, "trainer.threads=1",
        "budget.trials=2", "executor=inline", "out=trained",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((folder / "trained" / "summary.json").read_text())
    assert list(summary[0]["metrics"]) == ["valid_accuracy"]
    assert summary[0]["metrics"]["valid_accuracy"]["regret"] is None
    listed = nas("leaderboard", "store.url=sqlite:///trained/runs.db", "format=json")
    assert len(json.loads(listed.stdout)) == 4
