"""Channels-last where a network can take it, contiguous where it cannot, and no crash without AVX-512."""

import copy
import os
import re
import subprocess
import sys
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.core import Task
from nas.data.images import Images
from nas.training import count, memory_format
from nas.training.check import check_network
from nas.training.fit import evaluate, fit
from nas.training.memory_format import contiguous, is_defective, settle, to_channels_last
from nas.training.recipe import Recipe

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=1, batch_size=8, lr=0.01, crop=0.0, threads=1)


@pytest.fixture(autouse=True)
def _told_anew():
    memory_format.warn_once.cache_clear()


def images(channels, count=16, side=8):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, channels, side, side), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.arange(count) % 10, (0.5,) * channels, (0.25,) * channels, mirror=False)


def silent(metrics):
    pass


class Viewing(nn.Module):
    """`view` in place of `flatten` after a convolution: an error in channels-last."""

    def __init__(self, channels, side=8):
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, 4, 3, padding=1), nn.Linear(4 * side * side, 10)

    def forward(self, x):
        x = self.conv(x)
        return self.head(x.view(x.size(0), -1))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_that_needs_contiguous_images_is_given_them_with_one_warning(channels):
    data = images(channels)
    torch.manual_seed(0)
    network = Viewing(channels)
    other = copy.deepcopy(network)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_network(network, data, Task(channels, 8, 8, 10), RECIPE)
        metrics = fit(network, data, data, RECIPE, seed=0, report=silent)
        assert evaluate(network, data, RECIPE) == (metrics["valid_accuracy"], metrics["valid_loss"])
        evaluate(copy.deepcopy(network), data, RECIPE)  # a network that is not known yet, as after a checkpoint
    (sentence,) = [str(each.message) for each in caught]
    assert re.search(r"channels-last.*view size is not compatible.*trainer.channels_last=false", sentence)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = Recipe(**{**vars(RECIPE), "channels_last": False})
        assert fit(other, data, data, plain, seed=0, report=silent) == metrics


def test_a_network_that_runs_in_neither_format_is_left_to_the_training():
    class Failing(nn.Module):
        def forward(self, x):
            raise ValueError("mine")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert settle(Failing(), (3, 8, 8), CPU, channels_last=True)
        assert not settle(Failing(), (3, 8, 8), CPU, channels_last=False)


def test_one_channel_gets_contiguous_strides():
    nhwc = torch.arange(2 * 3 * 5, dtype=torch.float32).reshape(2, 3, 5, 1).permute(0, 3, 1, 2)
    assert nhwc.contiguous().stride() == (15, 1, 5, 1)  # what torch calls contiguous
    assert contiguous(nhwc).stride() == (15, 15, 5, 1)
    assert torch.equal(contiguous(nhwc), nhwc)
    assert contiguous(contiguous(nhwc)).data_ptr() != nhwc.data_ptr()
    standard = torch.zeros(2, 3, 4, 4)
    assert contiguous(standard) is standard


def test_only_4d_parameters_are_converted():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 10)
            self.gain = nn.Parameter(torch.ones(1, 1, 4, 1, 1))

        def forward(self, x):
            return self.head((self.conv(x)[:, None] * self.gain)[:, 0].mean((2, 3)))

    network = Mixed()
    fit(network, images(3), None, RECIPE, seed=0, report=silent)
    assert network.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert not network.conv.weight.is_contiguous()
    assert network.gain.is_contiguous()


def test_deciding_changes_nothing():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 10))
    network[1].eval()
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    assert settle(network, (3, 8, 8), CPU, channels_last=True)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    assert [module.training for module in network.modules()] == [True, True, False, True, True, True]
    assert torch.equal(torch.get_rng_state(), state)


# --- oneDNN without AVX-512 ----------------------------------------------------------------------------------------


class ResNet(nn.Module):
    """Two residual blocks, the second with a strided 1x1 shortcut of few channels."""

    def __init__(self, channels, width, shortcut="module"):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in (width, 2 * width))
        self.conv = nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False)
        self.shortcut = nn.Conv2d(width, 2 * width, 1, 2, bias=False)
        self.kind, self.head = shortcut, nn.Linear(2 * width, 10)

    def forward(self, x):
        x = self.norms[0](self.stem(x)).relu()
        aside = self.shortcut(x) if self.kind == "module" else F.conv2d(x, self.shortcut.weight, stride=2)
        return self.head(self.norms[1](self.conv(x) + aside).relu().mean((2, 3)))


