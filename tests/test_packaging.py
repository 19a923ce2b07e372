"""The wheel contains what an installation needs, and works without the repository."""

import os
import shutil
import subprocess
import sys
import zipfile

from conftest import ROOT


def copied(folder):
    """What the wheel is built from, outside the repository, where building would leave files behind."""
    for part in ("nas", "search_spaces", "configs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def test_an_installed_wheel_searches_without_the_repository(tmp_path):
    built = subprocess.run(
        [sys.executable, "-c", f"from setuptools.build_meta import build_wheel; build_wheel({str(tmp_path)!r})"],
        cwd=copied(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    wheel = next(tmp_path.glob("cellnas-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    wanted = {f"nas/configs/{path.relative_to(ROOT / 'configs')}" for path in (ROOT / "configs").rglob("*.yaml")}
    wanted |= {str(path.relative_to(ROOT)) for part in ("nas", "search_spaces") for path in (ROOT / part).rglob("*.py")}
    wanted |= {"nas/tables/nasbench201_cifar10_8x8.csv.gz"}
    assert wanted <= names
    assert not any(name.startswith(("tests", "scripts", "configs", "experiments")) for name in names)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = "import nas, sys; print(nas.__file__); from nas.cli.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["search", "evaluator=table", "table=cifar10_8x8", "budget.trials=1", "run=w"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=elsewhere, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(tmp_path / "site"))
    assert "best architecture" in result.stdout
