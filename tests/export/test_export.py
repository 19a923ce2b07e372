"""`nas export` and `nas predict`: what leaves the house computes what the network computes."""

import csv
import io
import json
import shlex
import subprocess
import sys

import pytest
import torch
from conftest import ARCH
from PIL import Image
from safetensors.torch import load_file
from users_space import write as write_space

from nas.data.cifar10 import Cifar10
from nas.data.digits import Digits
from nas.export.check import changed_labels
from nas.training.augment import plain_batch
from search_spaces.nasbench201 import NASBench201

ALL = "format=[genotype,python,onnx,torch_export,state]"
QUICK = ["data=digits", "trainer.epochs=1", "trainer.train_images=200"]
CELLS = [
    ("nasbench201", ARCH, "trainer.network={channels: 4, cells: 1}"),
    ("darts", "DARTS_V2", "trainer.network={channels: 4, cells: 3, auxiliary: false}"),
    pytest.param("nasnet", "AmoebaNet-A", "trainer.network={channels: 4, cells: 3, auxiliary: false}",
                 marks=pytest.mark.slow),
]  # fmt: skip
ALONE = """
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


def alone(folder, pixels, tmp_path):
    """Logits of `network.py` in an isolated process in which nothing but torch can be imported."""
    torch.save(pixels, tmp_path / "pixels.pt")
    (tmp_path / "alone.py").write_text(ALONE)
    words = [sys.executable, "-I", str(tmp_path / "alone.py"), str(folder), str(tmp_path / "pixels.pt")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "10"
    return torch.load(tmp_path / "pixels.pt", weights_only=True)


def written_images(folder, data=None, number=6):
    """Some validation images as PNG files, by their names in order."""
    images = (data or Digits()).split().valid.first(number)
    folder.mkdir()
    for place, pixels in enumerate(images.pixels):
        shown = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
        Image.fromarray(shown.numpy()).save(folder / f"{place:03}.png")
    return images


@pytest.mark.parametrize(("space", "text", "network"), CELLS)
def test_a_retrained_cell_leaves_in_every_form(nas, tmp_path, space, text, network):
    assert nas("retrain", f"space={space}", f"arch={text}", *QUICK, network).returncode == 0
    done = nas("export", f"space={space}", f"arch={text}", ALL, "out=won", "images=80")
    assert done.returncode == 0, done.stderr
    won = tmp_path / "won"
    pictures = {"network", *(["cell"] if space == "nasbench201" else ["normal", "reduction"])}
    files = ["MODEL_CARD.md", "genotype.json", "model.json", "model.onnx", "model.pt2", "model.safetensors"]
    files += ["network.pt", "network.py", "network.safetensors"]
    files += [f"{name}.{kind}" for name in pictures for kind in ("png", "svg")]
    assert sorted(path.name for path in won.iterdir()) == sorted(files)
    about = json.loads((won / "model.json").read_text())
    assert set(about["formats"]) == {"python", "onnx", "torch_export", "state"}
    assert all(form["max_difference"] <= form["tolerance"] for form in about["formats"].values())
    assert {form["accuracy"] for form in about["formats"].values()} == {about["original"]["accuracy"]}
    assert all(set(form["latency_ms"]) == {"1", "64"} for form in about["formats"].values())

    images = written_images(tmp_path / "pngs")
    logits = alone(won, images.pixels, tmp_path)
    for form in ("model.safetensors", "model.onnx"):
        (tmp_path / form).unlink(missing_ok=True)
        found = json.loads(nas("predict", "model=won", "images=pngs", "format=json").stdout)
        probabilities = torch.tensor([list(one["probabilities"].values()) for one in found])
        assert torch.allclose(probabilities, logits.softmax(1), atol=1e-5)
        assert [int(one["label"]) for one in found] == logits.argmax(1).tolist()
        (won / form).unlink()


def test_a_users_own_space_needs_no_exporter(shell, nas, tmp_path):
    write_space(tmp_path)
    place = ["--config-dir", "conf"]
    assert nas(*place, "search", "space=mine", *QUICK, "budget.trials=2", "run=m").returncode == 0
    assert nas(*place, "retrain", "run=m", "trainer.epochs=1", "trainer.network={}").returncode == 0
    done = nas(*place, "export", "run=m", ALL, "out=won", "images=70")
    assert done.returncode == 0, done.stderr
    images = written_images(tmp_path / "pngs")
    logits = alone(tmp_path / "won", images.pixels, tmp_path)
    found = json.loads(nas(*place, "predict", "model=won", "images=pngs", "format=json").stdout)
    assert [int(one["label"]) for one in found] == logits.argmax(1).tolist()
    told = nas("predict", "model=won", "images=pngs")
    assert (told.returncode, "unknown space 'mine'" in told.stderr) == (2, True)


def test_a_winner_on_cifar10_predicts_on_files_what_the_framework_predicts(nas, cifar10_root, tmp_path):
    """The network as it was tested, built here from its checkpoint, against what was exported."""
    few = ["trainer.epochs=1", "trainer.train_images=256", "trainer.network={channels: 4, cells: 1}"]
    searched = nas(
        "search", "strategy=random", "data=cifar10", "trainer.valid_images=100", *few, "budget.trials=2", "run=c"
    )
    assert searched.returncode == 0, searched.stderr
    found = json.loads(nas("retrain", "run=c", *few, "format=json").stdout)
    done = nas("export", "run=c", "format=[state,onnx]", "images=64", "out=won")
    assert done.returncode == 0, done.stderr
    space = NASBench201(channels=4, cells=1)
    network = space.build(space.from_text(found["text"]), Cifar10().task)
    network.load_state_dict(load_file(f"{found['folder']}/model.safetensors"))
    images = written_images(tmp_path / "pngs", Cifar10(root=cifar10_root.parent), 100)
    with torch.inference_mode():
        logits = network.eval()(plain_batch(images, 0, 100))
    for form in ("model.safetensors", "model.onnx"):
        predicted = json.loads(nas("predict", "model=won", "images=pngs", "format=json").stdout)
        assert [one["label"] for one in predicted] == [
            Cifar10.class_names[label] for label in logits.argmax(1).tolist()
        ]
        probabilities = torch.tensor([list(one["probabilities"].values()) for one in predicted])
        assert torch.allclose(probabilities, logits.softmax(1), atol=1e-5)
        (tmp_path / "won" / form).unlink()


def test_what_was_never_trained_says_so(nas, tmp_path):
    assert nas("search", "strategy=random", "budget.trials=1", "run=r", *QUICK).returncode == 0
    done = nas("export", "run=r", "format=python", "images=8")
    assert (done.returncode, "never retrained: its weights are random" in done.stdout) == (0, True)
    won = tmp_path / "exports" / "r-trial-0"
    assert "It is untrained" in (won / "network.py").read_text()
    card = (won / "MODEL_CARD.md").read_text()
    assert card.startswith("# A cell of nasbench201 for digits: untrained, with random weights")
    assert "nas search strategy=random" in card
    assert "nas retrain" not in card


def test_the_card_has_all_seeds_and_commands_that_make_it_again(nas, tmp_path):
    network = "trainer.network={channels: 4, cells: 1}"
    for seed in (0, 1, 2):
        assert nas("retrain", f"arch={ARCH}", *QUICK, network, f"seed={seed}").returncode == 0
    assert nas("export", f"arch={ARCH}", "format=state", "images=8", "out=won").returncode == 0
    about = json.loads((tmp_path / "won" / "model.json").read_text())
    assert about["trained"]["over_seeds"]["n"] == 3
    assert "± " in (tmp_path / "won" / "MODEL_CARD.md").read_text().splitlines()[0]
    words = shlex.split(about["commands"]["retrain"])[1:]
    again = json.loads(nas(*words, "format=json").stdout)
    assert [one["new"] for one in again["retrainings"]] == [False] * 3
    assert again["test_accuracy"] == about["trained"]["over_seeds"]
    assert again["retrainings"][-1]["metrics"]["test_accuracy"] == about["trained"]["test_accuracy"]


def test_predictions_as_csv_and_of_images_of_another_size(nas, tmp_path):
    network = "trainer.network={channels: 4, cells: 1}"
    assert nas("retrain", f"arch={ARCH}", *QUICK, network).returncode == 0
    assert nas("export", f"arch={ARCH}", "format=state", "images=8", "out=won").returncode == 0
    Image.new("RGB", (31, 20), "white").save(tmp_path / "white.jpg")
    found = list(
        csv.DictReader(io.StringIO(nas("predict", "model=won", "images=[white.jpg,white.jpg]", "format=csv").stdout))
    )
    assert [row["file"] for row in found] == ["white.jpg", "white.jpg"]
    assert sum(float(found[0][str(digit)]) for digit in range(10)) == pytest.approx(1, abs=1e-4)
    assert nas("predict", "model=won", "images=white.jpg").stdout.count("white.jpg") == 1


@pytest.fixture
def exported(nas, tmp_path):
    assert nas("export", f"arch={ARCH}", "space.channels=4", "space.cells=1", "format=state", "images=4",
               "out=won").returncode == 0  # fmt: skip
    return nas


def told(result, code, words):
    assert (result.returncode, words in result.stderr, result.stderr.count("\n"), result.stdout) == (
        code,
        True,
        1,
        "",
    ), result.stderr


def test_mistakes_of_an_export_are_told_in_a_sentence(exported, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    for words, said in (
        ([f"arch={ARCH}", "out=won"], "won is not an empty folder and was left unchanged"),
        ([f"arch={ARCH}", "format=[state,tflite]"], "tflite"),
        ([f"arch={ARCH}", "format=[]"], "format must be a list of genotype, onnx, python, state, torch_export"),
        ([f"arch={ARCH}", "weights=empty"], "empty is no folder of nas retrain"),
        ([f"arch={ARCH}", "images=0"], "images must be a whole number of at least 1"),
        (["arch=missing.json"], "missing.json cannot be read"),
        (["run=nothing"], "there is no store"),
    ):
        told(exported("export", *words), 2, said)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told(exported("export", f"arch={ARCH}", "format=onnx", "out=x"), 2, "pip install 'cellnas[onnx]'")
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "won"}


def test_weights_of_another_cell_are_refused(nas, tmp_path):
    network = "trainer.network={channels: 4, cells: 1}"
    assert nas("retrain", f"arch={ARCH}", *QUICK, network, "out=trained").returncode == 0
    other = ARCH.replace("avg_pool_3x3", "nor_conv_1x1")
    told(nas("export", f"arch={other}", "weights=trained", "out=x"), 2, "weights=trained are of arch=")
    (tmp_path / "trained" / "model.safetensors").write_bytes(b"nothing")
    told(nas("export", f"arch={ARCH}", "weights=trained", "out=x"), 2, "trained/model.safetensors cannot be read")
    assert not (tmp_path / "x").exists()


def test_what_differs_is_no_export(nas, tmp_path, monkeypatch):
    from nas.export.formats import state

    whole = state.write

    def broken(model, folder):
        with torch.no_grad():
            model.network.classifier.bias += 0.01
        whole(model, folder)

    monkeypatch.setattr(state, "write", broken)
    words = [f"arch={ARCH}", "space.channels=4", "space.cells=1", "format=state", "images=4", "out=won"]
    told(nas("export", *words), 1, "format=state: what was written differs from the network by 1.0e-02")
    assert list(tmp_path.iterdir()) == []


def test_a_label_that_changes_is_no_rounding():
    expected = torch.tensor([[1.0, 0.0], [1.0, 0.99995], [0.0, 2.0]])
    found = torch.tensor([[0.0, 1.0], [0.99995, 1.0], [0.0, 2.0]])
    assert changed_labels(found, expected, 1e-4) == 1


def test_mistakes_of_a_prediction_are_told_and_nothing_foreign_is_run(exported, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "network.py").write_text("raise SystemExit('run')")
    about = json.loads((tmp_path / "won" / "model.json").read_text())
    for words, said in (
        (["model=won", "images=text.png"], "text.png cannot be read (not an image)"),
        (["model=won", "images=none.png"], "images=none.png does not exist"),
        (["model=won", "images=foreign"], "images=foreign has no image"),
        (["model=foreign", "images=a.png"], "model=foreign is not an exported model"),
        (["images=a.png"], "model=null; expected a folder of nas export"),
        (["model=won"], "images=[]; expected an image, a folder of images, or a list of them"),
    ):
        result = exported("predict", *words)
        assert (result.returncode in (1, 2), said in result.stderr, result.stderr.count("\n")) == (True, True, 1)
    (tmp_path / "foreign" / "model.json").write_text(json.dumps(about))
    told(exported("predict", "model=foreign", "images=a.png"), 2, "has neither model.safetensors nor model.onnx")
    given = about["preprocessing"]
    for damage in (
        about | {"task": {"channels": 1}},
        about | {"task": about["task"] | {"height": 60_000, "width": 60_000}},
        about | {"classes": ["a"]},
        about | {"cellnas_model": 9},
        about | {"preprocessing": given | {"std": [0.0]}},
        about | {"preprocessing": given | {"mean": [float("nan")]}},
    ):
        (tmp_path / "foreign" / "model.json").write_text(json.dumps(damage))
        assert exported("predict", "model=foreign", "images=a.png").stderr.startswith("nas: model=foreign: model.json")


def test_images_are_prepared_as_in_training(tmp_path):
    from nas.export.folder import Folder
    from nas.export.image_reading import read_image

    images = written_images(tmp_path / "pngs")
    about = {
        "task": {"channels": 1, "height": 8, "width": 8, "classes": 10},
        "preprocessing": {"mean": images.mean, "std": images.std},
    }
    found = torch.stack([read_image(Folder(tmp_path, about), tmp_path / "pngs" / f"{i:03}.png") for i in range(6)])
    assert torch.equal(found, plain_batch(images, 0, 6).contiguous())
