"""FLOPs (multiply-accumulates) against numbers worked out by hand, and against torchvision's own."""

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nas.core import Task
from nas.training import count

IMAGE = Task(3, 8, 8, 10)
STEM, HEAD, TOKENS, WIDTH = 64 * 3 * 16, 16 * 10, 64, 16
ATTENTION = 4 * TOKENS * WIDTH * WIDTH + 2 * TOKENS * TOKENS * WIDTH  # four projections, two products


class Mixing(nn.Module):
    """A 1x1 convolution to 16 channels, what mixes its 64 positions, their mean, and a classifier."""

    def __init__(self, mix):
        super().__init__()
        self.stem, self.mix, self.head = nn.Conv2d(3, 16, 1), mix, nn.LazyLinear(10)

    def forward(self, x):
        return self.head(self.mix(self.stem(x).flatten(2).transpose(1, 2)).mean(1))


class Attention(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.inputs, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (4, 4)).transpose(1, 2) for part in self.inputs(x).chunk(3, -1))
        if self.kind == "written out":
            mixed = torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v
        elif self.kind == "einsum":
            mixed = torch.einsum("bhqk,bhkd->bhqd", torch.einsum("bhqd,bhkd->bhqk", q, k).softmax(-1), v)
        elif self.kind == "causal":
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        elif self.kind == "flash":
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # the network's own choice comes after the counter's
                mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))


class MultiHead(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(16, 4, batch_first=True), weights

    def forward(self, x):
        return self.attention(x, x, x, need_weights=self.weights)[0]


class Recurrent(nn.Module):
    def __init__(self, kind, packed=False, **settings):
        super().__init__()
        self.layer, self.packed = kind(16, 4, **settings), packed

    def forward(self, x):
        batch, first = len(x), self.layer.batch_first
        x = x if first else x.transpose(0, 1)
        if not self.packed:
            found = self.layer(x)[0]
            return found if first else found.transpose(0, 1)
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.full((batch,), 40), batch_first=first)
        return nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0]


