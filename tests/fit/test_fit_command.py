"""`nas fit`: a folder of pictures in, a model and a report out."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pictures.planted import clean
from safetensors.torch import load_file

SCRATCH = {
    "before": 5.0,
    "train": {"method=baseline;rate=1.0": 20.0, "method=searched;rate=1.0": 15.0},
    "run": {"method=baseline;rate=1.0": 400.0, "method=searched;rate=1.0": 300.0},
}
PRETRAINED = {
    "before": 5.0,
    "train": {**SCRATCH["train"], "method=finetuned;finetuned_side=96;tuned=all;rate=1.0": 30.0},
    "run": {**SCRATCH["run"], **{f"method=frozen;side={side}": 5000 / side for side in (96, 128, 160, 224)}},
}
"""Slow machines, so that trials are short."""
TIMES = ("seconds", "train_seconds", "folder", "model", "commands")


@pytest.fixture
def photos(tmp_path):
    return clean(tmp_path / "photos", each=14)


def recorded(folder: Path, speeds=SCRATCH) -> str:
    (folder / "speeds.json").write_text(json.dumps({"speeds": speeds}))
    return f"speed={folder / 'speeds.json'}"


def words(photos, *more):
    return ("fit", f"data.root={photos}", "minutes=1", *more)


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return value


def test_a_folder_of_pictures_becomes_a_tested_model_and_a_report(nas, photos, tmp_path):
    done = nas(*words(photos, recorded(tmp_path, PRETRAINED)))
    assert done.returncode == 0, done.stderr
    assert "of 9 pictures correctly that it had never seen (95 % interval" in done.stdout
    for file in ("model.safetensors", "network.py", "model.json", "MODEL_CARD.md", "report.html"):
        assert Path("model", file).is_file()
    result = json.loads(next(Path("runs").glob("*/fit/result.json")).read_text())
    rows = json.loads(nas("leaderboard", "top=0", "format=json").stdout)
    assert {row["arch"].split(";")[0] for row in rows} == {
        "method=baseline", "method=frozen", "method=finetuned", "method=searched"
    }  # fmt: skip
    winner = result["winner"]
    assert json.loads(Path("model/model.json").read_text())["trained"]["test_accuracy"] == winner["test_accuracy"]
    assert winner["test_low"] <= winner["test_accuracy"] <= winner["test_high"]
    assert result["baseline"] is None or result["baseline"]["method"] == "baseline"
    predicted = nas("predict", "model=model", f"images={photos}", "format=json")
    assert len(json.loads(predicted.stdout)) == 42
    assert "a small standard network that learnt from these pictures only (baseline): " in done.stderr

    again = nas(*words(photos, recorded(tmp_path, PRETRAINED)))
    assert again.stdout == done.stdout  # and nothing was trained again
    assert len(json.loads(nas("leaderboard", "top=0", "format=json").stdout)) == len(rows)


def test_the_search_of_a_fit_is_an_ordinary_run_that_its_printed_command_extends(nas, photos, tmp_path):
    done = nas(*words(photos, recorded(tmp_path), "backbone=null"))
    assert done.returncode == 0, done.stderr
    command = next(line.strip() for line in done.stderr.splitlines() if line.strip().startswith("nas search"))
    import shlex

    arguments = [word for word in shlex.split(command)[1:] if not word.startswith("budget")]
    trials = json.loads(nas("runs", "format=json").stdout)[0]["trials"]
    extended = nas(*arguments, f"budget.trials={trials + 1}", "progress=false")
    assert extended.returncode == 0, extended.stderr
    assert json.loads(nas("runs", "format=json").stdout)[0]["trials"] == trials + 1


@pytest.mark.parametrize("data", ["digits"])
def test_any_data_set_can_be_fitted(nas, tmp_path, data):
    done = nas("fit", f"data={data}", "minutes=1", "backbone=null", recorded(tmp_path), "format=json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["winner"]["test_images"] == 359


def killed(command, folder, after, log):
    """Run a command and kill it after some seconds; True if it had ended before."""
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    assert process.returncode == 0
    return True


def test_a_killed_fit_ends_with_the_model_of_an_uninterrupted_one(nas, photos, tmp_path):
    command = words(photos, recorded(tmp_path), "backbone=null", "store.url=sqlite:///nas.db")
    whole = nas(*command)
    assert whole.returncode == 0, whole.stderr
    folder = tmp_path / "killed"
    folder.mkdir()
    with (folder / "log").open("w") as log:
        started = time.monotonic()
        for after in (9.0, 12.0, 300.0):
            if killed([sys.executable, "-m", "nas", *command], folder, after, log):
                break
        assert time.monotonic() - started > 9
    models = [load_file(path / "model" / "model.safetensors") for path in (tmp_path, folder)]
    assert models[0].keys() == models[1].keys()
    assert all((models[0][name] == models[1][name]).all() for name in models[0])
    results = [json.loads(next((path / "runs").glob("*/fit/result.json")).read_text()) for path in (tmp_path, folder)]
    assert without_times(results[0]) == without_times(results[1])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("minutes=0",), r"minutes must be a number above 0"),
        (("minutes=soon",), r"minutes must be"),
        (("backbone=magic",), r"backbone=magic is unknown"),
        (("backbone=resnet18",), r"set download=true"),
        (("speed=none.json",), r"speed=none.json does not exist; expected plan.json of an earlier fit"),
        (("out=null",), r"out must be text, got null"),
        (("device=gpu",), r"device"),
    ],
)
def test_a_mistake_is_one_sentence_before_any_time_is_spent(refused, photos, monkeypatch, more, message):
    monkeypatch.setenv("TORCH_HOME", str(photos.parent))
    refused(*words(photos), *more, match=message)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, r"data.root=\S+ does not exist|is not a folder|not exist"),
        (lambda root: root.mkdir(), r"no picture"),
        (lambda root: root.write_text("x"), r"is a file|folder"),
        (lambda root: clean(root, each=8, classes=("only",)), r"one class|at least 2"),
    ],
)
def test_what_is_not_a_folder_of_pictures_is_refused(nas, tmp_path, make, message):
    import re

    make(tmp_path / "odd")
    done = nas("fit", f"data.root={tmp_path / 'odd'}", "minutes=1")
    assert done.returncode in (1, 2)
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_an_earlier_model_is_left_alone(refused, photos):
    Path("model").mkdir()
    Path("model/model.json").write_text("{}")
    refused(*words(photos), match=r"model holds an earlier model, which was left unchanged; choose another folder")
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    refused(*words(photos, "out=full"), match=r"full is not an empty folder and was left unchanged; set out=")
