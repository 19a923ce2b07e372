"""What released versions wrote still opens, and their runs resume.

`tests/released/VERSION.tar.xz` holds a folder as that version left it: a store with finished runs and their parts, a
killed gradient search, the checkpoint of a supernet, a finished and a killed retraining, a comparison, a killed
tabulation, and an exported model.
"""

import re
import shutil
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from conftest import ROOT, rows

QUICK_SETTINGS = ["data=digits", "trainer.threads=1", "trainer.epochs=1", "trainer.train_images=200", "progress=false"]
SMALL_NETWORK = "trainer.network={channels: 4, cells: 1}"
TABLE_SETTINGS = ["evaluator=table", "table=cifar10_8x8", "progress=false"]
SUPERNET = ["data=digits", "supernet.train_images=64", "supernet.valid_images=64", "supernet.batch_size=32",
            "supernet.network={channels: 4, cells: 1}"]  # fmt: skip


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A folder with one folder for each released version."""
    folder = tmp_path_factory.mktemp("released")
    for path in (ROOT / "tests" / "released").glob("*.tar.xz"):
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def released(nas, unpacked, tmp_path):
    """`nas` in a folder as version 0.1.0 left it."""
    shutil.copytree(unpacked / "0.1.0", tmp_path, dirs_exist_ok=True)
    return nas


@pytest.fixture
def moved(nas, unpacked, tmp_path):
    """`nas` in a folder as version 0.2.0 left it, after the user has renamed the module and the class of a space."""
    shutil.copytree(unpacked / "0.2.0", tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "spaces"
    folder.mkdir()
    source = (tmp_path / "my_space.py").read_text()
    (folder / "perceptrons.py").write_text(source.replace("class MySpace", "class Perceptrons"))
    (tmp_path / "my_space.py").unlink()
    yaml = tmp_path / "conf" / "space" / "mine.yaml"
    yaml.write_text(yaml.read_text().replace("my_space.MySpace", "spaces.perceptrons.Perceptrons"))
    return nas


def texts(nas, run):
    return [row["arch"] for row in rows(nas, f"run={run}")]


def succeeded(result):
    assert result.returncode == 0, result.stderr
    return result


def test_every_run_is_on_the_leaderboard(released):
    listed = {row["run"] for row in rows(released)}
    assert listed == {"trained", "looked-up", "workers", "shared", "mine", "stopped"}


def test_flops_of_an_earlier_count_are_marked(released):
    assert {row["run"] for row in rows(released) if row["early_count"]} == {"trained", "mine"}
    shown = succeeded(released("leaderboard", "run=trained")).stdout
    assert re.search(r"k\? .*\n(.*\n)*\?: counted by cellnas 0.1.0, which missed attention", shown)
    assert "?:" not in succeeded(released("leaderboard", "run=looked-up")).stdout


def test_a_search_that_trains_resumes(released):
    before = rows(released, "run=trained")
    succeeded(released("search", "strategy=random", *QUICK_SETTINGS, SMALL_NETWORK, "budget.trials=4", "run=trained"))
    after = rows(released, "run=trained")
    assert [row["metrics"] for row in after[:3]] == [row["metrics"] for row in before]
    assert len(after) == 4


@pytest.mark.parametrize(
    ("run", "trials", "arguments"),
    [
        ("looked-up", 30, ["strategy=regularized_evolution", "strategy.population_size=5"]),
        ("workers", 24, ["strategy=reinforce", "executor=processes", "workers=2"]),
    ],
)
def test_a_resumed_search_proposes_what_an_uninterrupted_one_does(released, forked_workers, run, trials, arguments):
    arguments = ["search", *arguments, *TABLE_SETTINGS, f"budget.trials={trials}"]
    assert len(texts(released, run)) < trials
    succeeded(released(*arguments, f"run={run}"))
    succeeded(released(*arguments, "run=whole"))
    assert texts(released, run) == texts(released, "whole")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("nasbench201-random-cifar10_8x8-a4c35e", ["strategy=random", *TABLE_SETTINGS]),
        ("nasbench201-random-digits-236940", ["strategy=random", *QUICK_SETTINGS, SMALL_NETWORK]),
        ("nasbench201-darts-digits-3203d4", ["strategy=darts", "strategy.epochs=1", *SUPERNET, *TABLE_SETTINGS]),
    ],
)
def test_a_command_without_a_run_name_finds_its_run(released, name, arguments):
    """Version 0.1.0 derived these names from the settings and from class paths; another name would start a new run."""
    arguments = ["search", *arguments, "budget.trials=1"]
    succeeded(released(*arguments, f"run={name}"))
    assert f"run {name!r}: 1 trial" in succeeded(released(*arguments)).stdout


def test_scores_of_shared_weights_resume_from_their_checkpoint(released):
    arguments = [
        *SUPERNET[:1],
        "supernet.epochs=1",
        "supernet.train_images=200",
        "supernet.valid_images=100",
        SUPERNET[-1],
    ]
    checkpoint = Path("runs/shared/checkpoints/shared-weights.pt").read_bytes()
    succeeded(released("search", "experiment=spos", *arguments, "budget.trials=12", "run=shared", "progress=false"))
    assert Path("runs/shared/checkpoints/shared-weights.pt").read_bytes() == checkpoint
    assert len(rows(released, "run=shared")) == 12


def test_a_killed_gradient_search_resumes_from_its_checkpoint(released):
    arguments = ["strategy=darts", "strategy.epochs=40", *SUPERNET, *TABLE_SETTINGS]
    result = succeeded(released("search", *arguments, "run=relaxed"))
    assert "run 'relaxed': 1 trial, 0 failed" in result.stdout


def test_a_stored_retraining_is_reported_without_training(released):
    arguments = ["run=trained", "trial=best", "trainer=proxy", *QUICK_SETTINGS[1:], SMALL_NETWORK]
    assert "test accuracy  0.1003" in succeeded(released("retrain", *arguments)).stdout
    assert "already trained; this is the stored result" in released("retrain", *arguments).stdout


def test_a_killed_retraining_resumes_from_its_checkpoint(released, monkeypatch):
    """It had finished 32 of 400 epochs; here it is interrupted again after two more."""
    from nas.cli.commands import retrain

    seen = []

    def report(shown, metrics):
        seen.append(metrics)
        if len(seen) == 34:
            raise KeyboardInterrupt

    monkeypatch.setattr(retrain.ProgressView, "report", report)
    partial = Path("runs/trained/retrained/trial-1-c22d6ecc.partial.pt")
    before = torch.load(partial, weights_only=True)["curve"]
    arguments = ["trainer=proxy", "trainer.epochs=400", "trainer.train_images=200", SMALL_NETWORK, "progress=false"]
    assert released("retrain", "run=trained", "trial=1", *arguments).returncode == 130
    assert len(before) == 32
    assert seen[:32] == before


def test_a_comparison_takes_more_seeds(released):
    arguments = ["strategies=[random,regularized_evolution]", "budget.trials=10", "out=comparison", "progress=false",
             "executor=inline"]  # fmt: skip
    before = Path("comparison/runs.journal").read_text()
    succeeded(released("compare", *arguments, "seeds=4"))
    after = Path("comparison/runs.journal").read_text()
    assert after.startswith(before)
    assert after.count("\n") == before.count("\n") + 2


def test_an_exported_model_predicts(released, tmp_path):
    from PIL import Image

    Image.new("L", (8, 8), 128).save(tmp_path / "grey.png")
    result = succeeded(released("predict", "model=exports/model", "images=grey.png", "format=csv"))
    assert result.stdout.count("\n") == 2


def test_a_run_of_a_users_space_resumes(released):
    succeeded(released("--config-dir", "conf", "search", "space=mine", *QUICK_SETTINGS, "budget.trials=8", "run=mine"))
    assert [row["status"] for row in rows(released, "run=mine")] == ["completed"] * 8


EARLY_STOPPING = ["strategy=darts", "strategy.early_stopping=true", *SUPERNET, *TABLE_SETTINGS]


def test_a_trial_that_stopped_early_by_the_first_rule_is_shown_as_wrong_and_never_used(released, refused):
    """Version 0.1.0 ended every search with early stopping at epoch 10 or soon after, with the cell of epoch 5."""
    wrong = "ended its search far too early, with the cell of epoch 5"
    (row,) = rows(released, "run=stopped")
    assert wrong in row["fault"]
    assert all(other["fault"] is None for other in rows(released) if other["run"] != "stopped")
    shown = succeeded(released("leaderboard", "run=stopped")).stdout
    assert "0.3658 (invalid)" in shown
    assert (
        f"trial 0 of run 'stopped' is invalid: an earlier version of cellnas with strategy.early_stopping=true {wrong}."
        in shown
    )
    for trials in (1, 2):
        message = "run 'stopped' cannot be resumed: trial 0 is invalid.*Choose another run="
        refused(
            "search", *EARLY_STOPPING, "strategy.epochs=14", f"budget.trials={trials}", "run=stopped", match=message
        )
    assert len(rows(released, "run=stopped")) == 1
    message = "trial=best: run 'stopped' has no completed trial; trial 0 is invalid"
    refused("retrain", "run=stopped", "trial=best", *QUICK_SETTINGS[1:], SMALL_NETWORK, match=message)
    # a user who names the trial gets it, with a warning
    named = succeeded(released("export", "run=stopped", "trial=0", "format=genotype", "out=named"))
    assert "warning: trial 0 of run 'stopped' is invalid" in named.stderr


def test_a_killed_search_with_the_first_rule_of_early_stopping_is_refused(released, refused):
    checkpoint = Path("runs/stopping/checkpoints/search-0000.pt")
    before = checkpoint.read_bytes()
    arguments = [*EARLY_STOPPING, "strategy.epochs=300", "seed=3", "run=stopping"]
    message = "whose strategy.early_stopping=true ended searches far too early; remove it to start again"
    refused("search", *arguments, match=message)
    assert checkpoint.read_bytes() == before


CHOICES = '{"width": ("16", "32", "64"), "activation": ("relu", "gelu"), "depth": ("1", "2", "3")}'


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (CHOICES.replace('"relu", "gelu"', '"gelu", "relu"'), "started with different choices['activation']: trial"),
        (CHOICES.replace('"16", "32", "64"', '"16", "32"'), "started with different choices['width']: trial"),
        (
            CHOICES.replace('"16", "32", "64"', '"8", "16", "32", "64"'),
            "started with different choices['width']: trial",
        ),
        (CHOICES.replace("gelu", "silu"), "started with different choices['activation']: trial"),
        (CHOICES.replace("depth", "layers"), "started with different choices['depth']: trial"),
        (CHOICES.replace(', "depth": ("1", "2", "3")', ""), "started with different choices['depth']: trial"),
        (CHOICES.replace("}", ', "bias": ("yes", "no")}'), "started with different choices['bias']: trial"),
        (CHOICES.replace('"3")', '"3", "4")'), "cannot be reproduced exactly: its trial"),
    ],
)
def test_a_run_whose_space_was_edited_is_refused_or_warned_of(released, monkeypatch, choices, message):
    monkeypatch.setitem(sys.modules, "my_space", None)  # restores the module after the test
    del sys.modules["my_space"]
    file = Path("my_space.py")
    source = file.read_text()
    assert CHOICES in source
    # `build` reads the last two decisions, but no refused run builds a network
    file.write_text(source.replace(CHOICES, choices))
    result = released("--config-dir", "conf", "search", "space=mine", *QUICK_SETTINGS, "budget.trials=8", "run=mine")
    assert message in result.stderr
    assert result.returncode == (0 if "reproduced" in message else 2)
    assert len(rows(released, "run=mine")) == (8 if "reproduced" in message else 6)


# --- version 0.2.0, whose identities include the paths of classes ------------------------------------------------


def test_every_run_of_0_2_0_is_on_the_leaderboard(moved):
    assert {row["run"] for row in rows(moved)} == {
        "trained", "nasbench201-random-digits-236940", "looked-up", "workers", "shared", "mine", "relaxed",
    }  # fmt: skip


def test_a_run_of_a_class_that_has_moved_resumes(moved):
    succeeded(moved("--config-dir", "conf", "search", "space=mine", *QUICK_SETTINGS, "budget.trials=7", "run=mine"))
    assert [row["status"] for row in rows(moved, "run=mine")] == ["completed"] * 7


def test_a_comparison_of_a_class_that_has_moved_takes_more_seeds(moved):
    before = Path("mine-comparison/runs.journal").read_text()
    arguments = ["strategies=[random,regularized_evolution]", "evaluator=training", "space=mine", "out=mine-comparison",
             "executor=inline"]  # fmt: skip
    succeeded(moved("--config-dir", "conf", "compare", *arguments, *QUICK_SETTINGS, "budget.trials=3", "seeds=3"))
    after = Path("mine-comparison/runs.journal").read_text()
    assert after.startswith(before)
    assert after.count("\n") == before.count("\n") + 2


def test_a_command_without_a_run_name_finds_its_run_of_0_2_0(moved):
    name = "nasbench201-random-digits-236940"
    result = moved("search", "strategy=random", *QUICK_SETTINGS, SMALL_NETWORK, "budget.trials=2")
    assert f"run {name!r}: 2 trials" in succeeded(result).stdout


def test_a_killed_gradient_search_of_0_2_0_resumes_from_its_checkpoint(moved):
    from nas.supernets import gradient

    arguments = ["strategy=darts", "strategy.epochs=400", *SUPERNET, *TABLE_SETTINGS, "run=killed"]
    before = len(torch.load("runs/killed/checkpoints/search-0000.pt", weights_only=True)["curve"])
    epochs = []
    whole = gradient.SearchRun.run_epoch

    def interrupted(run, epoch, graph):
        epochs.append(epoch)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        whole(run, epoch, graph)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradient.SearchRun, "run_epoch", interrupted)
        assert moved("search", *arguments).returncode == 130
    assert before > 5
    assert epochs == [before + 1, before + 2]


def test_a_tabulation_of_0_2_0_resumes(moved, monkeypatch):
    from nas.cli.commands import tabulate

    seen = []

    def report(_bar, finished, _total, _line):
        seen.append(finished)
        raise KeyboardInterrupt

    monkeypatch.setattr(tabulate, "report", report)
    before = Path("table.csv.gz.journal").read_text()
    arguments = ["space=nasbench201", "data=digits", "trainer.epochs=1", "trainer.train_images=100", SMALL_NETWORK]
    result = moved("tabulate", *arguments, "executor=inline", "out=table.csv.gz", "progress=false")
    assert result.returncode == 130, result.stderr
    assert Path("table.csv.gz.journal").read_text() == before
    assert seen == [before.count("\n") - 1]


def test_retrainings_and_models_of_0_2_0_are_read(moved, tmp_path):
    from PIL import Image

    arguments = ["run=trained", "trial=1", "trainer=proxy", *QUICK_SETTINGS[1:], SMALL_NETWORK]
    assert "already trained; this is the stored result" in succeeded(moved("retrain", *arguments)).stdout
    Image.new("L", (8, 8), 128).save(tmp_path / "grey.png")
    result = succeeded(moved("--config-dir", "conf", "predict", "model=exports/mine", "images=grey.png", "format=csv"))
    assert result.stdout.count("\n") == 2