class Calls(nn.Module):
    """A network of one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("kind", ["written out", "einsum", "scaled_dot_product_attention", "causal", "flash"])
def test_attention_counts_the_same_however_it_is_written(kind):
    assert count.flops(Mixing(Attention(kind)), IMAGE) == STEM + ATTENTION + HEAD == 199_840


@pytest.mark.parametrize("weights", [True, False])
def test_multi_head_attention_counts_as_written_out(weights):
    assert count.flops(Mixing(MultiHead(weights)), IMAGE) == 199_840


def test_a_transformer_encoder_counts_attention_and_both_linear_layers():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    assert count.flops(Mixing(nn.TransformerEncoder(layer, 2)), IMAGE) == (
        STEM + 2 * (ATTENTION + 2 * TOKENS * 16 * 32) + HEAD
    )
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_lstm_counts_its_cells():
    layer = nn.LSTM(16, 4, batch_first=True)

    def lstm(x):
        return layer(x.flatten(2).transpose(1, 2))[0]

    network = nn.Sequential(Calls(lstm), Calls(lambda x: x.mean(1)), nn.Linear(4, 10))
    assert count.flops(network, Task(16, 8, 8, 10)) == 64 * 4 * 4 * (16 + 4) + 40
    wide = nn.Sequential(Calls(lambda x: lstm(x).repeat(1, 1, 4).mean(1)), nn.Linear(16, 10))
    assert count.flops(wide, Task(16, 8, 8, 10)) == 20_640


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *((kind, {}) for kind in (nn.LSTM, nn.GRU, nn.RNN)),
        *((kind, {"batch_first": True, "bidirectional": True, "num_layers": 2}) for kind in (nn.LSTM, nn.GRU, nn.RNN)),
        (nn.LSTM, {"proj_size": 3}),
    ],
    ids=str,
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_recurrent_layer_applies_each_of_its_matrices_once_a_step(kind, settings, packed):
    layer = Recurrent(kind, packed, **settings)
    inner = 3 if "proj_size" in settings else 4
    directions = 2 if "bidirectional" in settings else 1
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[kind]
    inputs = [16, directions * inner][: settings.get("num_layers", 1)]
    cells = sum(directions * gates * 4 * (width + inner) for width in inputs) + (4 * 3 if inner == 3 else 0)
    steps = 40 if packed else 64
    assert count.flops(Mixing(layer), IMAGE) == STEM + steps * cells + 10 * directions * inner


CONVOLUTIONS = {
    "grouped": (nn.Conv2d(16, 32, 3, padding=1, groups=4, bias=False), 64 * 32 * 4 * 9),
    "depthwise": (nn.Conv2d(16, 16, 3, padding=1, groups=16), 64 * 16 * 9),
    "dilated": (nn.Conv2d(16, 8, 3, dilation=2), 16 * 8 * 16 * 9),
    "strided": (nn.Conv2d(16, 8, 3, stride=2, padding=1), 16 * 8 * 16 * 9),
    "transposed": (nn.ConvTranspose2d(16, 8, 2, stride=2), 64 * 16 * 8 * 4),
    "1-d": (nn.Sequential(nn.Flatten(2), nn.Conv1d(16, 8, 3)), 62 * 8 * 16 * 3),
    "3-d": (nn.Sequential(nn.Unflatten(1, (4, 4)), nn.Conv3d(4, 8, 3)), 2 * 6 * 6 * 8 * 4 * 27),
    "without a batch": (Calls(lambda x: F.conv2d(x[0], torch.zeros(8, 16, 3, 3))), 36 * 8 * 16 * 9),
}
PRODUCTS = {
    "einsum": (lambda x: torch.einsum("bchw,dc->bdhw", x, torch.zeros(3, 16)), 64 * 16 * 3),
    "bmm": (lambda x: x.flatten(2) @ x.flatten(2).mT, 16 * 16 * 64),
    "matrix and vector": (lambda x: torch.zeros(3, 1024) @ x.flatten(), 3 * 1024),
    "dot": (lambda x: x.flatten() @ x.flatten(), 1024),
    "in place": (lambda x: torch.zeros(16, 16).addmm_(x[0, :, 0], x[0, :, 1].mT), 16 * 8 * 16),
    "out": (lambda x: torch.mm(x[0, 0], x[0, 1], out=torch.empty(8, 8)), 8 * 8 * 8),
    "bilinear": (lambda x: F.bilinear(x[:, :, 0, 0], x[:, :, 1, 0], torch.zeros(5, 16, 16)), 5 * 16 * 16),
    "distances": (lambda x: torch.cdist(x.flatten(2), x.flatten(2)), 16 * 16 * 64),
    "complex": (lambda x: x[0, 0].to(torch.complex64) @ x[0, 1].to(torch.complex64), 4 * 8 * 8 * 8),
    "normalisation and pooling": (lambda x: F.avg_pool2d(F.group_norm(F.normalize(x), 4), 2), 0),
    "interpolation": (lambda x: F.grid_sample(F.interpolate(x, scale_factor=2.0), torch.zeros(1, 4, 4, 2)), 0),
    "elementwise": (lambda x: (F.silu(x) * x.sigmoid_()).cumsum(1).cummax(1)[0].clone().ge_(0), 0),
}


@pytest.mark.parametrize(("network", "expected"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions(network, expected):
    assert count.work(network, Task(16, 8, 8, 10)) == count.Work(expected)


@pytest.mark.parametrize(("function", "expected"), PRODUCTS.values(), ids=PRODUCTS)
def test_products_and_what_is_not_one(function, expected):
    assert count.work(Calls(function), Task(16, 8, 8, 10)) == count.Work(expected)


@torch.library.custom_op("cellnas_tests::matched", mutates_args=())
def matched(x: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
    return x @ pattern


UNCOUNTED_OPERATIONS = {
    "fft": (lambda x: torch.fft.irfft2(torch.fft.rfft2(x)), {"aten._fft_r2c": 1, "aten._fft_c2r": 1}),
    "linear algebra": (lambda x: torch.linalg.inv(x + torch.eye(8)), {"aten.linalg_inv_ex": 1}),
    "weighted bag": (
        lambda x: F.embedding_bag(
            torch.zeros(1, 3, dtype=torch.long), torch.zeros(4, 5), per_sample_weights=torch.ones(1, 3), mode="sum"
        ),
        {"aten._embedding_bag_forward_only": 1},
    ),
    "torchvision's": (
        lambda x: torchvision.ops.deform_conv2d(x, torch.zeros(1, 18, 6, 6), torch.zeros(8, 16, 3, 3)),
        {"torchvision.deform_conv2d": 1},
    ),
    "a user's own": (lambda x: matched(x, torch.zeros(8, 8)), {"cellnas_tests.matched": 1}),
}


@pytest.mark.parametrize(("function", "names"), UNCOUNTED_OPERATIONS.values(), ids=UNCOUNTED_OPERATIONS)
def test_what_has_no_formula_is_listed(function, names):
    found = count.architecture(Calls(function), Task(16, 8, 8, 10))
    assert found == {"parameters": 0, "flops": 0, **{f"uncounted:{name}": calls for name, calls in names.items()}}


def test_a_compiled_or_scripted_network_counts_as_the_plain_one():
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    expected = 36 * 8 * 27 + 2880
    assert count.flops(plain, IMAGE) == expected
    assert count.flops(torch.jit.trace(plain, torch.zeros(1, 3, 8, 8)), IMAGE) == expected
    assert count.flops(torch.compile(plain), IMAGE) == expected


class Busy(nn.Module):
    """Draws, counts its calls and moves its statistics in every forward, in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.frozen, self.norm = nn.BatchNorm2d(3).eval(), nn.BatchNorm2d(3)
        self.plain, self.calls = torch.zeros(3), 0
        self.register_buffer("moving", torch.zeros(3), persistent=False)
        self.register_buffer("replaced", torch.zeros(3))

    def forward(self, x):
        self.calls += 1
        self.norm.train()
        x = self.norm(self.frozen(x + torch.rand(()) + random.random() + np.random.rand()))
        self.plain += 1
        self.moving.add_(1)
        self.replaced = self.replaced + 1
        self.cache = x
        return x


