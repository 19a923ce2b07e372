"""The face of a package: its names for type checkers and those at run time are the same, and importing it is cheap."""

import ast
import importlib
import subprocess
import sys

import pytest
from conftest import ROOT

FACES = sorted(
    f"nas.{path.parent.name}" for path in (ROOT / "nas").glob("*/__init__.py") if "lazy_attributes" in path.read_text()
)


def declared(face):
    """Name -> module, as type checkers see it."""
    tree = ast.parse((ROOT / face.replace(".", "/") / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {alias.asname: node.module for node in block.body for alias in node.names}


@pytest.mark.parametrize("face", FACES)
def test_type_checkers_and_programs_see_the_same_names(face):
    package = importlib.import_module(face)
    for name, module in declared(face).items():
        assert getattr(package, name) is getattr(importlib.import_module(module), name)
    source = (ROOT / face.replace(".", "/") / "__init__.py").read_text()
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    (mapping,) = (ast.literal_eval(call.args[1]) for call in calls if len(call.args) == 2)
    assert {name for names in mapping.values() for name in names} == declared(face).keys()
    with pytest.raises(AttributeError, match=f"module '{face}' has no attribute 'Nothing'"):
        _ = package.Nothing


def test_no_face_imports_torch():
    program = f"import sys, {', '.join(FACES)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
