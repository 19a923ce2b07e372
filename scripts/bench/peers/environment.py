"""A separate environment for each peer, created on first use below `.bench/`.

    python scripts/bench/peers/environment.py

Every package is pinned and pip runs with `--no-deps`: the timings repeat, and only what a driver imports is installed.
Not installed are torch (NNI's strategies search without it if the framework is set to none), xgboost with its CUDA
libraries and statsmodels (Syne Tune's model-based searchers). Peers share no environment, since NNI needs old versions
of filelock and typeguard. peewee stays below 4, which lacks the `SqliteExtDatabase` of NNI's benchmark module.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[2] / ".bench"
OPTUNA = (
    "optuna==5.0.0",
    "alembic==1.20.1",
    "colorlog==6.12.0",
    "Mako==1.4.3",
    "MarkupSafe==3.0.4",
    "numpy==2.4.6",
    "packaging==26.3",
    "PyYAML==6.0.3",
    "SQLAlchemy==2.1.9",
    "tqdm==4.70.1",
    "typing_extensions==4.16.0",
)
PACKAGES = {  # by the name of the driver beside this file
    "optuna_random": OPTUNA,
    "optuna_storage": OPTUNA,
    "nni_evolution": (
        "nni==3.0",
        "certifi==2026.10.18",
        "charset-normalizer==3.5.2",
        "cloudpickle==3.1.2",
        "colorama==0.4.6",
        "filelock==3.11.0",
        "idna==3.20",
        "json-tricks==3.17.3",
        "numpy==2.4.6",
        "peewee==3.19.0",
        "psutil==7.2.2",
        "PyYAML==6.0.3",
        "requests==2.34.2",
        "schema==0.7.8",
        "scipy==1.17.1",
        "tqdm==4.70.1",
        "typeguard==4.1.2",
        "typing_extensions==4.16.0",
        "urllib3==2.8.0",
        "websockets==17.4",
    ),
    "syne_tune_evolution": (
        "syne-tune==0.16.0",
        "dill==0.4.1",
        "numpy==2.4.6",
        "pandas==3.1.1",
        "python-dateutil==4.0.0",
        "six==1.17.0",
        "tzdata==2026.6",
    ),
}


def interpreter(peer: str) -> Path:
    """The Python with the peer; takes 10 to 30 s the first time and after a change of a pin or of this Python."""
    folder = CACHE / peer
    python, built_from = folder / "bin" / "python", folder / "built-from.txt"
    wanted = "\n".join((f"python=={platform.python_version()}", *PACKAGES[peer]))
    if not (python.exists() and built_from.exists() and built_from.read_text() == wanted):
        _run(peer, [sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary", ":all:"]
        _run(peer, [*pip, *PACKAGES[peer]])
        built_from.write_text(wanted)  # last, so that an interrupted build is repeated
    return python


def run_search(peer: str, table: Path, trials: int, seed: int) -> dict[str, Any]:
    """The output of the peer's driver: `trials`, `seconds`, `version` and `best`."""
    return run_driver(peer, str(table), str(trials), str(seed))


def run_driver(peer: str, *arguments: str) -> dict[str, Any]:
    """The output of a peer's driver with other arguments; see `run_search`."""
    command = [str(interpreter(peer)), str(HERE / f"{peer}.py"), *arguments]
    row: dict[str, Any] = json.loads(_run(peer, command))
    return row


def _run(peer: str, command: list[str]) -> str:
    # a PYTHONPATH would put this project's packages before the peer's
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
    if done.returncode != 0:
        raise RuntimeError(f"peer {peer}: `{' '.join(command[:4])} ...` failed.\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def main() -> None:
    for peer in PACKAGES:
        start = time.perf_counter()
        print(f"{interpreter(peer)} ({time.perf_counter() - start:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
