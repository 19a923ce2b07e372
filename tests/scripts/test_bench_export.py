"""The benchmark of exports runs where an optional package is missing, and says what it leaves out."""

import importlib.util
import runpy
import subprocess
import sys

import pytest
from conftest import ROOT

FOLDER = ROOT / "scripts" / "bench"


@pytest.mark.parametrize("installed", [True, False])
def test_onnx_is_left_out_where_it_is_not_installed(monkeypatch, capsys, installed):
    commands = []
    there, found = importlib.util.find_spec, "json" if installed else "none"
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there(found if name.startswith("onnx") else name))
    monkeypatch.setattr(subprocess, "run", lambda words, **_: commands.append(words))
    runpy.run_path(str(FOLDER / "export.py"), run_name="__main__")
    sys.modules.pop("rows", None)
    formats = {word for words in commands for word in words if word.startswith("format=")}
    onnx = "onnx," if installed else ""
    assert formats == {f"format=[genotype,python,{onnx}torch_export,state]"}
    assert ("all forms but onnx (onnx is not installed)" in capsys.readouterr().out) is not installed
