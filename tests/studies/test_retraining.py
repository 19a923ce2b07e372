"""Retraining and export: trained once, tested once, and found again."""

import json
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import time

import pytest
import torch
from conftest import ARCH, rows
from safetensors.torch import load_file

SMALL = ["trainer.epochs=1", "trainer.train_images=100", "trainer.network={channels: 4, cells: 1}", "format=json"]


def test_export_and_retrain_go_round(searched, tmp_path):
    """Search, export, retrain the file and the trial; the test result stands on the leaderboard, measured once."""
    best = max(rows(searched), key=lambda row: row["score"])
    exported = searched("export", "run=one", "trial=best", "format=genotype", "out=won")
    assert exported.returncode == 0
    genotype = json.loads((tmp_path / "won" / "genotype.json").read_text())
    assert (genotype["arch"], genotype["found"]["trial"]) == (best["arch"], best["number"])
    assert (
        searched("export", "run=one", "trial=best", "format=genotype", "out=won").returncode == 0
    )  # the same again changes nothing
    refused = searched("export", "run=one", "trial=0" if best["number"] else "trial=1", "format=[genotype]", "out=won")
    assert (refused.returncode, "won is not an empty folder" in refused.stderr) == (2, True)

    quick = ["trainer.epochs=2", "trainer.network={channels: 4, cells: 1}", "format=json"]
    first = json.loads(searched("retrain", "run=one", "trial=best", *quick).stdout)
    assert first["new"]
    assert (first["run"], first["trial"], first["text"]) == ("one", best["number"], best["arch"])
    assert 0 < first["metrics"]["test_accuracy"] <= 1
    again = json.loads(searched("retrain", "run=one", "trial=best", *quick).stdout)
    assert not again["new"]
    assert again["metrics"] == first["metrics"]
    other = json.loads(searched("retrain", "run=one", "trial=best", "seed=1", *quick).stdout)
    assert other["new"]
    assert other["metrics"] != first["metrics"]
    row = rows(searched, "run=one")[best["number"]]
    assert [test["metrics"]["test_accuracy"] for test in row["retrained"]] == [
        result["metrics"]["test_accuracy"] for result in (first, other)
    ]
    assert "test_accuracy" not in row["metrics"]
    assert "test_accuracy" in searched("leaderboard").stdout

    file = json.loads(searched("retrain", "arch=won/genotype.json", *quick).stdout)
    # same architecture, data, recipe and seed: the test set is not looked at again
    assert (file["new"], file["metrics"], file["folder"]) == (False, first["metrics"], first["folder"])


def test_the_checkpoint_scores_what_was_reported(searched):
    from nas.core import Task
    from nas.data.digits import Digits
    from nas.training.fit import evaluate
    from nas.training.recipe import Recipe
    from search_spaces.nasbench201 import NASBench201

    words = ["trainer.epochs=2", "trainer.network={channels: 4, cells: 1}", "format=json"]
    result = json.loads(searched("retrain", f"arch={ARCH}", "data=digits", *words).stdout)
    space = NASBench201(4, 1)
    network = space.build(space.from_text(ARCH), Task(1, 8, 8, 10))
    network.load_state_dict(load_file(f"{result['folder']}/model.safetensors"))
    accuracy, _ = evaluate(network, Digits().read_test(), Recipe(epochs=1))
    assert accuracy == result["metrics"]["test_accuracy"]


def test_retraining_tells_networks_of_unlike_settings_apart(nas):
    words = [
        "retrain",
        f"arch={ARCH}",
        "trainer.epochs=1",
        "trainer.train_images=100",
        "trainer.network={}",
        "format=json",
    ]
    small = json.loads(nas(*words, "space.cells=1", "space.channels=4").stdout)
    large = json.loads(nas(*words, "space.cells=1", "space.channels=8").stdout)
    assert (small["new"], large["new"]) == (True, True)
    assert small["metrics"]["parameters"] < large["metrics"]["parameters"]


def test_retraining_tries_store_and_folder_before_it_trains(nas, tmp_path, monkeypatch):
    def never(*args, **more):
        raise AssertionError("it trained")

    monkeypatch.setattr("nas.studies.retraining.train_architecture", never)
    (tmp_path / "notes.txt").write_text("not a database")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    for words, said in (
        (["store.url=sqlite:///notes.txt"], "is not an SQLite database"),
        (["out=notes.txt"], "notes.txt is not an empty folder"),
        (["out=full"], "full is not an empty folder"),
        (["out=/dev/null/x"], "cannot be written"),
    ):
        result = nas("retrain", f"arch={ARCH}", *SMALL, *words)
        assert (result.returncode in (1, 2), said in result.stderr, result.stderr.count("\n")) == (True, True, 1)
    assert (tmp_path / "full" / "precious").read_text() == "mine"


