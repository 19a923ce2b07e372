"""Retraining and export: trained once, tested once, and found again."""

import json
import os
import re
import shutil
import signal
import sqlite3
import statistics
import time

import pytest
import torch
from conftest import ARCH, QUICK_SETTINGS, rows
from safetensors.torch import load_file

from nas.cli.main import main
from nas.data.digits import Digits
from nas.errors import UsageError
from nas.store.memory import MemoryStore
from nas.studies.retraining import TrainingJob, retrain
from nas.training.fit import evaluate
from nas.training.recipe import Recipe
from search_spaces.nasbench201 import NASBench201

SMALL_TRAINING = [
    "trainer.epochs=1",
    "trainer.train_images=100",
    "trainer.network={channels: 4, cells: 1}",
    "trainer.threads=1",
    "format=json",
]


@pytest.fixture(scope="module")
def finished_search(tmp_path_factory):
    """The folder of a search of two trials, run `one`."""
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert (
            main(
                ["search", *QUICK_SETTINGS, "trainer.valid_images=200", "strategy=random", "budget.trials=2", "run=one"]
            )
            == 0
        )
    return folder


@pytest.fixture
def searched(nas, finished_search, tmp_path):
    """A copy of that folder as the current one."""
    shutil.copytree(finished_search, tmp_path, dirs_exist_ok=True)
    return nas


def result_of(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_export_and_retrain_go_round(searched, refused, tmp_path):
    """Search, export, retrain the file and the trial; the test result stands on the leaderboard, measured once."""
    best = max(rows(searched), key=lambda row: row["score"])
    for _ in range(2):  # the same again changes nothing
        assert searched("export", "run=one", "trial=best", "format=genotype", "out=won").returncode == 0
    genotype = json.loads((tmp_path / "won" / "genotype.json").read_text())
    assert (genotype["arch"], genotype["found"]["trial"]) == (best["arch"], best["number"])
    refused(
        "export",
        "run=one",
        f"trial={1 - best['number']}",
        "format=[genotype]",
        "out=won",
        match="won is not an empty folder",
    )

    first = result_of(searched("retrain", "run=one", "trial=best", *SMALL_TRAINING))
    assert first["new"]
    assert (first["run"], first["trial"], first["text"]) == ("one", best["number"], best["arch"])
    assert 0 < first["metrics"]["test_accuracy"] <= 1
    other = result_of(searched("retrain", "run=one", "trial=best", "seed=1", *SMALL_TRAINING))
    assert other["new"]
    assert other["metrics"] != first["metrics"]
    row = rows(searched, "run=one")[best["number"]]
    assert [test["metrics"]["test_accuracy"] for test in row["retrained"]] == [
        result["metrics"]["test_accuracy"] for result in (first, other)
    ]
    assert "test_accuracy" not in row["metrics"]
    assert "test_accuracy" in searched("leaderboard").stdout

    # same architecture, data, recipe and seed: the test set is not looked at again
    for origin in (["run=one", "trial=best"], ["arch=won/genotype.json"]):
        again = result_of(searched("retrain", *origin, *SMALL_TRAINING))
        assert not again["new"]
        assert (again["metrics"], again["folder"]) == (first["metrics"], first["folder"])


def test_the_checkpoint_scores_what_was_reported(nas):
    result = result_of(nas("retrain", f"arch={ARCH}", "data=digits", *SMALL_TRAINING))
    space, data = NASBench201(4, 1), Digits()
    network = space.build(space.from_text(ARCH), data.task)
    network.load_state_dict(load_file(f"{result['folder']}/model.safetensors"))
    accuracy, _ = evaluate(network, data.read_test(), Recipe(epochs=1))
    assert accuracy == result["metrics"]["test_accuracy"]


def test_retraining_distinguishes_networks_of_other_settings(nas):
    command = ["retrain", f"arch={ARCH}", *SMALL_TRAINING, "trainer.network={}", "space.cells=1"]
    small = result_of(nas(*command, "space.channels=4"))
    large = result_of(nas(*command, "space.channels=8"))
    assert (small["new"], large["new"]) == (True, True)
    assert small["metrics"]["parameters"] < large["metrics"]["parameters"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("store.url=sqlite:///notes.txt", "is not an SQLite database"),
        ("out=notes.txt", "notes.txt is not an empty folder"),
        ("out=full", "full is not an empty folder"),
        ("out=/dev/null/x", "cannot be written"),
    ],
)
def test_store_and_folder_are_tried_before_the_training(refused, tmp_path, monkeypatch, setting, message):
    def never(*args, **more):
        raise AssertionError("it trained")

    monkeypatch.setattr("nas.studies.retraining.train_architecture", never)
    (tmp_path / "notes.txt").write_text("not a database")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    sentence = refused(
        "retrain", f"arch={ARCH}", *SMALL_TRAINING, setting, match=message, code=1 if "written" in message else 2
    )
    assert sentence.count("\n") == 1
    assert (tmp_path / "full" / "precious").read_text() == "mine"


def test_a_retraining_whose_process_died_before_it_was_stored_is_found_again(nas, tmp_path):
    first = json.loads(nas("retrain", f"arch={ARCH}", *SMALL_TRAINING).stdout)
    (tmp_path / "nas.db").unlink()
    again = json.loads(nas("retrain", f"arch={ARCH}", *SMALL_TRAINING).stdout)
    assert (again["new"], again["metrics"]) == (False, first["metrics"])
    assert not any(path.name.startswith(".") for path in (tmp_path / "runs" / "retrained").iterdir())


