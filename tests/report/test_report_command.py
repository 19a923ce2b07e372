"""`nas report`: what it writes, and how it refuses what it cannot do."""

import json
import shutil
import tarfile

import pytest
from conftest import ROOT
from made_fit import make_fit
from made_run import add_run, make_store, make_trials
from page import Page

from nas.cli.study_report import write_run_report
from nas.config.settings import compose

TABLE = ["evaluator=table", "table=cifar10_8x8", "progress=false"]


def page_of(path):
    return Page(path.read_text(encoding="utf-8"))


def written(nas, *arguments, out="report.html"):
    result = nas("report", *arguments, *([] if out == "report.html" else [f"out={out}"]))
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.startswith(f"Written to {out} (")


def test_a_search_on_a_table(nas, tmp_path):
    assert nas("search", *TABLE, "strategy=random", "budget.trials=30", "run=first").returncode == 0
    written(nas, "run=first")
    page = page_of(tmp_path / "report.html")
    best = json.loads(nas("leaderboard", "run=first", "top=1", "format=json").stdout)[0]
    assert json.loads(page.facts["best.value"][0][0]) == pytest.approx(best["score"])
    assert page.facts["best.text"][0][1] == best["arch"]
    assert page.facts["parts.table"][0][1] == "cifar10_8x8"
    assert "parts.trainer" not in page.facts, "nothing is trained"
    pictures = [known["alt"] for tag, known in page.tags if tag == "img"]
    assert pictures == ["The cell"]
    command = page.facts["commands.0.command"][0][1]
    assert (
        command == "nas search evaluator=table strategy=random table=cifar10_8x8 run=first device=cpu budget.trials=30"
    )
    assert len(page.rows()) == 30


def test_the_same_run_gives_the_same_file(nas, tmp_path):
    assert nas("search", *TABLE, "strategy=random", "budget.trials=25", "run=first").returncode == 0
    written(nas, "run=first")
    written(nas, "run=first", out="again.html")
    assert (tmp_path / "report.html").read_bytes() == (tmp_path / "again.html").read_bytes()


def test_a_run_with_a_record_of_a_fit(nas, tmp_path):
    add_run(make_store(tmp_path / "nas.db"), make_trials())
    make_fit(tmp_path / "elsewhere" / "made" / "fit")
    written(nas, "run=made", "dir=elsewhere")
    assert "fit.result.sentence" in page_of(tmp_path / "report.html").facts


def test_the_threshold_is_that_of_the_model_beside_the_report(nas, tmp_path):
    add_run(make_store(tmp_path / "nas.db"), make_trials())
    folder = make_fit(tmp_path / "runs" / "made" / "fit")
    result = json.loads((folder / "result.json").read_text())
    del result["model"]
    (folder / "result.json").write_text(json.dumps(result))
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "model.json").write_text(json.dumps({"threshold": {"value": 0.4}}))
    settings = compose("report", [])
    write_run_report(settings, settings.make("store"), "made", tmp_path / "exported" / "report.html")
    assert page_of(tmp_path / "exported" / "report.html").facts["fit.threshold.value"] == [("0.4", "40.0 %")]


def test_a_run_that_was_made_in_python_has_no_command(nas, tmp_path):
    add_run(make_store(tmp_path / "nas.db"), make_trials())
    written(nas, "run=made")
    assert "so no command repeats it" in " ".join(" ".join(page_of(tmp_path / "report.html").loose).split())


def test_a_space_that_is_not_here_is_not_drawn(nas, tmp_path):
    config = {
        "objective": {"metric": "valid_accuracy"},
        "choices": {"space": "mine", "strategy": "random"},
        "space": {},
    }
    add_run(make_store(tmp_path / "nas.db"), make_trials(), config=config)
    written(nas, "run=made")
    loose = " ".join(" ".join(page_of(tmp_path / "report.html").loose).split())
    assert "The winner is not drawn: " in loose
    assert "mine" in loose


def test_a_comparison(nas, tmp_path):
    compare = ["compare", "strategies=[random,regularized_evolution]", "seeds=4", *TABLE, "budget.trials=20", "out=c"]
    assert nas(*compare).returncode == 0
    written(nas, "comparison=c")
    page = page_of(tmp_path / "report.html")
    summary = {one["strategy"]: one for one in json.loads((tmp_path / "c" / "summary.json").read_text())}
    for number in range(page.facts["comparison.strategies"][0][0] == "2" and 2):
        name = page.facts[f"columns.0.strategies.{number}.name"][0][1]
        metrics = next(iter(summary[name]["metrics"].values()))
        for key, known in (("mean", "mean"), ("low", "ci_low"), ("high", "ci_high"), ("std", "std")):
            (attribute, _), *_ = page.facts[f"columns.0.strategies.{number}.{key}"]
            assert json.loads(attribute) == pytest.approx(metrics[known]), key
    runs = {
        f"{line['strategy']} {line['seed']}": line
        for line in map(json.loads, (tmp_path / "c" / "runs.journal").read_text().splitlines()[1:])
    }
    assert page.rows().keys() == runs.keys()
    for name, row in page.rows().items():
        assert (row["architecture"], row["queries"]) == (runs[name]["architecture"], runs[name]["queries"])
    assert "not significantly better" in page.facts["columns.0.verdict"][0][1]