def test_strides_are_sliced_where_the_kernel_is_defective(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert is_defective()
    network, plain = ResNet(3, 4).double(), ResNet(3, 4).double()
    plain.load_state_dict(network.state_dict())
    to_channels_last(network, CPU)
    assert list(network.state_dict()) == list(plain.state_dict())
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    for one in (network, copy.deepcopy(network)):
        assert torch.allclose(one(x), plain(x), atol=1e-12)
    copied = copy.deepcopy(network)
    assert copied.shortcut._conv_forward.__self__ is copied.shortcut
    assert count.flops(network.float(), Task(3, 8, 8, 10)) == count.flops(plain.float(), Task(3, 8, 8, 10))


def test_a_functional_convolution_that_would_overrun_takes_the_contiguous_format(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.warns(UserWarning, match="strided 1x1 convolution of 4 channels needs AVX-512"):
        assert not settle(ResNet(3, 4, "functional"), (3, 8, 8), CPU, channels_last=True)
    assert settle(ResNet(3, 8, "functional"), (3, 8, 8), CPU, channels_last=True)


@pytest.mark.parametrize(
    ("limit", "expected"), [("SSE41", True), ("avx2_vnni", True), ("AVX512_CORE", False), ("ALL", False)]
)
def test_the_instruction_set_decides(monkeypatch, limit, expected):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(memory_format.platform, "machine", lambda: "x86_64")
    assert is_defective() == expected
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert is_defective()
    monkeypatch.setattr(memory_format.platform, "machine", lambda: "aarch64")
    assert not is_defective()


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from test_memory_format import RECIPE, ResNet, images, silent
from nas.core import Task
from nas.training import count
from nas.training.check import check_network
from nas.training.fit import evaluate, fit
import torch, warnings

warnings.simplefilter("ignore")
for channels, width, side, kind in (
    [(3, width, 8, "module") for width in (1, 4, 7, 8)]
    + [(1, 4, 8, "module"), (3, 4, 32, "module"), (3, 4, 8, "functional")]
):
    torch.manual_seed(0)
    network, data = ResNet(channels, width, kind), images(channels, side=side)
    check_network(network, data, Task(channels, side, side, 10), RECIPE)
    count.flops(network, Task(channels, side, side, 10))
    for _ in range(2):
        fit(network, data, data, RECIPE, seed=0, report=silent)
    evaluate(network, data, RECIPE)
first = torch.nn.Sequential(torch.nn.Conv2d(1, 16, 1, 2), torch.nn.Flatten(), torch.nn.Linear(256, 10))
for _ in range(3):
    fit(first, images(1), images(1), RECIPE, seed=0, report=silent)
print("trained")
"""


def test_a_resnet_with_a_narrow_shortcut_trains_without_avx512(tmp_path):
    """It used to corrupt memory: killed by a signal, or hanging."""
    here = os.path.dirname(__file__)  # noqa: PTH120
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    arguments = [sys.executable, "-c", PROGRAM.format(tests=here)]
    result = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (result.returncode, result.stdout) == (0, "trained\n"), result.stderr[-2000:]


class Standardised(nn.Module):
    """Weight standardisation with `view`: an error with channels-last weights, with any images."""

    def __init__(self, channels=1):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, channels, 3, 3))
        self.conv, self.head = nn.Conv2d(4, 4, 3), nn.Linear(4, 10)

    def forward(self, x):
        flat = self.conv.weight.view(4, -1)
        weight = ((flat - flat.mean(1, True)) / flat.std(1, keepdim=True)).view_as(self.conv.weight)
        return self.head(F.conv2d(F.conv2d(x, self.weight), weight).mean((2, 3)))


class Paired(nn.Module):
    """A complex weight as a real one of four dimensions, whose last must lie together."""

    def __init__(self, channels=1):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(channels, 8, 5, 2))
        self.head = nn.Linear(channels * 64, 10)

    def forward(self, x):
        return self.head(torch.fft.irfft2(torch.fft.rfft2(x) * torch.view_as_complex(self.filter)).flatten(1))


@pytest.mark.parametrize("kind", [Standardised, Paired])
def test_a_network_that_views_its_own_weights_falls_back_in_each_instance(kind):
    data = images(2)
    settings = {**vars(RECIPE), "channels_last": False}
    torch.manual_seed(0)
    network, fresh = kind(2), kind(2)
    with pytest.warns(UserWarning, match=r"does not run in channels-last memory format \((view|.*stride 1)"):
        check_network(network, data, Task(2, 8, 8, 10), RECIPE)
    plain = copy.deepcopy(fresh)
    metrics = fit(fresh, data, data, RECIPE, seed=0, report=silent)  # never checked, as in a retraining
    assert all(value.is_contiguous() for value in fresh.parameters())
    assert fit(plain, data, data, Recipe(**settings), seed=0, report=silent) == metrics
