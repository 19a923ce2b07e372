"""Networks in the wrappers of `torch.compile` and `nn.DataParallel`, and with unusual `forward` and `train`."""

from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from written import exported, same, same_as_source

from nas.core import Task
from nas.drawing.stages import stages
from nas.export.check import original
from nas.export.model import loaded, unwrapped
from nas.training.weights import save_weights

IMAGE = (3, 8, 8)
BATCHES = [torch.randn(number, *IMAGE) for number in (1, 2, 16)]


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.linear(self.conv(x).mean((2, 3)))


class Stars(Small):
    """Any number of arguments here, and again within."""

    def __init__(self):
        super().__init__()
        self.pair = Pair()

    def forward(self, *args, **kwargs):
        assert not kwargs
        return super().forward(self.pair(args[0], *args, scale=args[0] + 1))


class Pair(nn.Module):
    def forward(self, x, *others, **more):
        return x + sum(others) * more["scale"]


class Frozen(Small):
    """`train` returns nothing, as is common where normalisations are frozen."""

    def train(self, mode=True):
        super().train(mode)
        self.conv.training = False


WRAPPED = {
    "compiled": lambda: torch.compile(Small(), backend="eager"),
    "data parallel": lambda: nn.DataParallel(Small()),
    "both": lambda: torch.compile(nn.DataParallel(Small()), backend="eager"),
    "stars": Stars,
}


@pytest.mark.parametrize("make", WRAPPED.values(), ids=WRAPPED.keys())
@pytest.mark.parametrize("form", ["python", "torch_export"])
def test_a_wrapped_network_leaves(make, form, tmp_path):
    torch.manual_seed(0)
    network = make()
    network.eval()
    inner = unwrapped(network)
    if form == "python":
        same_as_source(inner, IMAGE)
        return
    with torch.no_grad():
        expected = [inner(images) for images in BATCHES]
    for found, wanted in zip(exported(network, form, BATCHES, tmp_path), expected, strict=True):
        same(found, wanted)


def test_a_train_that_returns_nothing_keeps_no_network_from_anything(tmp_path):
    save_weights(tmp_path / "w.safetensors", Frozen().state_dict(), {"arch": "a"})
    network = loaded(Frozen(), tmp_path / "w.safetensors", "a")
    assert isinstance(network, Frozen)
    assert not network.training
    assert [stage.name for stage in stages(network, Task(*IMAGE, 5))] == ["images", "conv", "linear"]


@lru_cache
def mask(size):
    return torch.ones(size, size).tril()


class Masked(Small):
    """Its mask is made once, whoever calls it first."""

    def forward(self, x):
        return super().forward(x @ mask(x.shape[-1]))


def test_what_a_network_keeps_of_its_first_call_does_not_keep_it_from_leaving(tmp_path):
    network, images = Masked().eval(), torch.randn(5, *IMAGE)
    labels = SimpleNamespace(labels=torch.zeros(5))
    expected, _ = original(SimpleNamespace(network=network, task=Task(*IMAGE, 5), inputs=lambda: images, images=labels))
    (found,) = exported(network, "torch_export", [images], tmp_path)
    same(found, expected)
