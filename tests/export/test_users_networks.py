"""`nas export` of networks that cannot be exported, or not in every form: a sentence with the line, and no files."""

import json

import pytest
from written import without_processes

SPACE = """
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import nn

from nas import SearchSpace


class Network(nn.Module):
    def __init__(self, kind, task):
        super().__init__()
        self.kind = kind
        self.features = nn.Conv2d(task.channels, 4, 3, padding=1)
        self.classifier = nn.Linear(4, 7 if kind == "few" else task.classes)

    def forward(self, x):
        x = self.features(x)
        if self.kind == "called_wrongly":
            x = F.conv2d(x, None, 3)
        if self.kind == "squeezed":
            return self.classifier(F.adaptive_avg_pool2d(x, 1).squeeze())
        if self.kind == "beside":
            x = x - x.mean(0)
        if self.kind == "scaled":
            x = x * float(x.mean())
        if self.kind == "random":
            x = F.dropout(x, 0.5, training=True)
        if self.kind == "remembers":
            self.calls = getattr(self, "calls", 0) + 1
            x = x * self.calls
        if self.kind == "decided" and x.mean() > 1000:
            x = -x
        if self.kind == "larger":
            x = F.max_pool2d(F.max_pool2d(x, 3), 3)
        if self.kind == "not_a_number":
            x = x * float("nan")
        pooled = x.mean((2, 3))
        if self.kind == "special":
            pooled = torch.special.bessel_j0(pooled)
        logits = self.classifier(pooled)
        return (pooled, logits) if self.kind == "features" else logits


class MySpace(SearchSpace):
    choices = MappingProxyType({"kind": (
        "plain", "squeezed", "beside", "scaled", "random", "remembers",
        "decided", "larger", "not_a_number", "special", "few", "features", "called_wrongly")})

    def build(self, architecture, task, network=None):
        (kind,) = self.options(architecture)
        return Network(kind, task)
"""
BESIDE_LINE = SPACE.splitlines().index("            x = x - x.mean(0)") + 1
SCALED_LINE = SPACE.splitlines().index("            x = x * float(x.mean())") + 1
RANDOM_LINE = SPACE.splitlines().index("            x = F.dropout(x, 0.5, training=True)") + 1
DECISION_LINE = SPACE.splitlines().index('        if self.kind == "decided" and x.mean() > 1000:') + 1
SPECIAL_LINE = SPACE.splitlines().index("            pooled = torch.special.bessel_j0(pooled)") + 1
WRONG_CALL_LINE = SPACE.splitlines().index("            x = F.conv2d(x, None, 3)") + 1
LARGER_LINE = SPACE.splitlines().index("            x = F.max_pool2d(F.max_pool2d(x, 3), 3)") + 1


@pytest.fixture
def export(nas, tmp_path):
    (tmp_path / "my_space.py").write_text(SPACE)
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "mine.yaml").write_text("_target_: my_space.MySpace\n")

    def run(kind, *arguments):
        return nas("--config-dir", "conf", "export", "space=mine", "data=digits", f"arch=kind={kind}", "images=20",
                   "out=won", *arguments)  # fmt: skip

    with without_processes():
        yield run


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("squeezed", "in evaluation a batch of 1 gives shape (10,), expected logits of shape (1, classes)"),
        ("features", "in evaluation a batch of 1 gives a tuple, expected logits of shape (1, classes)"),
        ("few", "it gives 7 logits per image, expected 10"),
        ("beside", f"with the other images of its batch (my_space.py:{BESIDE_LINE}); format=[genotype] works"),
        ("scaled", f"with the other images of its batch (my_space.py:{SCALED_LINE}); format=[genotype] works"),
        ("random", f"draws random numbers in evaluation (my_space.py:{RANDOM_LINE}); format=[genotype] works"),
        ("remembers", "from one call to the next; forward must not store state that affects later calls;"),
        ("larger", f"my_space.py:{LARGER_LINE}, in forward"),
        ("called_wrongly", f"got (Tensor, NoneType, int) (my_space.py:{WRONG_CALL_LINE}, in forward)); format"),
        ("not_a_number", "some of its logits are NaN or infinite"),
    ],
)
def test_a_network_that_is_wrong_is_refused_before_anything_is_written(export, tmp_path, kind, reason):
    done = export(kind, "format=[onnx,python,state]")
    assert done.returncode == 1
    assert done.stderr.startswith("nas: Network cannot be exported: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "won").exists()


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("onnx", "torch.export does not support Network: its forward branches on the value of a tensor"),
        ("python", "Network cannot be written as source: its forward branches on the value of a tensor"),
    ],
)
def test_a_form_that_cannot_be_written_names_the_line_and_the_forms_that_can(export, tmp_path, form, reason):
    done = export("decided", f"format=[{form},genotype]")
    assert done.returncode == 1
    assert done.stderr == (
        f"nas: format={form}: {reason} (my_space.py:{DECISION_LINE}); nothing was written; "
        "format=[genotype,state] works\n"
    )
    assert not (tmp_path / "won").exists()


def test_an_operation_that_onnx_lacks_is_named(export):
    done = export("special", "format=onnx")
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"nas: format=onnx: prims.bessel_j0 cannot be expressed in ONNX (my_space.py:{SPECIAL_LINE}); "
    )
    assert done.stderr.endswith("nothing was written; format=[genotype,python,state,torch_export] works\n")
    assert done.stderr.count("\n") == 1


def test_a_picture_that_cannot_be_drawn_does_not_stop_the_export(export, tmp_path, monkeypatch):
    def broken(_stages):
        raise RuntimeError("no font")

    monkeypatch.setattr("nas.export.assembly.network_figure", broken)
    done = export("plain", "format=state")
    assert done.returncode == 0, done.stderr
    assert "nas: warning: no picture network.png: it cannot be drawn (RuntimeError: no font" in done.stderr
    assert sorted(path.name for path in (tmp_path / "won").iterdir()) == [
        "MODEL_CARD.md",
        "model.json",
        "model.safetensors",
    ]
    card = (tmp_path / "won" / "MODEL_CARD.md").read_text()
    assert "network.png" not in card
    assert "| search space | mine |" in card  # the space has no settings
    assert set(json.loads((tmp_path / "won" / "model.json").read_text())["formats"]) == {"state"}
