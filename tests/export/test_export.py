"""`nas export` writes forms that compute what the network computes, and `nas predict` runs them on image files.

Each form is checked in a fresh process once, here; other exports of the tests are checked in this one.
"""

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import ARCH
from PIL import Image
from safetensors.torch import load_file
from users_space import write as write_space
from written import run, without_processes

from nas import UserError
from nas.data.cifar10 import Cifar10
from nas.data.digits import Digits
from nas.export.artifact_runner import LOADER_FILE
from nas.export.assembly import forms
from nas.export.check import changed_labels, run_in_fresh_process
from nas.export.folder import Folder
from nas.export.formats import onnx, state
from nas.export.image_reading import read_image
from nas.training.augment import plain_batch
from search_spaces.darts import DARTS
from search_spaces.nasbench201 import NASBench201
from search_spaces.nasnet import NASNet

ALL_FORMATS = "format=[genotype,python,onnx,torch_export,state]"
QUICK_SETTINGS = ["data=digits", "trainer.epochs=1", "trainer.train_images=100", "progress=false"]
TINY_SETTINGS = [*QUICK_SETTINGS, "trainer.network={channels: 4, cells: 1}"]
FILES = {
    "MODEL_CARD.md", "genotype.json", "model.json", "model.onnx", "model.pt2", "model.safetensors", "network.pt",
    "network.py", "network.safetensors", "network.png", "network.svg", "predict.py",
}  # fmt: skip
SPACES = {"nasbench201": NASBench201, "darts": DARTS, "nasnet": NASNet}
CELLS = [
    # one kind of cell: README.md exports it in three forms, and `own_space` is a network as simple in all of them
    pytest.param("nasbench201", ARCH, {"channels": 4, "cells": 1}, ["cell"], marks=pytest.mark.slow),
    ("darts", "DARTS_V2", {"channels": 4, "cells": 3, "auxiliary": False}, ["normal", "reduction"]),
    pytest.param("nasnet", "AmoebaNet-A", {"channels": 4, "cells": 3, "auxiliary": False}, ["normal", "reduction"],
                 marks=pytest.mark.slow),
]  # fmt: skip
NOTHING_BUT_TORCH = """
import sys

TORCHES_OWN = {"torch", "torchgen", "functorch", "typing_extensions", "sympy", "mpmath", "networkx", "jinja2",
               "markupsafe", "fsspec", "filelock", "triton", "nvidia", "cuda", "network"}


class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in TORCHES_OWN and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocker())
sys.path.insert(0, sys.argv[1])
import torch
from network import CLASSES, Network, prepared

pixels = torch.load(sys.argv[2], weights_only=True)
with torch.inference_mode():
    torch.save(Network()(prepared(pixels)), sys.argv[2])
assert "safetensors" not in sys.modules and "numpy" not in sys.modules
print(len(CLASSES))
"""


