"""The recipes of CONTRIBUTING.md are code that the repository accepts."""

import importlib
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from test_layers import ALLOWED, OUTERMOST, imports, layer, name

SECTIONS = (ROOT / "CONTRIBUTING.md").read_text().split("\n## ")[1:]
FILES = {
    "A space with a supernet": "search_spaces/mine.py",
    "A gradient strategy": "nas/strategies/mine.py",
}
"""Of recipes that name no file, since an earlier one does."""
FILLED_IN = "ARG001,F401,F821,F841,RUF059"
"""What is wrong with a recipe until its reader has written the bodies."""


def recipes():
    found = []
    for section in SECTIONS:
        title = section.splitlines()[0]
        for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
            path = FILES.get(title) or re.search(r"`((?:nas|search_spaces)/(?:\w+/)*mine\.py)`", section)[1]
            found.append(pytest.param(ROOT / path, code, id=title))
    return found


@pytest.mark.parametrize(("path", "code"), recipes())
def test_a_recipe_passes_format_and_lint(path, code):
    for command in (["format", "--diff"], ["check", "--ignore", FILLED_IN]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", path, "-"],
            input=code, cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("path", "code"), recipes())
def test_a_recipe_imports_what_exists_below_its_package(path, code, tmp_path):
    for module, names in re.findall(r"^ *from (\S+) import (.+)$", code, re.MULTILINE):
        for imported in names.split(", "):
            assert hasattr(importlib.import_module(module), imported.split(" as ")[0]), f"{module} has no {imported}"
    (tmp_path / path.name).write_text(code)
    here = layer(name(path))
    assert here in OUTERMOST or imports(tmp_path / path.name) <= ALLOWED[here] | {here}
