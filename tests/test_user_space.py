"""A stranger's space: one class and one YAML in a folder outside of the repository."""

import json

SPACE = """
from types import MappingProxyType

from torch import nn

from nas import SearchSpace


class MySpace(SearchSpace):
    choices = MappingProxyType({"width": ("8", "16"), "activation": ("relu", "tanh"), "depth": ("1", "2", "3")})

    def __init__(self, dropout=0.0):
        self.dropout = dropout

    def build(self, architecture, task, network=None):
        width, activation, depth = self.options(architecture)
        layers, size = [nn.Flatten()], task.channels * task.height * task.width
        for _ in range(int(depth)):
            layers += [nn.Linear(size, int(width)), nn.ReLU() if activation == "relu" else nn.Tanh()]
            size = int(width)
        return nn.Sequential(*layers, nn.Dropout(self.dropout), nn.Linear(size, task.classes))
"""


def write(folder, target="my_space.MySpace"):
    (folder / "my_space.py").write_text(SPACE)
    (folder / "conf" / "space").mkdir(parents=True)
    (folder / "conf" / "space" / "mine.yaml").write_text(f"# my space\n_target_: {target}\ndropout: 0.0\n")


def test_it_is_searched_retrained_and_exported_like_our_own(shell, tmp_path):
    write(tmp_path)
    words = ["space=mine", "data=digits", "trainer.epochs=2", "budget.trials=3", "run=mine"]
    found = shell("--config-dir", "conf", "search", *words, "space.dropout=0.1", "format=json")
    assert found.returncode == 0, found.stderr
    best = json.loads(found.stdout)["best"]
    assert best["valid_accuracy"] > 0.3
    export = shell("export", "run=mine", "format=genotype", "out=won")
    assert export.returncode == 0, export.stderr
    genotype = json.loads((tmp_path / "won" / "genotype.json").read_text())
    assert genotype["space"] == {"name": "mine", "settings": {"dropout": 0.1}}
    again = shell(
        "retrain",
        "--config-dir=conf",
        "arch=won/genotype.json",
        "trainer.epochs=2",
        "trainer.network={}",
        "format=json",
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["text"] == best["arch"]


def test_what_is_missing_is_said_in_one_sentence(nas, tmp_path):
    write(tmp_path, target="my_spaec.MySpace")
    wrong = nas("search", "--config-dir", "conf", "space=mine", "budget.trials=1")
    assert wrong.returncode == 2
    assert "space=mine cannot be made" in wrong.stderr
    assert "my_spaec" in wrong.stderr
    assert wrong.stderr.count("\n") == 1
    unknown = nas("search", "space=mine")
    assert unknown.returncode == 2
    assert "unknown space 'mine'; there are darts, nasbench201, nasnet" in unknown.stderr
    nowhere = nas("search", "--config-dir", "none", "space=mine")
    assert (nowhere.returncode, nowhere.stderr) == (2, "nas: --config-dir none is not a folder\n")