def test_an_unfinished_comparison(nas, tmp_path):
    assert nas("compare", "strategies=[random]", "seeds=3", *TABLE, "budget.trials=9", "out=c").returncode == 0
    journal = tmp_path / "c" / "runs.journal"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:2]))
    written(nas, "comparison=c")
    assert len(page_of(tmp_path / "report.html").rows()) == 1


def test_a_sweep(nas, shell, tmp_path):
    sweep = [
        "search",
        "-m",
        *TABLE,
        "strategy=random,regularized_evolution",
        "seed=0,1",
        "budget.trials=8",
        "sweep=two",
    ]
    assert shell(*sweep).returncode == 0
    written(nas, "sweep=two")
    page = page_of(tmp_path / "report.html")
    assert page.facts["sweep.runs"][0][1] == "4"
    assert page.facts["sweep.finished"][0][1] == "4"
    listed = {row["run"]: row for row in json.loads(nas("runs", "sweep=two", "format=json").stdout)}
    assert page.rows().keys() == listed.keys()
    for name, row in page.rows().items():
        assert row["value"] == pytest.approx(listed[name]["best"], rel=1e-5)
        assert (row["state"], row["trials"], row["failed"]) == ("finished", 8, 0)
    assert {page.facts[f"groups.0.strategies.{n}.name"][0][1] for n in range(2)} == {"random", "regularized_evolution"}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], r"none of them is set; expected one of run=, sweep= and comparison="),
        (["run=a", "sweep=b"], r"run=a and sweep=b; expected one of"),
        (["run=a", "sweep=b", "comparison=c"], r"run=a and sweep=b and comparison=c; expected one of"),
        (["run=first"], r"there is no store .*nas.db|nas\.db"),
        (
            ["comparison=missing"],
            r"comparison=missing (is not a folder of nas compare: its runs.journal is missing|cannot)",
        ),
        (["run=a", "out=."], r"out=\. is a folder; expected a file, such as out=report.html"),
        (["run=a", "out=missing/r.html"], r"out=missing/r.html: missing is not a folder; create it, or set out="),
        (["run=a", "trials=3"], r"trials"),
    ],
)
def test_what_is_refused(refused, arguments, match):
    refused("report", *arguments, match=match)


def test_an_unknown_run_or_sweep_names_those_that_there_are(refused, tmp_path):
    add_run(make_store(tmp_path / "nas.db"), make_trials(3))
    refused("report", "run=mode", match=r"there is no run 'mode' in the store; it has 'made'")
    refused("report", "sweep=mode", match=r"there is no sweep 'mode' in the store; it has none")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("content", ["", "{", '{"format": 1}\n', '{"objective": {}}\n'])
def test_a_damaged_journal(refused, tmp_path, content):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "runs.journal").write_text(content)
    refused(
        "report", "comparison=c", match=r"comparison=c (is not a folder of nas compare: its runs.journal is dam|has no)"
    )


def test_a_damaged_line_of_a_journal(refused, tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "runs.journal").write_text('{"objective": {}}\n{"strategy": 1}\n')
    refused("report", "comparison=c", match=r"c/runs.journal is damaged \(line 2\)", code=1)


def test_a_file_without_permission(refused, tmp_path, monkeypatch):
    add_run(make_store(tmp_path / "nas.db"), make_trials(3))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    refused("report", "run=made", match=r"out=report.html cannot be written \(no permission\)", code=1)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_runs_and_comparisons_of_released_versions(nas, tmp_path, version):
    with tarfile.open(ROOT / "tests" / "released" / f"{version}.tar.xz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    shutil.copytree(tmp_path / "unpacked" / version, tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "nas.db").read_bytes()
    runs = [row["run"] for row in json.loads(nas("runs", "format=json").stdout)]
    assert len(runs) >= 4
    for run in runs:
        result = nas("report", f"run={run}", "out=r.html")
        assert result.returncode == 0, f"{run}: {result.stderr}"
        page = page_of(tmp_path / "r.html")
        assert page.facts["run.name"][0][1] == run
    for journal in tmp_path.glob("**/runs.journal"):
        if "unpacked" not in journal.parts:
            written(nas, f"comparison={journal.parent}")
    assert (tmp_path / "nas.db").read_bytes() == before, "a report changes no store"
