"""What a model card says can be believed: its commands make the model again, and its weights are of its data set."""

import csv
import json
import shlex

import pytest
import torch
from conftest import ARCH
from PIL import Image
from safetensors.torch import load_file

SMALL = ["trainer.train_images=300", "trainer.network={channels: 4, cells: 1}", "trainer.threads=1", "progress=false"]
INVERTED = """
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


def facts(folder):
    return json.loads((folder / "model.json").read_text())


@pytest.fixture
def done(nas):
    """Runs `nas` and expects it to succeed."""

    def run(*words):
        result = nas(*words)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def remade(done, monkeypatch, tmp_path, commands):
    """The folder that a card's commands export elsewhere, where no store knows anything yet."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for command in commands.values():
        done(*shlex.split(command)[1:], *([] if " export " in command else ["progress=false"]))
    return tmp_path / "elsewhere" / "won"


def test_the_commands_of_a_card_make_the_model_again_elsewhere(done, monkeypatch, tmp_path):
    """A run that was continued, another split, a recipe of one's own, the best epoch, and two seeds."""
    search = ["search", "strategy=random", "data=digits", "data.split_seed=3", "trainer.epochs=1", *SMALL, "run=r"]
    for trials in (1, 3):
        done(*search, f"budget.trials={trials}")
    own = [
        "trainer=darts",
        "trainer.epochs=4",
        "trainer.lr=0.1",
        *SMALL,
        "trainer.drop_path=0",
        "trainer.auxiliary_weight=0",
    ]
    how = ["validate=true", "tested=best", "trainer.validate_every=2", "seeds=2"]
    done("retrain", "run=r", "trial=2", *own, *how)
    done("export", "run=r", "trial=2", "format=[genotype,state]", "images=8", "out=won", "store.url=sqlite:///nas.db")
    told = facts(tmp_path / "won")
    assert list(told["commands"]) == ["search", "retrain", "export"]
    assert all("store.url=sqlite:///nas.db" in command for command in told["commands"].values())
    card = (tmp_path / "won" / "MODEL_CARD.md").read_text()
    assert "best epoch by validation" in card
    assert "flip" in told["trained"]["recipe"]
    assert "flip" not in card  # a mirrored digit is another one
    again = remade(done, monkeypatch, tmp_path, told["commands"])
    for key in ("arch", "space", "network", "data", "preprocessing"):
        assert facts(again)[key] == told[key]
    assert facts(again)["original"]["accuracy"] == told["original"]["accuracy"]
    assert facts(again)["trained"]["over_seeds"] == told["trained"]["over_seeds"]
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
    told = facts(tmp_path / "won")
    assert "arch=DARTS_V2 space=darts" in told["commands"]["retrain"]
    again = remade(done, monkeypatch, tmp_path, told["commands"])
    assert facts(again)["trained"]["test_accuracy"] == told["trained"]["test_accuracy"]
    assert facts(again)["original"]["accuracy"] == told["original"]["accuracy"]


def test_weights_of_another_data_set_are_not_taken_for_these(nas, done, tmp_path):
    (tmp_path / "inverted.py").write_text(INVERTED)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    options = "valid_fraction: 0.25\nsplit_seed: 0\n"
    (tmp_path / "conf" / "data" / "inverted.yaml").write_text(f"# Inverted.\n_target_: inverted.Inverted\n{options}")
    own = ["--config-dir", "conf"]
    done(*own, "retrain", f"arch={ARCH}", "data=inverted", "trainer.epochs=1", *SMALL, "out=trained")
    untrained = done(*own, "export", f"arch={ARCH}", "format=state", "images=8", "out=digits")
    assert "It was never retrained on digits, only on inverted; set data=" in untrained
    assert facts(tmp_path / "digits")["trained"] is None
    done(*own, "export", f"arch={ARCH}", "data=inverted", "format=state", "images=8", "out=right")
    right = facts(tmp_path / "right")
    assert (right["classes"][0], right["trained"] is None) == ("a", False)
    for words, said in (
        (["data=digits"], "were trained on inverted, not on digits; set data="),
        (["data=inverted", "arch=|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"], f"are of arch={ARCH}"),
        (["data=inverted", "space=darts", "arch=DARTS_V1"], f"are of arch={ARCH}"),
    ):
        given = words if any(word.startswith("arch") for word in words) else [f"arch={ARCH}", *words]
        refused = nas(*own, "export", *given, "weights=trained", "out=wrong")
        assert (refused.returncode, said in refused.stderr, refused.stderr.count("\n")) == (2, True, 1), refused.stderr
    assert not (tmp_path / "wrong").exists()


