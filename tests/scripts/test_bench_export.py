"""The benchmark of exports runs without optional packages, and reports what it leaves out."""

import importlib.util
import runpy
import subprocess
import sys

import pytest
from conftest import ROOT

FOLDER = ROOT / "scripts" / "bench"


@pytest.mark.parametrize("installed", [True, False])
def test_onnx_is_left_out_if_it_is_not_installed(monkeypatch, capsys, installed):
    commands = []
    find_spec, package = importlib.util.find_spec, "json" if installed else "none"
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: find_spec(package if name.startswith("onnx") else name)
    )
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    runpy.run_path(str(FOLDER / "export.py"), run_name="__main__")
    sys.modules.pop("rows", None)
    formats = {argument for command in commands for argument in command if argument.startswith("format=")}
    onnx = "onnx," if installed else ""
    assert formats == {f"format=[genotype,python,{onnx}torch_export,state]"}
    assert ("all forms but onnx (onnx is not installed)" in capsys.readouterr().out) is not installed