def test_a_retraining_whose_process_died_before_it_told_the_store_is_found_again(nas, tmp_path):
    first = json.loads(nas("retrain", f"arch={ARCH}", *SMALL).stdout)
    (tmp_path / "nas.db").unlink()
    again = json.loads(nas("retrain", f"arch={ARCH}", *SMALL).stdout)
    assert (again["new"], again["metrics"]) == (False, first["metrics"])
    assert not any(path.name.startswith(".") for path in (tmp_path / "runs" / "retrained").iterdir())


def test_a_retraining_that_diverges_is_no_result(nas, tmp_path):
    result = nas("retrain", f"arch={ARCH}", *SMALL, "trainer.lr=1e30")
    assert (result.returncode, "retraining failed" in result.stderr, result.stdout) == (1, True, "")
    assert list((tmp_path / "runs" / "retrained").iterdir()) == []


def test_a_killed_retraining_goes_on_to_the_same_test_accuracy(nas, tmp_path):
    words = ["retrain", f"arch={ARCH}", "trainer.epochs=40", "trainer.train_images=200", "trainer.threads=1"]
    words += ["trainer.network={channels: 4, cells: 1}", "data=digits", "progress=false", "format=json"]
    whole = json.loads(nas(*words, "out=whole", "store.url=sqlite:///whole.db").stdout)
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", *words, "out=killed"], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    kept = tmp_path / "killed.partial.pt"
    while process.poll() is None and not kept.exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert kept.exists()
    before = kept.read_bytes()
    kept.write_bytes(before[:200])
    damaged = nas(*words, "out=killed")
    assert (damaged.returncode, "killed.partial.pt is damaged; remove it" in damaged.stderr) == (2, True)
    kept.write_bytes(before)
    again = json.loads(nas(*words, "out=killed").stdout)
    assert again["metrics"] == whole["metrics"]
    networks = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed")]
    assert all(torch.equal(tensor, networks[1][name]) for name, tensor in networks[0].items())
    assert not kept.exists()


def test_several_seeds_are_told_with_their_spread_and_stand_on_the_leaderboard(searched):
    words = ["retrain", "run=one", "trial=0", *SMALL[:-1], "trainer.threads=1", "seeds=3"]
    told = searched(*words)
    assert told.returncode == 0, told.stderr
    found = json.loads(searched(*words, "format=json").stdout)
    tests = [entry["metrics"]["test_accuracy"] for entry in found["retrainings"]]
    assert [entry["seed"] for entry in found["retrainings"]] == [0, 1, 2]
    assert not any(entry["new"] for entry in found["retrainings"])
    spread = found["test_accuracy"]
    assert (spread["mean"], spread["std"], spread["n"]) == (statistics.fmean(tests), statistics.stdev(tests), 3)
    assert f"{spread['mean']:.4f} ± {spread['std']:.4f} (n = 3)" in told.stdout
    assert f"{spread['mean']:.4f} ± {spread['std']:.4f}" in searched("leaderboard", "run=one").stdout


def test_validation_keeps_the_best_epoch_and_tests_once(nas, tmp_path):
    words = ["retrain", f"arch={ARCH}", "trainer.epochs=5", *SMALL[1:], "trainer.threads=1", "validate=true"]
    last = json.loads(nas(*words, "out=last").stdout)
    best = json.loads(nas(*words, "tested=best", "out=best").stdout)
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
    assert 1 <= best["metrics"]["best_epoch"] <= 5
    refused = nas("retrain", f"arch={ARCH}", *SMALL, "tested=best")
    assert (refused.returncode, "tested=best needs validate=true" in refused.stderr) == (2, True)
    assert list((tmp_path / "runs" / "retrained" / "tensorboard").iterdir())


def test_images_that_have_changed_since_the_search_are_told(searched, tmp_path):
    from nas.cli.commands.export import INHERITS, export_job
    from nas.cli.selection import selected
    from nas.config.settings import compose
    from nas.export.assembly import assemble

    def chosen(*words):
        made = compose("export", ["run=one", "trial=best", *words], deferred=INHERITS)
        return selected(made, INHERITS)

    assert searched("retrain", "run=one", "trial=best", *SMALL).stderr == ""
    with sqlite3.connect(tmp_path / "nas.db") as store:
        (protocol,) = store.execute("SELECT protocol FROM runs").fetchone()
        then = json.loads(protocol)["split"]
        store.execute("UPDATE runs SET protocol = ?", (protocol.replace(then, "0123456789abcdef"),))
    words = f"found on them (split 0123456789abcdef, now {then})"
    assert words in searched("retrain", "run=one", "trial=best", *SMALL).stderr
    with pytest.warns(UserWarning, match=re.escape(words)):
        assemble(export_job(chosen()), None, 4, {})
    assert chosen("data.split_seed=0").searched_split("digits") == "0123456789abcdef"
    assert chosen("data.split_seed=1").searched_split("digits") is None  # changed on purpose
    assert chosen().searched_split("cifar10") is None
