"""Each module of `torch.nn` is written as Python, and in the other forms or refused with a sentence."""

import pytest
import torch
from torch import nn
from torch_modules import MODULES, NOT_OF_IMAGES, RANDOM_MODULES, network
from written import exported, same, same_as_source

from nas import UserError

SAMPLE = ["Sigmoid", "Unflatten", "LSTM", "GRU", "RNN", "MultiheadAttention", "TransformerEncoderLayer", "LazyConv2d",
          "BatchNorm2d", "LayerNorm", "Sequential", "GLU"]  # fmt: skip
QUICK_CASES = {
    ("LSTM", "onnx"), ("LSTM with projections", "onnx"), ("TransformerEncoderLayer", "torch_export"),
}  # fmt: skip
"""Cases that are not slow; a vision transformer has attention in ONNX (`test_torchvision.py`)."""
FIXED_BATCH_ERROR = (
    r"torch.export does not support Wrapper: its forward works only for one number of images \(torch_modules.py:\d+\)$"
)
REFUSALS = {
    "onnx": {
        "RReLU": r"aten.rrelu_with_noise_functional cannot be expressed in ONNX \(torch_modules.py:\d+\)",
        "AdaptiveAvgPool3d": r"aten._adaptive_avg_pool3d cannot be expressed in ONNX \(torch_modules.py:\d+\)",
        "AdaptiveMaxPool1d": r"aten.adaptive_max_pool2d cannot be expressed in ONNX \(torch_modules.py:\d+\)",
        "AdaptiveMaxPool2d": r"aten.adaptive_max_pool2d cannot be expressed in ONNX \(torch_modules.py:\d+\)",
        "AdaptiveMaxPool3d": r"aten.adaptive_max_pool3d cannot be expressed in ONNX \(torch_modules.py:\d+\)",
        "CrossMapLRN2d": FIXED_BATCH_ERROR,
        "LSTM with projections": r"an LSTM with proj_size=3 cannot be expressed in ONNX \(torch_modules.py:\d+\)$",
    },
    "torch_export": {"CrossMapLRN2d": FIXED_BATCH_ERROR},
}  # fmt: skip
"""Form -> module that has no such form -> message."""


def test_every_module_of_torch_is_tested():
    every = {
        name for name, kind in vars(nn).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module) and not name.endswith("Loss")
    }  # fmt: skip
    assert every - {*MODULES} - NOT_OF_IMAGES == set()


@pytest.mark.parametrize(
    "name", [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.slow) for name in MODULES]
)
def test_it_is_written_as_python(name):
    built, shape = network(name)
    if name in RANDOM_MODULES:
        with pytest.raises(UserError, match=r"draws random numbers \(torch_modules.py:\d+\)$"):
            same_as_source(built, shape)
        return
    same_as_source(built, shape)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param(name, form, marks=() if (name, form) in QUICK_CASES else pytest.mark.slow)
        for name in MODULES
        if name not in RANDOM_MODULES
        for form in ("onnx", "torch_export")
    ],
)
def test_it_is_exported_in_the_other_forms(name, form, tmp_path):
    built, shape = network(name)
    batches = [torch.randn(number, *shape) for number in (1, 2, 16)]
    with torch.no_grad():
        expected = [built(images) for images in batches]
    if name in REFUSALS[form]:
        with pytest.raises(UserError, match=REFUSALS[form][name]) as error:
            exported(built, form, batches, tmp_path)
        assert "\n" not in str(error.value)
        return
    for logits, wanted in zip(exported(built, form, batches, tmp_path), expected, strict=True):
        same(logits, wanted, 1e-3)
