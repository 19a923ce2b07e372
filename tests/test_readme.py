"""README.md tells the truth: its commands and its Python are run as they stand, in its order, in one folder."""

import os
import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image

from nas import cli

README = (ROOT / "README.md").read_text()
QUICK = {
    "search": ["budget.trials=2", "trainer.epochs=1", "trainer.train_images=300", "trainer.valid_images=200"],
    "compare": ["seeds=3"],
    "retrain": ["trainer.epochs=1", "trainer.train_images=300", "trainer.network={channels: 4, cells: 1}"],
}
"""Appended to commands on CIFAR-10, to retrainings and comparisons, which take a minute to a day; the rest runs as
written."""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands():
    return [line.split(" #")[0].strip() for block in blocks("bash") for line in block.splitlines()]


def test_every_command_runs_in_the_order_of_the_readme(nas, tmp_path):
    if not (Path(os.environ.get("NAS_DATA", "/nowhere")) / "cifar-10-batches-py").is_dir():
        pytest.skip("needs CIFAR-10 below NAS_DATA")
    (tmp_path / "my_space.py").write_text(next(block for block in blocks("python") if "class MySpace" in block))
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "mine.yaml").write_text(blocks("yaml")[0])
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 48), "navy").save(tmp_path / "photos" / "sea.jpg")
    ran = 0
    for command in commands():
        program, *words = shlex.split(command)
        if program != "nas":
            # the set-up commands and TensorBoard's server are named, not run; scripts/check is what runs this test
            assert program in ("scripts/demo", "scripts/check", "tensorboard")
            continue
        large = "data=cifar10" in words or "retrain" in words or "compare" in words
        name = next(word for word in words if word in cli.commands())
        result = nas(*words, *(QUICK.get(name, []) if large else []))
        assert result.returncode == 0, (command, result.stderr)
        assert result.stdout
        ran += 1
    assert ran >= 10


def test_the_python_search_runs_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = next(block for block in blocks("python") if "search(space" in block)
    lines = [line for line in code.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(lines) == 5
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    text, accuracy = capsys.readouterr().out.split()
    exec(compile(next(block for block in blocks("python") if "def many_skips" in block), "README.md", "exec"), names)
    assert names["result"].best.metrics["skips"] >= 4
    assert text.startswith("|")
    assert 0.3 < float(accuracy) <= 1.0


def test_the_files_that_the_readme_names_are_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    for script in ("scripts/demo", "scripts/check"):
        assert os.access(ROOT / script, os.X_OK)
