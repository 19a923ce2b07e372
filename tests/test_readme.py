"""The documents are true: their commands and their Python run as they stand, page by page, in the order of the page."""

import contextlib
import io
import json
import os
import re
import shlex

import pytest
from conftest import ROOT
from pictures.planted import clean
from PIL import Image
from written import without_processes

from nas.cli import main as cli
from nas.launchers.base import JobResult
from nas.launchers.local import LocalLauncher

PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
QUICK_SETTINGS = {
    "search": ["budget.trials=2", "trainer.epochs=1", "trainer.train_images=200", "trainer.valid_images=100"],
    "retrain": ["trainer.epochs=1", "trainer.train_images=200", "trainer.network={channels: 4, cells: 1}"],
    "compare": ["seeds=3"],
    "check": ["export=false"],
    "inspect": ["backbone=null"],
    "fit": ["minutes=1", "backbone=null", "speed=speeds.json"],
}
"""Appended to commands that would take a minute to a day; everything else runs as it is written."""
ALWAYS_QUICK = ("compare", "check", "inspect", "fit")
SLOW = {
    "before": 5.0,
    "train": {"method=baseline;rate=1.0": 20.0, "method=searched;rate=1.0": 15.0},
    "run": {"method=baseline;rate=1.0": 400.0, "method=searched;rate=1.0": 300.0},
}
"""Speeds of a slow machine, so that the trials of a fit are short."""
PROGRAMS_NOT_RUN = {"pip", "python", "tensorboard", "scripts/demo", "scripts/check"}
"""Programs that a page names and that are not run here."""


def run_jobs_here(_launcher, jobs):
    """`LocalLauncher.run` without a process for each job, whose start takes seconds."""
    for job in jobs:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            code = cli.main(list(job.words))
        yield JobResult(job.name, job.words, code, 1.0, output=output.getvalue())


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def commands(page):
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "bash")])
@pytest.mark.usefixtures("forked_workers")
def test_every_command_of_a_page_runs(page, nas, tmp_path, request, monkeypatch):
    monkeypatch.setattr(LocalLauncher, "run", run_jobs_here)
    if page == "README.md":
        request.getfixturevalue("few_cifar10_images")
        request.getfixturevalue("table")
        (tmp_path / "my_space.py").write_text(
            next(block for block in blocks(page, "python") if "class MySpace" in block)
        )
        (tmp_path / "conf" / "space").mkdir(parents=True)
        (tmp_path / "conf" / "space" / "mine.yaml").write_text(blocks(page, "yaml")[0])
        (tmp_path / "photos").mkdir()
        Image.new("RGB", (64, 48), "navy").save(tmp_path / "photos" / "sea.jpg")
    if page == "your-pictures.md":
        clean(tmp_path / "photos", each=14, classes=("apples", "pears", "plums"))
        clean(tmp_path / "new_photos", each=1)
        (tmp_path / "speeds.json").write_text(json.dumps({"speeds": SLOW}))
    for program, *arguments in commands(page):
        if program != "nas":
            assert program in PROGRAMS_NOT_RUN
            continue
        name = next(word for word in arguments if word in cli.commands())
        if name == "serve":  # until it is interrupted
            continue
        trains = "evaluator=table" not in arguments and "experiment=spos" not in arguments
        computes = not any(word.startswith("sweep=") for word in arguments)
        quick = QUICK_SETTINGS.get(name, []) if computes and (name in ALWAYS_QUICK or trains) else []
        with without_processes():  # the forms are checked in fresh processes by tests/export
            result = nas(*arguments, *quick)
        assert result.returncode == 0, (arguments, result.stderr)
        assert result.stdout


def test_the_python_search_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = blocks("README.md", "python")[0]
    exec(compile(code.replace("trials=8", "trials=3").replace("epochs=3", "epochs=1"), "README.md", "exec"), {})
    text, accuracy = capsys.readouterr().out.split()
    assert text.startswith("|")
    assert 0.1 < float(accuracy) <= 1.0


def test_the_python_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile("\n".join(blocks("python.md", "python")), "python.md", "exec"), names)
    assert names["result"].best.metrics["skips"] >= 4
    assert [int(number) > 0 for number in capsys.readouterr().out.split()] == [True, True]


def test_every_method_of_the_readme_is_an_option_and_a_class():
    import nas.strategies

    table = [row.split("|")[1:-1] for row in PAGES["README.md"].splitlines() if row.startswith("| ") and "`" in row]
    methods = {name: cls for _, _, name, cls in (row for row in table if len(row) == 4) if "nas.strat" not in cls}
    options = {path.stem for path in (ROOT / "configs" / "strategy").glob("*.yaml")}
    assert {re.findall(r"`(\w+)`", name)[0] for name, cls in methods.items() if "`" in cls} == options
    for cls in filter(lambda cls: "`" in cls, methods.values()):
        assert hasattr(nas.strategies, cls.strip().strip("`"))


def test_every_command_is_in_the_readme():
    assert {name for name in cli.commands() if f"| `nas {name}` |" in PAGES["README.md"]} == set(cli.commands())


def test_the_files_that_a_page_names_exist():
    pages = {ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")}
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} names {target}"
    for script in ("scripts/demo", "scripts/check"):
        assert os.access(ROOT / script, os.X_OK)


@pytest.mark.parametrize("page", PAGES)
def test_no_two_sweeps_of_a_page_have_one_name(page):
    """A reader who follows the page would be refused: a sweep keeps its settings."""
    text = "\n".join(blocks(page, "(?:ba)?sh")).replace("\\\n", " ")
    names = [name for line in text.splitlines() if " -m " in line for name in re.findall(r"\bsweep=(\S+)", line)]
    assert len(names) == len(set(names))


def test_the_documents_are_short():
    lines = {
        name: (ROOT / name).read_text().splitlines() for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
    }
    assert len(lines["README.md"]) < 200
    assert len(lines["ARCHITECTURE.md"]) < 150
    assert lines["README.md"].index("```python") < 40
    recipes = (ROOT / "CONTRIBUTING.md").read_text().split("\n## ")[1:]
    assert {
        recipe.splitlines()[0]: len(recipe.splitlines()) for recipe in recipes if len(recipe.splitlines()) > 26
    } == {}
    for page, text in (*((name, "\n".join(text)) for name, text in lines.items()), *PAGES.items()):
        assert [line for line in text.splitlines() if len(line) > 120] == [], page
