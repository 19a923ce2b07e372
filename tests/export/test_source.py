"""A network as source: it computes the same with torch only, and contains nothing that the network does not do.

`made` runs the source in a namespace of torch; `test_export.py` runs it in a process in which only torch is importable.
"""

import inspect

import pytest
import torch
import torch.nn.functional as F
from conftest import ARCH, ToySpace
from torch import nn
from written import HEAD, made

from nas import UserError
from nas.core import Task
from nas.export.source import source
from search_spaces.autoformer import AutoFormer
from search_spaces.darts import DARTS
from search_spaces.mobilenetv3 import MobileNetV3
from search_spaces.nasbench101 import NASBench101
from search_spaces.nasbench201 import NASBench201
from search_spaces.nasnet import NASNet
from search_spaces.nats_sss import NATSSize
from search_spaces.pictures import GOOD_CELL, Pictures

TASK = Task(3, 16, 16, 10)
CELLS = [
    (NASBench201(4, 2), ARCH),
    (NASBench201(4, 1), "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"),
    (DARTS(4, 3), "DARTS_V2"),
    (NASNet(4, 3), "NASNet-A"),
    (NASNet(4, 3), "AmoebaNet-A"),
    (NASBench101(5, 1), "NB101-best"),
    (NASBench101(7, 1), "conv3x3:0+conv1x1:01+output:012"),
    (NATSSize(), "8:16:8:8:24"),
    (MobileNetV3(width=0.1), "OFA-note8-31ms"),
    (AutoFormer(family="small", width=0.05), "AutoFormer-S"),
    (Pictures(), "method=baseline;rate=1.0"),
    (Pictures(), f"method=searched;rate=1.0;width=16;cell={GOOD_CELL}"),
    (Pictures(), "method=frozen;side=96"),
    (Pictures(), "method=finetuned;finetuned_side=96;tuned=half;rate=1.0"),
]


def network(space, text, task=TASK):
    torch.manual_seed(0)
    built = space.build(space.from_text(text), task)
    built(torch.randn(8, task.channels, task.height, task.width))  # so that statistics differ from their initial values
    return built.eval()


@pytest.mark.parametrize(("space", "text"), CELLS)
def test_it_computes_what_the_network_computes(space, text):
    built = network(space, text)
    written = source(built, torch.randn(2, 3, 16, 16))
    images = torch.randn(5, 3, 16, 16)
    assert torch.equal(made(written, built.state_dict())(images), built(images))
    assert all(len(line) <= 100 for line in written.text.splitlines())


def test_it_contains_only_what_the_cell_uses():
    """Node 1 is not used, so its convolution is absent; identities and `none` have no line."""
    built = network(
        NASBench201(4, 1), "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
    )
    text = source(built, torch.randn(2, 3, 16, 16)).text
    assert "edge_0_2_nor_conv_1x1" in text
    for absent in ("edge_0_1", "Identity", "none", "skip", "ConvBN3x3"):
        assert absent not in text
    assert "node_2 = self.edge_0_2_nor_conv_1x1(x)" in text
    assert "x + self.edge_2_3_avg_pool_3x3(node_2)" in text


def test_it_can_be_trained_like_any_network():
    built = network(NASBench201(4, 1), ARCH)
    written = source(built, torch.randn(2, 3, 16, 16))
    network_of_file = made(written, built.state_dict()).train()
    network_of_file(torch.randn(4, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in network_of_file.parameters())


def test_modules_that_differ_in_sizes_are_one_class():
    text = source(network(NASBench201(4, 2), ARCH), torch.randn(2, 3, 16, 16)).text
    assert text.count("class Cell") == 1
    assert "self.body_0 = Cell(4)" in text
    assert "self.body_6 = Cell(16)" in text


class Odd(nn.Module):
    """Sizes, loops, a parameter, tuples, indices and a module called twice."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((3, 1, 1), 0.5))
        self.mix = nn.Conv2d(3, 3, 3, padding=1)
        self.last = nn.Linear(27, 2)

    def forward(self, x):
        for _ in range(2):
            x = F.gelu(self.mix(x)) + x
        if x.shape[2] > 3:
            x = F.adaptive_avg_pool2d(x * self.scale, 3)
        first, rest = x.split([1, 2], dim=1)
        return self.last(torch.cat((rest, -first), 1).view(x.shape[0], -1)[:, :27])


def test_a_users_forward_is_written():
    built = Odd().eval()
    written = source(built, torch.randn(2, 3, 8, 8))
    images = torch.randn(7, 3, 8, 8)
    weights = built.state_dict()
    assert torch.equal(made(written, weights)(images), built(images))


def test_a_users_toy_space_is_written():
    task = Task(1, 8, 8, 10)
    built = ToySpace().build((0,) * 6, task).eval()
    written = source(built, torch.randn(2, 1, 8, 8))
    assert torch.allclose(made(written, built.state_dict())(torch.ones(3, 1, 8, 8)),
                          built(torch.ones(3, 1, 8, 8)))  # fmt: skip


class Deciding(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Standardised(nn.Conv2d):
    """A convolution with a forward of its own."""

    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias, self.stride, self.padding)


class OwnTensors(nn.Module):
    """A trained tensor, a fixed one, one of whole numbers, and one that is not in the state."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.noise = nn.Parameter(0.3 * torch.randn(64, 4))
        self.register_buffer("order", torch.tensor([3, 1, 2, 0]))
        self.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0, 0.5]), persistent=False)

    def forward(self, x):
        return (x.mean((2, 3)) * self.scale)[:, self.order] * self.mask + self.noise.mean(0)


