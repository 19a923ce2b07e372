"""A model card is true: its commands make the model again, and the weights are those of its data set."""

import json
import re
import shlex

import pytest
import torch
from conftest import ARCH
from safetensors.torch import load_file
from written import without_processes

SMALL_TRAINING = [
    "trainer.train_images=100",
    "trainer.network={channels: 4, cells: 1}",
    "trainer.threads=1",
    "progress=false",
]
INVERTED_DIGITS = """
from dataclasses import replace

from nas.data.digits import Digits


class Inverted(Digits):
    name = "inverted"
    class_names = tuple("abcdefghij")

    def read_train(self):
        images = super().read_train()
        return replace(images, pixels=255 - images.pixels)

    def read_test(self):
        images = super().read_test()
        return replace(images, pixels=255 - images.pixels)
"""


@pytest.fixture(autouse=True)
def in_process():
    """Checks of exported forms start no process."""
    with without_processes():
        yield


def model(folder):
    """`model.json` of a folder."""
    return json.loads((folder / "model.json").read_text())


@pytest.fixture
def done(nas):
    """Runs `nas` and expects it to succeed."""

    def run(*arguments):
        result = nas(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def made_again(done, monkeypatch, tmp_path, commands):
    """The folder that a card's commands export in another folder, where there is no store yet."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for command in commands.values():
        done(*shlex.split(command)[1:], *([] if " export " in command else ["progress=false"]))
    return tmp_path / "elsewhere" / "won"


def test_the_commands_of_a_card_make_the_model_again_in_another_folder(done, monkeypatch, tmp_path):
    """An extended run, another split, a recipe of one's own, the best epoch, and two seeds."""
    search = [
        "search",
        "strategy=random",
        "data=digits",
        "data.split_seed=3",
        "trainer.epochs=1",
        *SMALL_TRAINING,
        "run=r",
    ]
    for trials in (1, 3):
        done(*search, f"budget.trials={trials}")
    own = [
        "trainer=darts",
        "trainer.epochs=2",
        "trainer.lr=0.1",
        *SMALL_TRAINING,
        "trainer.drop_path=0",
        "trainer.auxiliary_weight=0",
    ]
    how = ["validate=true", "tested=best", "trainer.validate_every=2", "seeds=2"]
    done("retrain", "run=r", "trial=2", *own, *how)
    done("export", "run=r", "trial=2", "format=[genotype,state]", "images=8", "out=won", "store.url=sqlite:///nas.db")
    card = model(tmp_path / "won")
    assert list(card["commands"]) == ["search", "retrain", "export"]
    assert all("store.url=sqlite:///nas.db" in command for command in card["commands"].values())
    page = (tmp_path / "won" / "MODEL_CARD.md").read_text()
    assert "best epoch by validation" in page
    assert "flip" in card["trained"]["recipe"]
    assert "flip" not in page  # a mirrored digit may be another one
    assert "threshold" not in card  # 8 images are too few for one
    again = made_again(done, monkeypatch, tmp_path, card["commands"])
    for key in ("arch", "space", "network", "data", "preprocessing"):
        assert model(again)[key] == card[key]
    assert model(again)["original"]["accuracy"] == card["original"]["accuracy"]
    assert model(again)["trained"]["over_seeds"] == card["trained"]["over_seeds"]
    before, after = (load_file(folder / "model.safetensors") for folder in (tmp_path / "won", again))
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert json.loads((again / "genotype.json").read_text())["found"]["trial"] == 2


def test_a_published_cell_with_an_auxiliary_head_is_made_again_by_its_card(done, monkeypatch, tmp_path):
    network = "trainer.network={channels: 4, cells: 5, auxiliary: true}"
    done(
        "retrain",
        "arch=DARTS_V2",
        "trainer=darts",
        "trainer.epochs=1",
        "trainer.train_images=64",
        network,
        "data=digits",
    )
    done("export", "arch=DARTS_V2", "format=state", "images=8", "out=won")
    card = model(tmp_path / "won")
    assert "arch=DARTS_V2 space=darts" in card["commands"]["retrain"]
    again = made_again(done, monkeypatch, tmp_path, card["commands"])
    assert model(again)["trained"]["test_accuracy"] == card["trained"]["test_accuracy"]
    assert model(again)["original"]["accuracy"] == card["original"]["accuracy"]


def test_weights_of_another_data_set_are_not_used(refused, done, tmp_path):
    (tmp_path / "inverted.py").write_text(INVERTED_DIGITS)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    options = "valid_fraction: 0.25\nsplit_seed: 0\n"
    (tmp_path / "conf" / "data" / "inverted.yaml").write_text(f"# Inverted.\n_target_: inverted.Inverted\n{options}")
    own = ["--config-dir", "conf"]
    done(*own, "retrain", f"arch={ARCH}", "data=inverted", "trainer.epochs=1", *SMALL_TRAINING, "out=trained")
    untrained = done(*own, "export", f"arch={ARCH}", "format=state", "images=8", "out=digits")
    assert (
        "it was never retrained on digits (nas retrain trains it). It was retrained on inverted; set data=" in untrained
    )
    assert model(tmp_path / "digits")["trained"] is None
    done(*own, "export", f"arch={ARCH}", "data=inverted", "format=state", "images=8", "out=right")
    right = model(tmp_path / "right")
    assert right["classes"][0] == "a"
    assert right["trained"] is not None
    for arguments, message in (
        ([f"arch={ARCH}", "data=digits"], "were trained on inverted, not on digits; set data="),
        (["data=inverted", "arch=|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"], f"belong to arch={ARCH}"),
        (["data=inverted", "space=darts", "arch=DARTS_V1"], f"belong to arch={ARCH}"),
    ):
        refused(*own, "export", *arguments, "weights=trained", "out=wrong", match=re.escape(message))
    assert not (tmp_path / "wrong").exists()


def test_a_genotype_file_says_where_it_was_found(refused, done, tmp_path):
    done("search", "strategy=random", "data=digits", "trainer.epochs=1", *SMALL_TRAINING, "budget.trials=2", "run=r")
    done("export", "run=r", "format=genotype", "out=first")
    done("export", "arch=first/genotype.json", "format=genotype", "out=second")
    first, second = (json.loads((tmp_path / name / "genotype.json").read_text()) for name in ("first", "second"))
    assert first == second
    for argument in ("weights=x", "images=9"):
        refused("export", "run=r", "format=genotype", argument, "out=third", match="has no effect on format=genotype")
    other = refused("export", "run=r", "format=genotype", "space=darts", "out=third", match="^nas: ")
    assert other.count("\n") == 1


def test_seeds_of_an_architecture_without_a_trial_are_on_the_leaderboard(done):
    done("retrain", f"arch={ARCH}", "trainer.epochs=1", *SMALL_TRAINING, "seeds=3")
    shown = done("leaderboard")
    assert "without a trial: digits" in shown
    (row,) = json.loads(done("leaderboard", "format=json"))
    tests = [one["metrics"]["test_accuracy"] for one in row["retrained"]]
    assert f"{sum(tests) / 3:.4f} ± {torch.tensor(tests).std():.4f}" in shown
    again = done("retrain", f"arch={ARCH}", "trainer.epochs=1", *SMALL_TRAINING, "out=elsewhere")
    assert "out=elsewhere was not written" in again


def test_a_best_epoch_depends_on_which_epochs_are_validated(done):
    retrain = ["retrain", f"arch={ARCH}", "trainer.epochs=2", *SMALL_TRAINING, "validate=true", "format=json"]
    every = json.loads(done(*retrain, "tested=best"))
    second = json.loads(done(*retrain, "tested=best", "trainer.validate_every=2"))
    assert (every["new"], second["new"]) == (True, True)
    last = json.loads(done(*retrain))
    assert json.loads(done(*retrain, "trainer.validate_every=2"))["new"] is False
    assert "validate_every" not in last["protocol"]
