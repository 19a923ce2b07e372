"""The wheel holds what an installation needs, and works where the repository is not."""

import os
import shutil
import subprocess
import sys
import zipfile

from conftest import ROOT


def copied(place):
    """What the wheel is made of, away from the repository, where building would leave its traces."""
    for part in ("nas", "search_spaces", "configs"):
        shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    return place


def test_an_installed_wheel_searches_without_the_repository(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."],
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

    place = tmp_path / "elsewhere"
    place.mkdir()
    program = "import nas, sys; print(nas.__file__); from nas.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["search", "trainer.epochs=1", "trainer.train_images=100", "budget.trials=1", "run=w"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    found = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(str(tmp_path / "site"))
    assert "best architecture" in found.stdout
