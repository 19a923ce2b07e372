"""Shared fixtures: a toy space, trials made by hand, and the command line in and out of process."""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from browser import Browser, check, running_browser
from postgres import Server, running_server

from nas import Budget, search
from nas.cli.main import main
from nas.core import Objective, Proposal, Trial
from nas.space.base import SearchSpace
from nas.store.base import Run, Store
from nas.store.sqlite import SQLiteStore
from nas.strategies.random import RandomSearch

# Before torch is loaded: forked processes cannot use more threads, and sums do not depend on the number of cores.
os.environ["OMP_NUM_THREADS"] = "1"

# a job in the background of a script ignores Ctrl-C, and the processes that the tests start would inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
MAXIMIZE = Objective()
ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
QUICK_SETTINGS = [
    "data=digits",
    "trainer.epochs=1",
    "trainer.train_images=200",
    "trainer.network={channels: 4, cells: 1}",
]


LONGEST = (
    "test_readme.py",
    "test_ray.py",
    "test_signals.py",
    "test_export.py",
    "test_conformance.py",
    "test_torture.py",
    "test_tuned_searches.py",
    "test_card.py",
    "test_fake_cuda.py",
)
"""The files whose tests take longest, in half minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: no worker waits for another that began one last."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


class ToySpace(SearchSpace):
    """Six decisions of four options; the network is one linear layer."""

    choices = MappingProxyType({f"d{i}": ("a", "b", "c", "d") for i in range(6)})

    def build(self, architecture, task, network=None):
        from torch import nn  # not at the top: the process that hands out the tests needs no torch

        return nn.Sequential(nn.Flatten(), nn.Linear(task.channels * task.height * task.width, task.classes))


class Raising(ToySpace):
    def __init__(self):
        raise KeyError("no")


def steep(proposal: Proposal, context: Any) -> dict[str, float]:
    """An objective with one optimum, (3, 3, 3, 3, 3, 3), and a slope towards it."""
    return {"valid_accuracy": sum(proposal.architecture) / 18}


@pytest.fixture
def toy_space() -> ToySpace:
    return ToySpace()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def trial() -> Callable[..., Trial]:
    """Makes a trial of ToySpace from a number and a score; None for a failed one."""

    def make(number: int, score: float | None, architecture: tuple[int, ...] | None = None, **more: Any) -> Trial:
        arch = architecture or tuple((number >> 2 * i) % 4 for i in range(6))
        text = ToySpace().to_text(arch)
        if score is None:
            return Trial(
                number, Proposal(arch), text, text, 0, "failed", {}, 0.0, error_kind="error", error="made to fail"
            )
        return Trial(number, Proposal(arch), text, text, 0, "completed", {"valid_accuracy": score}, 0.0, **more)

    return make


@pytest.fixture
def nas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs `nas …` in this process and in a fresh folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    # the packages under test come first, the current folder is added by main itself
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_space", raising=False)  # that of another test's folder

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, out, err)

    return run


@pytest.fixture
def refused(nas) -> Callable[..., str]:
    """Runs `nas …` and checks that it is refused with one sentence on stderr, which it returns."""

    def run(*arguments: str, match: str, code: int = 2) -> str:
        result = nas(*arguments)
        assert result.returncode == code, f"exit code {result.returncode}: {result.stderr}{result.stdout}"
        assert not result.stdout
        assert re.search(match, result.stderr), f"{match!r} is not in {result.stderr!r}"
        return result.stderr

    return run


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m nas …` as a process of its own, in a fresh folder."""

    def run(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path = tmp_path, timeout: float = 300) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "nas", *arguments],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers have loaded torch when they start; that users' own load it by themselves is tested with the executor.

    What they are given is pickled as always. Only users' processes may hold locks of CUDA and of several threads.
    """
    spawning = type(multiprocessing.get_context("spawn"))
    monkeypatch.setattr(spawning, "Process", multiprocessing.get_context("fork").Process)


@pytest.fixture
def cifar10_root() -> Path:
    """The folder of real CIFAR-10 batches; the test is skipped where there are none."""
    root = Path(os.environ.get("NAS_DATA", "")) / "cifar-10-batches-py"
    if not os.environ.get("NAS_DATA") or not root.is_dir():
        pytest.skip("needs CIFAR-10 below NAS_DATA")
    return root


@pytest.fixture
def few_cifar10_images(cifar10_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each part of CIFAR-10 its first 1,000 images: all of them take seconds in every command."""
    from nas.data.cifar10 import Cifar10

    train, test = Cifar10.read_train, Cifar10.read_test
    once = functools.cache(lambda root, pool: train(Cifar10(root, pool=pool)).first(1000))
    monkeypatch.setattr(Cifar10, "read_train", lambda data: once(data.root, data.pool))
    monkeypatch.setattr(Cifar10, "read_test", lambda data: test(data).first(1000))


@pytest.fixture
def table() -> list[dict[str, str]]:
    """The rows of the NAS-Bench-201 table; the test is skipped where there is none."""
    import csv
    import gzip

    path = Path(os.environ.get("NAS_DATA", "")) / "nasbench201" / "nb201_table.csv.gz"
    if not path.is_file():
        pytest.skip("needs the NAS-Bench-201 table below NAS_DATA")
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server, one for each process that runs tests."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless browser, one for each process that runs tests."""
    with running_browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """A headless browser for one test: fails if a request leaves this machine, or the console has errors."""
    chromium.close_page()
    yield chromium
    check(chromium)


@pytest.fixture(scope="session")
def searched_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished search of three trials, as run `one`; read only."""
    folder = tmp_path_factory.mktemp("searched")
    with contextlib.chdir(folder):
        assert main(["search", *QUICK_SETTINGS, "strategy=random", "budget.trials=3", "run=one", "progress=false"]) == 0
    return folder


@pytest.fixture
def searched(nas, searched_folder, tmp_path):
    """A finished search of three trials in the current folder, as run `one`."""
    shutil.copytree(searched_folder, tmp_path, dirs_exist_ok=True)
    return nas


def rows(nas, *arguments):
    return json.loads(nas("leaderboard", "sort=number", "top=0", "format=json", *arguments).stdout)


def stored_trials(path: Path) -> int:
    """How many trials of a store are on disk, asked from beside the process that writes it."""
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute("SELECT COUNT(*) FROM trials").fetchone()[0]
    except sqlite3.OperationalError:  # the tables are not made yet
        return 0
    finally:
        connection.close()


def margins(strategy: Callable[..., Any], seeds: int) -> list[float]:
    """By how much a strategy's best of 100 trials on the slope of `steep` is above random search's, seed by seed."""

    def best(made: Callable[..., Any], seed: int) -> float:
        result = search(ToySpace(), made, steep, budget=Budget(trials=100), seed=seed)
        return result.best.metrics["valid_accuracy"]

    return [best(strategy, seed) - best(RandomSearch, seed) for seed in range(seeds)]


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    return SQLiteStore(f"sqlite:///{tmp_path}/nas.db")


def filled(store: Store, trial: Callable[..., Trial], count: int = 3) -> list[Trial]:
    """Store a run `first` of a few trials and a failed one; returns them as read."""
    with store.open(Run("first", 0, {"strategy": {"sample_size": 3}})) as record:
        for number in range(count):
            record.add(trial(number, number / 10, curve=({"valid_accuracy": 0.1}, {"valid_accuracy": number / 10})))
        record.add(trial(count, None))
    return store.trials("first")
