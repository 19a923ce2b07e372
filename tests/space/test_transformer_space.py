"""A user's space of vision transformers: it is searched, trained as transformers are, and exported."""

import importlib
import json
import shlex

import pytest
import torch
from safetensors.torch import load_file
from written import without_processes

from nas.data.digits import Digits
from nas.training import count
from nas.training.fit import evaluate
from nas.training.recipe import Recipe

SPACE = '''
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import nn

from nas import SearchSpace

WIDTH = 128


class Attention(nn.Module):
    """As nn.MultiheadAttention, by PyTorch's own function."""

    def __init__(self, heads):
        super().__init__()
        self.heads, self.inward, self.outward = heads, nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        q, k, v = self.inward(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.outward(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Library(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.layer = nn.MultiheadAttention(WIDTH, heads, batch_first=True)

    def forward(self, x):
        return self.layer(x, x, x, need_weights=False)[0]


class Block(nn.Module):
    def __init__(self, heads, kind):
        super().__init__()
        self.before, self.after = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention(heads) if kind == "function" else Library(heads)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):
        x = x + self.attention(self.before(x))
        return x + self.mlp(self.after(x))


class ViT(nn.Module):
    """Dosovitskiy et al., ICLR 2021, with patches of 2x2 pixels."""

    def __init__(self, task, depth, heads, kind):
        super().__init__()
        self.patches = nn.Conv2d(task.channels, WIDTH, 2, stride=2)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + task.height * task.width // 4, WIDTH))
        self.blocks = nn.Sequential(*(Block(heads, kind) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, task.classes)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class Transformers(SearchSpace):
    choices = MappingProxyType({"depth": ("4", "5"), "heads": ("2", "4"), "attention": ("function", "module")})

    def build(self, architecture, task, network=None):
        depth, heads, kind = self.options(architecture)
        return ViT(task, int(depth), int(heads), kind)
'''
RECIPE = ["trainer.optimizer=adamw", "trainer.lr=0.001", "trainer.weight_decay=0.05", "trainer.warmup_epochs=1",
          "trainer.mixup=0.2", "trainer.batch_size=16", "trainer.train_images=32", "trainer.threads=1"]  # fmt: skip


@pytest.fixture
def run(nas, tmp_path):
    """Runs `nas …` with the space `vit` and returns its stdout."""
    (tmp_path / "my_transformers.py").write_text(SPACE)
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "vit.yaml").write_text("# mine\n_target_: my_transformers.Transformers\n")

    def succeed(*arguments):
        result = nas("--config-dir", "conf", *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return succeed


def test_it_is_searched_retrained_with_adamw_and_exported(run, tmp_path):
    quick = ["trainer.epochs=2", "trainer.valid_images=32", "progress=false"]
    run("search", "space=vit", "data=digits", "strategy=random", "budget.trials=1", "run=v", *RECIPE, *quick)
    (trial,) = json.loads(run("leaderboard", "run=v", "format=json"))
    assert trial["status"] == "completed"
    assert 0.78e6 < trial["metrics"]["parameters"] < 1.1e6
    retrain = ["retrain", "run=v", "trial=best", *RECIPE, "trainer.epochs=2", "progress=false", "format=json"]
    retrained = json.loads(run(*retrain))
    expected = {"optimizer": "adamw", "warmup_epochs": 1, "mixup": 0.2, "weight_decay": 0.05}
    recipe = retrained["protocol"]["recipe"]
    assert {key: recipe.get(key) for key in expected} == expected
    assert not {"momentum", "nesterov", "cutmix"} & recipe.keys()

    with without_processes():
        run("export", "run=v", "trial=best", "format=[state]", "images=2", "out=won")
    facts = json.loads((tmp_path / "won" / "model.json").read_text())
    arguments = shlex.split(facts["commands"]["retrain"])
    assert {"trainer.optimizer=adamw", "trainer.warmup_epochs=1", "trainer.mixup=0.2"} <= {*arguments}
    assert not any(key.startswith(("trainer.momentum", "trainer.nesterov", "trainer.cutmix")) for key in arguments)
    assert "optimizer adamw, warmup epochs 1, mixup 0.2" in (tmp_path / "won" / "MODEL_CARD.md").read_text()
    space = importlib.import_module("my_transformers").Transformers()
    network = space.build(space.from_text(retrained["text"]), Digits().task)
    network.load_state_dict(load_file(tmp_path / "won" / "model.safetensors"))
    assert evaluate(network, Digits().read_test(), Recipe(epochs=1))[0] == retrained["metrics"]["test_accuracy"]
    # a training that is stored is not repeated
    assert not json.loads(run(*retrain))["new"]


def test_the_largest_has_a_million_parameters(run):
    run("describe", "space=vit", "data=digits", "arch=depth=5;heads=4;attention=module")
    space = importlib.import_module("my_transformers").Transformers()
    with torch.device("meta"):
        network = space.build(space.from_text("depth=5;heads=4;attention=module"), Digits().task)
    # 5 blocks of 12 w^2 + 13 w, patches of 4 pixels, 17 positions and the token, the last normalisation and the head
    assert count.parameters(network) == 5 * (12 * 128**2 + 13 * 128) + 5 * 128 + 18 * 128 + 2 * 128 + 10 * 129