def test_a_users_modules_have_their_forward_and_their_tensors():
    torch.manual_seed(0)
    built = nn.Sequential(Standardised(3, 4, 3, padding=1), OwnTensors()).eval()
    written = source(built, torch.randn(2, 3, 8, 8))
    images = torch.randn(5, 3, 8, 8)
    state = {**dict(built.named_buffers()), **built.state_dict()}
    assert torch.equal(made(written, state)(images), built(images))
    space = {}
    exec(compile(HEAD + written.text, "network", "exec"), space)
    fresh = space["Network"]().state_dict()
    assert fresh["1.order"].tolist() == [3, 1, 2, 0]
    assert fresh["1.mask"].tolist() == [1.0, 0.0, 1.0, 0.5]
    assert fresh["1.scale"].tolist() == [1.0] * 4
    assert 0.2 < float(fresh["1.noise"].std()) < 0.4


class Attends(nn.Module):
    """Attention whose second result is dropped, and infinity as a number."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.LayerNorm([4, 4])

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        network_of_file, _ = self.attention(x, x, x, need_weights=False)
        return self.norm(network_of_file.masked_fill(network_of_file > float("inf"), float("-inf")))


def test_torchs_own_modules_are_called_as_the_forward_calls_them():
    torch.manual_seed(0)
    built = nn.Sequential(nn.Conv2d(3, 4, 1), Attends()).eval()
    written = source(built, torch.randn(2, 3, 2, 2))
    images = torch.randn(5, 3, 2, 2)
    assert torch.allclose(made(written, built.state_dict())(images), built(images), atol=1e-6)


class Infinite(nn.Module):
    """Infinity and NaN in buffers, a constant, a parameter and arguments of torch's modules."""

    def __init__(self):
        super().__init__()
        self.register_buffer("causal", torch.full((4, 4), float("-inf")).triu(1))
        self.register_buffer("never", torch.full((4,), float("-inf")))
        self.register_buffer("unknown", torch.full((2,), float("nan")))
        self.wide = nn.Parameter(torch.cat([torch.randn(1500), torch.tensor([float("inf")])]))
        self.clip = nn.Hardtanh(float("-inf"), 2.0)

    def forward(self, x):
        x = self.clip(x.mean((2, 3)))
        scores = (x[:, :, None] @ x[:, None] + self.causal).softmax(2) @ x[:, :, None]
        x = torch.maximum(scores[:, :, 0], self.never) + self.wide[:1500].mean() + self.wide[1500:].reciprocal()
        return torch.minimum(x, torch.tensor([1.0, float("inf"), 2.0, 0.5])) + self.unknown.isnan().sum()


def test_infinity_and_nan_are_written():
    torch.manual_seed(0)
    built = Infinite().eval()
    written = source(built, torch.randn(2, 4, 3, 3))
    images = torch.randn(5, 4, 3, 3)
    assert torch.equal(made(written, built.state_dict())(images), built(images))
    space = {}
    exec(compile(HEAD + written.text, "network", "exec"), space)
    fresh = space["Network"]()
    for name in ("causal", "never", "unknown"):
        assert torch.equal(getattr(fresh, name).nan_to_num(7), getattr(built, name).nan_to_num(7))
    assert 0.9 < float(fresh.wide.detach().std()) < 1.1


class Network(nn.Module):
    """Of the same name as the class of every file."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x)


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Network()

    def forward(self, x):
        return self.inner(x.flatten(1))


def test_an_inner_class_called_network_gets_another_name():
    built = Outer().eval()
    images = torch.randn(3, 1, 2, 2)
    written = source(built, images)
    assert "class Network2(nn.Module)" in written.text
    assert torch.equal(made(written, built.state_dict())(images), built(images))


def test_a_module_that_occurs_twice_is_written_twice():
    torch.manual_seed(0)
    twice, other = nn.Conv2d(3, 3, 1), nn.ReLU()
    built = nn.Sequential(twice, other, twice, other, nn.Flatten()).eval()
    written = source(built, torch.randn(2, 3, 4, 4))
    images = torch.randn(5, 3, 4, 4)
    assert torch.equal(made(written, built.state_dict())(images), built(images))


class Converts(nn.Module):
    def forward(self, x):
        return x * float(x.mean())


def test_a_forward_that_reads_a_value_is_refused_with_its_line():
    with pytest.raises(UserError) as error:
        source(nn.Sequential(Converts()).eval(), torch.randn(2, 3, 4, 4))
    line = inspect.getsourcelines(Converts.forward)[1] + 1
    assert str(error.value) == (
        f"Sequential cannot be written as source: its forward branches on the value of a tensor (test_source.py:{line})"
    )


def test_a_forward_that_depends_on_values_is_refused():
    with pytest.raises(
        UserError, match="Deciding cannot be written as source: its forward branches on the value of a tensor"
    ):
        source(Deciding(), torch.randn(2, 3))


def test_tracing_does_not_change_modules():
    before = nn.Module.__call__
    with pytest.raises(UserError, match="Deciding cannot be written as source"):
        source(Deciding(), torch.randn(2, 3))
    source(network(NASBench201(4, 1), ARCH), torch.randn(2, 3, 16, 16))
    assert nn.Module.__call__ is before
