"""`predict.py` of an exported model gives what `nas predict` gives, where only PyTorch and Pillow are installed."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ARCH, ROOT
from PIL import Image
from written import run, without_processes

from nas.data.digits import Digits
from nas.export.formats import python
from nas.export.predict_script import predict_script

TRAINING = [
    "data=digits",
    "trainer.epochs=3",
    "trainer.batch_size=32",
    "trainer.network={channels: 8, cells: 1}",
    "progress=false",
]
BLOCKED = """
import importlib.util, runpy, sys

NOT_INSTALLED = ("numpy", "safetensors", "nas", "torchvision", "scipy", "hydra")


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NOT_INSTALLED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocker())
script = sys.argv[1]
sys.argv = sys.argv[1:]
sys.path[0] = script.rpartition("/")[0]
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A cell that was trained without the validation images, exported as Python and state."""
    folder = tmp_path_factory.mktemp("script")
    with without_processes():
        run(folder, "retrain", f"arch={ARCH}", *TRAINING, "validate=true")
        run(folder, "export", f"arch={ARCH}", "format=[python,state]", "images=120", "out=model")
    return folder / "model"


@pytest.fixture
def script(model, tmp_path):
    """Runs `predict.py` in a process in which nothing but PyTorch and Pillow can be imported."""
    (tmp_path / "blocked.py").write_text(BLOCKED)

    def run_script(*arguments):
        command = [sys.executable, "-B", str(tmp_path / "blocked.py"), f"{model}/predict.py", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    return run_script


RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (37, 23), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (40, 24, 3), dtype=np.uint8)


def lying():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def with_alpha(image):
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


PICTURES = {
    "grey.png": lambda path: Image.fromarray(GREY).save(path),
    "exactly the size.png": lambda path: Image.fromarray(GREY[:8, :8]).save(path),
    "three times the size.png": lambda path: Image.fromarray(COLOUR[:24, :24]).save(path),
    "colour.jpg": lambda path: Image.fromarray(COLOUR).save(path),
    "lying.jpg": lambda path: Image.fromarray(COLOUR).save(path, exif=lying()),
    "lying, with alpha.png": lambda path: with_alpha(Image.fromarray(COLOUR)).save(path, exif=lying()),
    "alpha.webp": lambda path: with_alpha(Image.fromarray(COLOUR)).save(path, lossless=True),
    "grey with alpha.png": lambda path: with_alpha(Image.fromarray(GREY).convert("LA")).save(path),
    "palette.gif": lambda path: Image.fromarray(GREY).convert("P").save(path, transparency=int(GREY[0, 0])),
    "grey with a key.png": lambda path: Image.fromarray(GREY // 16).save(path, transparency=7),
    "cmyk.jpg": lambda path: Image.fromarray(COLOUR).convert("CMYK").save(path),
    "16 bits.png": lambda path: Image.fromarray(GREY.astype(np.uint16) * 251).save(path),
    "16 bits with a key.png": lambda path: Image.fromarray(GREY.astype(np.uint16) // 16).save(path, transparency=7),
    "16 bits.tiff": lambda path: Image.fromarray(GREY.astype(np.uint16) * 251).save(path),
    "16 bits.pgm": lambda path: Image.fromarray(GREY.astype(np.uint16) * 251).save(path),
    "big-endian.tiff": lambda path: Image.frombytes("I;16B", (23, 37), (GREY.astype(">u2") * 251).tobytes()).save(path),
    "black and white.png": lambda path: Image.fromarray(GREY > 99).save(path),
    "one pixel.bmp": lambda path: Image.new("RGB", (1, 1), "red").save(path),
    "damaged metadata.png": lambda path: Image.fromarray(GREY).save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
}


def predicted(nas, model, *arguments):
    result = nas("predict", f"model={model}", "format=json", *arguments)
    return result, json.loads(result.stdout)


def test_all_kinds_of_pictures_have_the_probabilities_and_labels_of_nas_predict(script, nas, model, tmp_path):
    (tmp_path / "pictures").mkdir()
    for name, write in PICTURES.items():
        write(tmp_path / "pictures" / name)
    done = script("--json", "pictures")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found, (_, expected) = json.loads(done.stdout), predicted(nas, model, "images=pictures")
    assert [one["file"] for one in found] == [f"pictures/{name}" for name in sorted(PICTURES)]
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5), one["file"]
        assert {**one, "probabilities": None} == {**other, "probabilities": None}
    assert {one["label"] == "none of these" for one in found} == {True, False}


def test_the_model_that_was_not_trained_on_its_validation_images_has_a_threshold(model, nas, tmp_path):
    about = json.loads((model / "model.json").read_text())
    threshold = about["threshold"]
    assert threshold["images"] == 120
    assert 0.95 <= threshold["kept"] <= 1
    assert threshold["accuracy"] > about["original"]["accuracy"]
    card = (model / "MODEL_CARD.md").read_text()
    assert (
        f"| none of these | said of an image whose likeliest class has a probability below {threshold['value']:g}: "
        in card
    )
    assert f"THRESHOLD = {threshold['value']}" in (model / "predict.py").read_text()


def test_text_output_has_a_line_a_file_and_as_many_classes_as_asked_for(script, tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    Image.fromarray(GREY).save(tmp_path / "two\nlines.png")
    done = script("--top", 2, "--threshold", 0, "a.png", "two\nlines.png")
    assert done.returncode == 0
    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"a\.png\t\d [01]\.\d{4}, \d 0\.\d{4}", first)
    assert second == first.replace("a.png", r"'two\nlines.png'")
    several = Digits().split().valid.pixels[:20].float().mean(0).byte()  # no digit
    Image.fromarray(several[0].numpy()).save(tmp_path / "several.png")
    done = script("--threshold", 1, "several.png")
    assert re.fullmatch(r"several\.png\tnone of these \(\d 0\.\d{4}\)\n", done.stdout)
    assert "--threshold 2.0 is not a number from 0 to 1" in script("--threshold", 2, "several.png").stderr


def test_a_background_is_seen_through_transparent_pixels(script, nas, model, tmp_path):
    Image.new("LA", (8, 8), (0, 0)).save(tmp_path / "clear.png")
    (one,) = json.loads(script("--json", "--background", "#404040", "clear.png").stdout)
    _, (other,) = predicted(nas, model, "images=clear.png", "background=#404040")
    assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
    refused = script("--background", "whitish", "clear.png")
    assert refused.returncode == 2
    assert "--background whitish is not a colour; expected white or #ff8800" in refused.stderr


@pytest.mark.parametrize(
    ("settings", "shown"), [({"background": "black"}, '"black"'), ({"background": None}, '"white"'), ({}, '"white"')]
)
def test_transparent_pixels_are_shown_as_in_training_unless_another_colour_is_named(settings, shown):
    text = predict_script(SimpleNamespace(shape=(3, 8, 8), threshold=None, data=("image_folder", settings)))
    assert f"BACKGROUND = {shown}  #" in text


def test_files_that_cannot_be_read_are_reported_in_a_sentence_and_the_others_labelled(script, tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("text.png", ".hidden.png", "notes.txt"):
        (tmp_path / "folder" / name).write_text("no image")
    (tmp_path / "empty").mkdir()
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "folder" / "float.tiff")
    Image.fromarray(GREY).save(tmp_path / "folder" / "good.png")
    done = script("folder", "none.png", "empty")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "folder/float.tiff cannot be read (it has pixels of mode F, expected 8 or 16 bits per channel)",
        "folder/text.png cannot be read (not an image)",
        "none.png cannot be read (No such file or directory)",
        "empty has no image",
    ]
    assert len(done.stdout.splitlines()) == 1
    assert script("--json", "none.png").stdout == "[]\n"


def test_a_script_that_reads_pictures_in_another_way_is_not_exported(refused, monkeypatch, tmp_path):
    """Here one that forgets transparency."""

    def forgetful(model):
        return predict_script(model).replace("opaque(eight_bits(opened), background)", "eight_bits(opened)")

    monkeypatch.setattr(python, "predict_script", forgetful)
    arguments = [f"arch={ARCH}", "space.channels=4", "space.cells=1", "format=python", "images=8", "out=won"]
    with without_processes():
        refused("export", *arguments, match=r"predict\.py and nas predict differ by \d\.\de-0\d in a prob", code=1)
    assert not (tmp_path / "won").exists()


def test_the_script_is_as_readable_as_the_code_of_the_repository(model):
    config = ["--config", str(ROOT / "pyproject.toml")]
    for command in (["format", "--check"], ["check", "--ignore", "BLE001,E402"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *config, str(model / "predict.py")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