def test_counting_changes_nothing():
    network = Busy().to(memory_format=torch.channels_last)
    before = copy.deepcopy(vars(network)), copy.deepcopy(network.state_dict()), [m.training for m in network.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    strides = [p.stride() for p in network.parameters()]
    count.architecture(network, IMAGE)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1], states[2]) == (random.getstate(), np.random.get_state()[1].tolist())
    assert [m.training for m in network.modules()] == before[2]
    assert (network.calls, network.plain.sum(), network.moving.sum(), hasattr(network, "cache")) == (0, 0, 0, False)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before[1].items())
    assert network.norm.num_batches_tracked == 0
    assert [p.stride() for p in network.parameters()] == strides
    assert set(vars(network)) == set(before[0])


def test_lazy_modules_are_counted_like_the_others():
    lazy = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(10))
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 10))
    assert count.architecture(lazy, IMAGE) == count.architecture(plain, IMAGE)
    assert lazy.training
    assert torch.equal(lazy[1].running_var, torch.ones(8))


def size(name, weights):
    crop = weights.transforms().crop_size[0]
    settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    settings |= {"image_size": crop} if name.startswith("vit") else {}
    with torch.device("meta"):
        network = torchvision.models.get_model(name, **settings)
    return count.work(network, Task(3, crop, crop, 1000)), weights.meta["_ops"]


@pytest.fixture
def regnets(monkeypatch):
    """Their widths are computed with tensors, which the meta device has no values of."""
    parameters = torchvision.models.regnet.BlockParams
    original = parameters.from_init_params

    def on_cpu(*args, **settings):
        with torch.device("cpu"):
            return original(*args, **settings)

    monkeypatch.setattr(parameters, "from_init_params", on_cpu)


def check(name, most=None):
    for weights in list(torchvision.models.get_model_weights(name))[:most]:
        found, expected = size(name, weights)
        assert found.uncounted == {}
        assert found.flops / 1e9 == pytest.approx(expected, rel=0.01, abs=0.01), weights


SAMPLE = ["vit_b_16", "swin_t", "resnet18", "mobilenet_v3_small", "squeezenet1_0", "regnet_y_400mf"]


@pytest.mark.parametrize("name", SAMPLE)
def test_flops_equal_torchvisions(name, regnets):
    check(name, most=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_flops_equal_torchvisions_of_every_classifier(name, regnets):
    check(name)