def logits_of_network_py(folder, pixels, tmp_path):
    """Logits of `network.py` in an isolated process in which nothing but torch can be imported."""
    torch.save(pixels, tmp_path / "pixels.pt")
    (tmp_path / "isolated.py").write_text(NOTHING_BUT_TORCH)
    command = [sys.executable, "-I", str(tmp_path / "isolated.py"), str(folder), str(tmp_path / "pixels.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "10"
    return torch.load(tmp_path / "pixels.pt", weights_only=True)


def write_images(folder, data=None, number=6):
    """Write some validation images as PNG files, whose names are in order."""
    images = (data or Digits()).split().valid.first(number)
    folder.mkdir()
    for index, pixels in enumerate(images.pixels):
        shown = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
        Image.fromarray(shown.numpy()).save(folder / f"{index:03}.png")
    return images


def assert_predicted(result, logits, class_names=tuple("0123456789")):
    """Hold the output of `nas predict … format=json` against logits."""
    assert result.returncode == 0, result.stderr
    predictions = json.loads(result.stdout)
    probabilities = torch.tensor([list(one["probabilities"].values()) for one in predictions])
    assert torch.allclose(probabilities, logits.softmax(1), atol=1e-5)
    assert [one["label"] for one in predictions] == [class_names[label] for label in logits.argmax(1).tolist()]


@pytest.fixture
def in_process():
    """Checks of exported forms start no process."""
    with without_processes():
        yield


@pytest.fixture(scope="module")
def own_space(tmp_path_factory):
    """The folder of a user's own space, searched, retrained and exported in every form, checked in fresh processes."""
    folder = tmp_path_factory.mktemp("own")
    write_space(folder)
    own = ["--config-dir", "conf"]
    run(folder, *own, "search", "space=mine", *QUICK_SETTINGS, "budget.trials=2", "run=m")
    run(folder, *own, "retrain", "run=m", "trainer.epochs=1", "trainer.network={}")
    run(folder, *own, "export", "run=m", ALL_FORMATS, "out=won", "images=70")
    return folder


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """The folder of a search whose winner was exported without being retrained."""
    folder = tmp_path_factory.mktemp("untrained")
    with without_processes():
        run(folder, "search", "strategy=random", "budget.trials=1", "run=r", *TINY_SETTINGS)
        run(folder, "export", "run=r", "format=[python,state]", "images=8")
    return folder / "exports" / "r-trial-0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a cell that was retrained with three seeds, and exported."""
    folder = tmp_path_factory.mktemp("trained")
    with without_processes():
        run(folder, "retrain", f"arch={ARCH}", *TINY_SETTINGS, "seeds=3")
        run(folder, "export", f"arch={ARCH}", "format=state", "images=8", "out=won")
    return folder


@pytest.fixture
def trained_copy(trained, nas, tmp_path):
    """A copy of `trained` as the current folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return nas


@pytest.fixture
def untrained_copy(untrained, nas, tmp_path):
    """A copy of an untrained model in the current folder, as `won`."""
    shutil.copytree(untrained, tmp_path / "won")
    return nas


def test_every_form_of_a_users_own_space_passes_its_check_in_a_fresh_process(own_space):
    assert {path.name for path in (own_space / "won").iterdir()} == FILES
    model = json.loads((own_space / "won" / "model.json").read_text())
    assert set(model["formats"]) == {"python", "onnx", "torch_export", "state"}
    for form in model["formats"].values():
        assert form["max_difference"] <= form["tolerance"]
        assert form["accuracy"] == model["original"]["accuracy"]
        assert set(form["latency_ms"]) == {"1", "64"}


def test_network_py_needs_only_torch_and_gives_what_nas_predicts(own_space, nas, tmp_path):
    shutil.copytree(own_space, tmp_path, dirs_exist_ok=True)
    images = write_images(tmp_path / "pngs")
    logits = logits_of_network_py(tmp_path / "won", images.pixels, tmp_path)
    predict = ["predict", "model=won", "images=pngs", "format=json"]
    assert_predicted(nas("--config-dir", "conf", *predict), logits)
    shutil.rmtree(tmp_path / "conf")
    assert_predicted(nas(*predict), logits)  # ONNX does not need the space
    (tmp_path / "won" / "model.onnx").unlink()
    unknown = nas(*predict)
    assert unknown.returncode == 2
    assert "unknown space 'mine'" in unknown.stderr


@pytest.mark.parametrize(("space", "text", "network", "pictures"), CELLS)
def test_a_retrained_cell_is_exported_in_every_form(in_process, nas, tmp_path, space, text, network, pictures):  # noqa: PLR0917 - fixtures
    chosen = [f"space={space}", f"arch={text}"]
    sizes = f"trainer.network={{{', '.join(f'{key}: {value}' for key, value in network.items())}}}".lower()
    retrained = json.loads(nas("retrain", *chosen, *QUICK_SETTINGS, sizes, "format=json").stdout)
    done = nas("export", *chosen, ALL_FORMATS, "out=won", "images=24")
    assert done.returncode == 0, done.stderr
    pictures = {f"{picture}.{kind}" for picture in pictures for kind in ("png", "svg")}
    assert {path.name for path in (tmp_path / "won").iterdir()} == FILES | pictures
    images = write_images(tmp_path / "pngs")
    chosen_space = SPACES[space]()
    built = chosen_space.build(chosen_space.from_text(text), Digits().task, network)
    built.load_state_dict(load_file(f"{retrained['folder']}/model.safetensors"))
    with torch.inference_mode():
        logits = built.eval()(plain_batch(images, 0, 6))
    assert_predicted(nas("predict", "model=won", "images=pngs", "format=json"), logits)
    (tmp_path / "won" / "model.safetensors").unlink()
    assert_predicted(nas("predict", "model=won", "images=pngs", "format=json"), logits)


def test_colour_images_in_files_get_the_logits_of_the_framework(
    in_process, nas, cifar10_root, few_cifar10_images, tmp_path
):
    """The network built here, on CIFAR-10 from its batches, against the export on PNG files."""
    space = NASBench201(channels=4, cells=1)
    sizes = ["space.channels=4", "space.cells=1"]
    done = nas("export", f"arch={ARCH}", *sizes, "data=cifar10", "format=state", "images=16", "out=won")
    assert done.returncode == 0, done.stderr
    network = space.build(space.from_text(ARCH), Cifar10().task)
    network.load_state_dict(load_file(tmp_path / "won" / "model.safetensors"))
    images = write_images(tmp_path / "pngs", Cifar10(root=cifar10_root.parent), 100)
    with torch.inference_mode():
        logits = network.eval()(plain_batch(images, 0, 100))
    assert_predicted(nas("predict", "model=won", "images=pngs", "format=json"), logits, Cifar10.class_names)


def test_an_untrained_network_says_so(in_process, untrained, nas, tmp_path):
    assert "It is untrained" in (untrained / "network.py").read_text()
    card = (untrained / "MODEL_CARD.md").read_text()
    assert card.startswith("# A nasbench201 network for digits: untrained, with random weights")
    assert "nas search strategy=random" in card
    assert "nas retrain" not in card
    done = nas("export", f"arch={ARCH}", "space.channels=4", "space.cells=1", "format=state", "images=4")
    assert done.returncode == 0
    assert "Its weights are random: it was never retrained (nas retrain trains it)." in done.stdout


def test_the_card_has_all_seeds_and_the_command_that_trained_them(trained_copy, tmp_path):
    model = json.loads((tmp_path / "won" / "model.json").read_text())
    assert model["trained"]["over_seeds"]["n"] == 3
    assert "± " in (tmp_path / "won" / "MODEL_CARD.md").read_text().splitlines()[0]
    again = json.loads(trained_copy(*shlex.split(model["commands"]["retrain"])[1:], "format=json").stdout)
    assert [one["new"] for one in again["retrainings"]] == [False] * 3
    assert again["test_accuracy"] == model["trained"]["over_seeds"]
    assert model["trained"]["test_accuracy"] in [one["metrics"]["test_accuracy"] for one in again["retrainings"]]


def test_an_image_of_another_size_is_predicted_as_csv_and_as_a_table(trained_copy, tmp_path):
    Image.new("RGB", (31, 20), "white").save(tmp_path / "white.jpg")
    printed = trained_copy("predict", "model=won", "images=[white.jpg,white.jpg]", "format=csv").stdout
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["file"] for row in rows] == ["white.jpg", "white.jpg"]
    assert sum(float(rows[0][str(digit)]) for digit in range(10)) == pytest.approx(1, abs=1e-4)
    assert trained_copy("predict", "model=won", "images=white.jpg").stdout.count("white.jpg") == 1


def test_weights_of_another_cell_and_damaged_weights_are_refused(nas, refused, tmp_path):
    assert nas("retrain", f"arch={ARCH}", *TINY_SETTINGS, "out=weights").returncode == 0
    other = ARCH.replace("avg_pool_3x3", "nor_conv_1x1")
    refused("export", f"arch={other}", "weights=weights", "out=x", match="weights=weights belong to arch=")
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"nothing")
    refused("export", f"arch={ARCH}", "weights=weights", "out=x", match=r"weights/model\.safetensors cannot be read")
    assert not (tmp_path / "x").exists()


def test_mistakes_of_an_export_are_reported_in_a_sentence(untrained_copy, refused, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([f"arch={ARCH}", "out=won"], "won holds an earlier export"),
        ([f"arch={ARCH}", "format=[state,tflite]"], "tflite"),
        ([f"arch={ARCH}", "format=[]"], f"format must be a list of {', '.join(['genotype', *forms()])}"),
        ([f"arch={ARCH}", "weights=empty"], "empty is not a folder of nas retrain"),
        ([f"arch={ARCH}", "images=0"], "images must be a whole number of at least 1"),
        (["arch=missing.json"], "missing.json cannot be read"),
        (["run=nothing"], "there is no store"),
    ):
        assert refused("export", *arguments, match=re.escape(message)).count("\n") == 1
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused("export", f"arch={ARCH}", "format=onnx", "out=x", match=re.escape("pip install 'cellnas[onnx]'"))
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "won"}


def test_a_form_that_differs_from_the_network_is_not_exported(in_process, refused, tmp_path, monkeypatch):
    write = state.write

    def write_another(model, folder):
        with torch.no_grad():
            model.network.classifier.bias += 0.01
        write(model, folder)

    def refuse(_model, _folder):
        raise UserError("not tried")

    monkeypatch.setattr(state, "write", write_another)
    monkeypatch.setattr(onnx, "write", refuse)
    arguments = [f"arch={ARCH}", "space.channels=4", "space.cells=1", "format=state", "images=4", "out=won"]
    message = r"format=state: its logits differ from the network's by 1\.0e-02 \(at most .* is rounding\)"
    assert "format=[genotype] works" in refused("export", *arguments, match=message, code=1)
    assert list(tmp_path.iterdir()) == []


def test_a_form_that_does_not_run_in_a_fresh_process_is_reported(tmp_path):
    form = SimpleNamespace(IS_STANDALONE=True, FILES=())
    (tmp_path / LOADER_FILE).write_text("def load(folder, threads, work):\n    raise KeyError('tflite')\n")
    with pytest.raises(UserError) as error:
        run_in_fresh_process("tflite", form, tmp_path, tmp_path)
    assert str(error.value) == (
        "format=tflite: the files do not run in a fresh process (KeyError: 'tflite'); nothing was written"
    )


def test_a_changed_label_is_not_rounding_unless_two_logits_were_equal():
    expected = torch.tensor([[1.0, 0.0], [1.0, 0.99995], [0.0, 2.0]])
    logits = torch.tensor([[0.0, 1.0], [0.99995, 1.0], [0.0, 2.0]])
    assert changed_labels(logits, expected, 1e-4) == 1


def test_mistakes_of_a_prediction_are_reported_and_no_foreign_code_is_run(untrained_copy, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "network.py").write_text("raise SystemExit('run')")
    model = json.loads((tmp_path / "won" / "model.json").read_text())
    for arguments, code, message in (
        (["model=won", "images=text.png"], 1, "text.png cannot be read (not an image)"),
        (["model=won", "images=none.png"], 2, "images=none.png does not exist"),
        (["model=won", "images=foreign"], 2, "images=foreign has no image"),
        (["model=won", "images=a.png", "format=csv", "top=2"], 2, "top= has no effect on format=csv"),
        (["model=foreign", "images=a.png"], 2, "model=foreign is not an exported model"),
        (["images=a.png"], 2, "model=null; expected a folder of nas export"),
        (["model=won"], 2, "images=[]; expected an image, a folder of images, or a list of them"),
    ):
        result = untrained_copy("predict", *arguments)
        assert result.returncode == code
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    (tmp_path / "foreign" / "model.json").write_text(json.dumps(model))
    result = untrained_copy("predict", "model=foreign", "images=a.png")
    assert result.returncode == 2
    assert "has neither model.safetensors nor model.onnx" in result.stderr
    preprocessing = model["preprocessing"]
    for damaged in (
        model | {"task": {"channels": 1}},
        model | {"task": model["task"] | {"height": 60_000, "width": 60_000}},
        model | {"classes": ["a"]},
        model | {"cellnas_model": 9},
        model | {"preprocessing": preprocessing | {"std": [0.0]}},
        model | {"preprocessing": preprocessing | {"mean": [float("nan")]}},
    ):
        (tmp_path / "foreign" / "model.json").write_text(json.dumps(damaged))
        result = untrained_copy("predict", "model=foreign", "images=a.png")
        assert result.stderr.startswith("nas: model=foreign: model.json")


def test_images_are_preprocessed_as_in_training(tmp_path):
    images = write_images(tmp_path / "pngs")
    model = {
        "task": {"channels": 1, "height": 8, "width": 8, "classes": 10},
        "preprocessing": {"mean": images.mean, "std": images.std},
    }
    read = [read_image(Folder(tmp_path, model), tmp_path / "pngs" / f"{index:03}.png") for index in range(6)]
    assert torch.equal(torch.stack(read), plain_batch(images, 0, 6).contiguous())