def test_a_genotype_file_keeps_where_it_was_found(nas, done, tmp_path):
    done("search", "strategy=random", "data=digits", "trainer.epochs=1", *SMALL, "budget.trials=2", "run=r")
    done("export", "run=r", "format=genotype", "out=first")
    done("export", "arch=first/genotype.json", "format=genotype", "out=second")
    first, second = (json.loads((tmp_path / name / "genotype.json").read_text()) for name in ("first", "second"))
    assert first == second
    for words in (["weights=x"], ["images=9"]):
        refused = nas("export", "run=r", "format=genotype", *words, "out=third")
        assert (refused.returncode, "has no effect on format=genotype" in refused.stderr) == (2, True)
    other = nas("export", "run=r", "format=genotype", "space=darts", "out=third")
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)


def test_seeds_of_an_architecture_of_no_trial_stand_on_the_leaderboard(nas, done, tmp_path):
    done("retrain", f"arch={ARCH}", "trainer.epochs=1", *SMALL, "seeds=3")
    shown = done("leaderboard")
    assert "without a trial: digits" in shown
    (row,) = json.loads(done("leaderboard", "format=json"))
    tests = [one["metrics"]["test_accuracy"] for one in row["retrained"]]
    assert f"{sum(tests) / 3:.4f} ± {torch.tensor(tests).std():.4f}" in shown
    again = done("retrain", f"arch={ARCH}", "trainer.epochs=1", *SMALL, "out=elsewhere")
    assert "out=elsewhere was not written" in again


def test_which_epochs_are_validated_is_part_of_a_best_epoch(done):
    words = ["retrain", f"arch={ARCH}", "trainer.epochs=2", *SMALL, "validate=true", "format=json"]
    every = json.loads(done(*words, "tested=best"))
    second = json.loads(done(*words, "tested=best", "trainer.validate_every=2"))
    assert (every["new"], second["new"]) == (True, True)
    last = json.loads(done(*words))
    assert json.loads(done(*words, "trainer.validate_every=2"))["new"] is False
    assert "validate_every" not in last["protocol"]


def test_images_of_a_whole_number_of_times_the_size_are_averaged(done, tmp_path):
    """As `data.pool` makes small images of large ones."""
    done("export", f"arch={ARCH}", "space.channels=4", "space.cells=1", "format=state", "images=4", "out=won")
    small = torch.randint(0, 256, (8, 8), dtype=torch.uint8)
    Image.fromarray(small.numpy()).save(tmp_path / "small.png")
    Image.fromarray(small.repeat_interleave(3, 0).repeat_interleave(3, 1).numpy()).save(tmp_path / "large.png")
    printed = done("predict", "model=won", "images=[small.png,large.png]", "format=csv")
    rows = [list(row.values())[1:] for row in csv.DictReader(printed.splitlines())]
    assert rows[0] == rows[1]


def test_pixels_of_sixteen_bits_are_those_of_eight(nas, done, tmp_path):
    done("export", f"arch={ARCH}", "space.channels=4", "space.cells=1", "format=state", "images=4", "out=won")
    pixels = torch.randint(0, 256, (8, 8)).numpy()
    Image.fromarray(pixels.astype("uint8")).save(tmp_path / "eight.png")
    Image.fromarray((pixels * 257).astype("uint16")).save(tmp_path / "sixteen.png")
    printed = done("predict", "model=won", "images=[eight.png,sixteen.png]", "format=csv")
    rows = [list(row.values())[1:] for row in csv.DictReader(printed.splitlines())]
    assert rows[0] == rows[1]
    Image.fromarray(pixels.astype("float32")).save(tmp_path / "float.tiff")
    refused = nas("predict", "model=won", "images=float.tiff")
    assert (refused.returncode, "expected 8 or 16 bits" in refused.stderr) == (1, True)
    unused = nas("predict", "model=won", "images=eight.png", "format=csv", "top=2")
    assert (unused.returncode, "top= has no effect on format=csv" in unused.stderr) == (2, True)