def test_a_retraining_that_diverges_has_no_result(refused, tmp_path):
    refused(
        "retrain",
        f"arch={ARCH}",
        *SMALL_TRAINING,
        "trainer.lr=1e30",
        match=r"retraining failed: test loss is nan\. Try trainer\.lr=1e\+29",
        code=1,
    )
    assert list((tmp_path / "runs" / "retrained").iterdir()) == []


def test_a_killed_retraining_resumes_to_the_same_test_accuracy(toy_space, tmp_path):
    """Its process is killed between two epochs, at any time; a damaged checkpoint is refused and left unchanged."""
    recipe = Recipe(epochs=30, batch_size=16, train_images=64, lr=0.01, threads=1)
    job = TrainingJob(toy_space, "toy", (0,) * 6, Digits(), recipe, device="cpu")
    whole, _ = retrain(job, MemoryStore(), lambda _: tmp_path / "whole")
    checkpoint = tmp_path / "killed.partial.pt"
    child = os.fork()  # a copy of this process, which has loaded torch
    if child == 0:
        try:
            retrain(job, MemoryStore(), lambda _: tmp_path / "killed", lambda _: time.sleep(0.02))
        finally:
            os._exit(0)
    while not checkpoint.exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before its first checkpoint"
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:200])
    with pytest.raises(UsageError, match=r"killed\.partial\.pt is damaged; remove it"):
        retrain(job, MemoryStore(), lambda _: tmp_path / "killed")
    assert checkpoint.read_bytes() == content[:200]
    checkpoint.write_bytes(content)
    again, _ = retrain(job, MemoryStore(), lambda _: tmp_path / "killed")
    assert again.metrics == whole.metrics
    networks = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed")]
    assert all(torch.equal(tensor, networks[1][name]) for name, tensor in networks[0].items())
    assert not checkpoint.exists()


def test_several_seeds_are_reported_with_their_spread_and_stand_on_the_leaderboard(searched):
    command = ["retrain", "run=one", "trial=0", *SMALL_TRAINING[:-1], "seeds=3"]
    text = searched(*command)
    assert text.returncode == 0, text.stderr
    found = result_of(searched(*command, "format=json"))
    tests = [entry["metrics"]["test_accuracy"] for entry in found["retrainings"]]
    assert [entry["seed"] for entry in found["retrainings"]] == [0, 1, 2]
    assert not any(entry["new"] for entry in found["retrainings"])
    spread = found["test_accuracy"]
    assert (spread["mean"], spread["std"], spread["n"]) == (statistics.fmean(tests), statistics.stdev(tests), 3)
    assert f"{spread['mean']:.4f} ± {spread['std']:.4f} (n = 3)" in text.stdout
    assert f"{spread['mean']:.4f} ± {spread['std']:.4f}" in searched("leaderboard", "run=one").stdout


def test_validation_saves_the_best_epoch_and_tests_once(nas, refused, tmp_path):
    arguments = [
        "retrain",
        f"arch={ARCH}",
        "trainer.epochs=3",
        *SMALL_TRAINING[1:],
        "trainer.valid_images=100",
        "validate=true",
    ]
    last = json.loads(nas(*arguments, "out=last").stdout)
    best = json.loads(nas(*arguments, "tested=best", "out=best").stdout)
    assert last["protocol"]["part"] == best["protocol"]["part"] == "train"
    assert {path.name for path in (tmp_path / "last").iterdir()} == {
        "model.safetensors",
        "best.safetensors",
        "result.json",
    }
    files = [load_file(tmp_path / name) for name in ("last/model.safetensors", "best/last.safetensors")]
    assert all(torch.equal(tensor, files[1][name]) for name, tensor in files[0].items())
    files = [load_file(tmp_path / name) for name in ("last/best.safetensors", "best/model.safetensors")]
    assert all(torch.equal(tensor, files[1][name]) for name, tensor in files[0].items())
    assert best["metrics"]["valid_accuracy"] >= last["metrics"]["valid_accuracy"]
    assert 1 <= best["metrics"]["best_epoch"] <= 3
    refused("retrain", f"arch={ARCH}", *SMALL_TRAINING, "tested=best", match="tested=best needs validate=true")
    assert list((tmp_path / "runs" / "retrained" / "tensorboard").iterdir())


def test_images_that_have_changed_since_the_search_are_reported(searched, tmp_path):
    from nas.cli.commands.export import INHERITED_GROUPS, ExportOptions, export_job
    from nas.cli.selection import selected
    from nas.config.settings import compose
    from nas.export.assembly import assemble

    def chosen(*arguments):
        made = compose("export", ["run=one", "trial=best", *arguments], deferred=INHERITED_GROUPS)
        return selected(made, ExportOptions.of(made), INHERITED_GROUPS)

    assert searched("retrain", "run=one", "trial=best", *SMALL_TRAINING).stderr == ""
    with sqlite3.connect(tmp_path / "nas.db") as store:
        (protocol,) = store.execute("SELECT protocol FROM runs").fetchone()
        then = json.loads(protocol)["split"]
        store.execute("UPDATE runs SET protocol = ?", (protocol.replace(then, "0123456789abcdef"),))
    arguments = f"found on them (split 0123456789abcdef, now {then})"
    assert arguments in searched("retrain", "run=one", "trial=best", *SMALL_TRAINING).stderr
    with pytest.warns(UserWarning, match=re.escape(arguments)):
        assemble(export_job(chosen()), None, 4, {})
    assert chosen("data.split_seed=0").searched_split("digits") == "0123456789abcdef"
    assert chosen("data.split_seed=1").searched_split("digits") is None  # changed on purpose
    assert chosen().searched_split("cifar10") is None
