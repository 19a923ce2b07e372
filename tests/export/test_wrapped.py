"""Unusual networks: wrapped, compiled, with their own `forward`, `train` or `__call__`, or with shared weights."""

from collections import OrderedDict
from functools import lru_cache
from types import MethodType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from written import exported, made, same, same_as_source

from nas import UserError
from nas.core import Task
from nas.drawing.stages import stages
from nas.export import artifact_runner
from nas.export.check import original
from nas.export.failure import runtime_failure
from nas.export.model import loaded, unwrapped
from nas.export.source import source
from nas.export.tracer import owned
from nas.training.weight_files import save_weights

IMAGE = (3, 8, 8)
BATCHES = [torch.randn(number, *IMAGE) for number in (1, 2, 16)]


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.linear(self.conv(x).mean((2, 3)))


class Stars(Small):
    """Any number of arguments, here and in a child."""

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


WRAPPED_NETWORKS = {
    "compiled": lambda: torch.compile(Small(), backend="eager"),
    "data parallel": lambda: nn.DataParallel(Small()),
    "both": lambda: torch.compile(nn.DataParallel(Small()), backend="eager"),
    "stars": Stars,
}


@pytest.mark.parametrize("make", WRAPPED_NETWORKS.values(), ids=WRAPPED_NETWORKS.keys())
@pytest.mark.parametrize("form", ["python", "torch_export"])
def test_a_wrapped_network_is_exported(make, form, tmp_path):
    torch.manual_seed(0)
    network = make()
    network.eval()
    inner = unwrapped(network)
    if form == "python":
        same_as_source(inner, IMAGE)
        return
    with torch.no_grad():
        expected = [inner(images) for images in BATCHES]
    for logits, wanted in zip(exported(network, form, BATCHES, tmp_path), expected, strict=True):
        same(logits, wanted)


def test_a_train_that_returns_nothing_is_accepted(tmp_path):
    save_weights(tmp_path / "w.safetensors", Frozen().state_dict(), {"arch": "a"})
    network = loaded(Frozen(), tmp_path / "w.safetensors", "a")
    assert isinstance(network, Frozen)
    assert not network.training
    assert [stage.name for stage in stages(network, Task(*IMAGE, 5))] == ["images", "conv", "linear"]


class Replaced(Small):
    """The forward of a child is replaced, and the class's `__call__` doubles the result."""

    def __init__(self):
        super().__init__()
        self.conv.forward = MethodType(lambda conv, x: F.conv2d(x, conv.weight.abs(), conv.bias), self.conv)

    def __call__(self, x):
        return super().__call__(x) * 2


def test_a_replaced_forward_and_call_are_traced():
    torch.manual_seed(0)
    same_as_source(Replaced().eval(), IMAGE)


class Tied(nn.Module):
    """Children of different parents share a weight, and a normalisation."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.ModuleDict({"a": nn.Linear(3, 3)}) for _ in range(2))
        self.second["a"].weight = self.first["a"].weight
        norm = nn.BatchNorm1d(3)
        self.parts = nn.ModuleList(nn.Sequential(nn.Linear(3, 3), norm) for _ in range(2))

    def forward(self, x):
        x = self.second["a"](self.first["a"](x.mean((2, 3))))
        return self.parts[1](self.parts[0](x))


def test_shared_weights_are_shared_in_the_file():
    torch.manual_seed(0)
    built = Tied().eval()
    same_as_source(built, IMAGE)
    logits = made(source(built, torch.zeros(2, *IMAGE)), dict(owned(built)))
    assert len(list(logits.parameters())) == len(list(built.parameters())) == 9
    assert len({id(buffer) for buffer in logits.buffers()}) == 3


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_modules_of_torch_jit_are_reported(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(256, 5)))).eval()
    reason = "calls 1, which was made by torch.jit.script or torch.jit.trace"
    with pytest.raises(UserError, match=f"Sequential cannot be written as source: its forward {reason}"):
        source(network, torch.zeros(2, *IMAGE))
    with pytest.raises(UserError, match=f"torch.export does not support Sequential: its forward {reason}"):
        exported(network, "torch_export", BATCHES, tmp_path)
    with pytest.raises(
        UserError,
        match=r"cannot be drawn, since recursive script module was made by torch.jit.script, whose modules do not",
    ):
        stages(network, Task(*IMAGE, 5))
    assert not network[0]._forward_hooks


def test_a_module_named_by_a_keyword_is_reported(tmp_path):
    network = nn.Sequential(OrderedDict({"class": nn.Conv2d(3, 4, 1)})).eval()
    with pytest.raises(UserError) as error:
        exported(network, "torch_export", BATCHES, tmp_path)
    assert str(error.value) == (
        "torch.export does not support Sequential: class.weight contains the Python keyword 'class'; rename that "
        "module or tensor"
    )


@pytest.mark.parametrize(("dtype", "error_name"), [("DOUBLE", "NotImplemented"), ("BFLOAT16", "InvalidGraph")])
def test_an_operation_that_onnx_runtime_lacks_is_reported_with_its_type_and_line(dtype, error_name, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    errors = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    kind = getattr(onnx.TensorProto, dtype)
    inputs = [onnx.helper.make_tensor_value_info(name, kind, (1, 1, 3, 3)) for name in "xwy"]
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="node_conv")
    stack = f'File "/home/me/mine.py", line 7, in forward\n  File "{torch.__file__}", line 9, in forward'
    node.metadata_props.append(onnx.StringStringEntryProto(key="pkg.torch.onnx.stack_trace", value=stack))
    graph = onnx.helper.make_graph([node], "graph", inputs[:2], inputs[2:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(getattr(errors, error_name)) as error:
        onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    reason = f"ONNX Runtime does not implement Conv for {'float64' if dtype == 'DOUBLE' else 'bfloat16'} (mine.py:7)"
    assert runtime_failure(str(error.value), tmp_path / "model.onnx") == reason
    assert runtime_failure("another error", tmp_path / "model.onnx") == ""


class Subclass(torch.Tensor):
    pass


def test_logits_of_a_tensors_subclass_are_stored_as_tensors(tmp_path):
    _, run, write = artifact_runner.in_torch(lambda images: images.as_subclass(Subclass), torch.get_num_threads())
    write(tmp_path, [run(torch.ones(1, 2)), run(torch.zeros(2, 2))])
    assert torch.load(tmp_path / "logits.pt", weights_only=True).tolist() == [[1, 1], [0, 0], [0, 0]]


@lru_cache
def mask(size):
    return torch.ones(size, size).tril()


class Masked(Small):
    """Its mask is created by the first call."""

    def forward(self, x):
        return super().forward(x @ mask(x.shape[-1]))


def test_a_cached_tensor_does_not_prevent_the_export(tmp_path):
    network, images = Masked().eval(), torch.randn(5, *IMAGE)
    labels = SimpleNamespace(labels=torch.zeros(5))
    expected, _ = original(SimpleNamespace(network=network, task=Task(*IMAGE, 5), inputs=lambda: images, images=labels))
    (logits,) = exported(network, "torch_export", [images], tmp_path)
    same(logits, expected)
