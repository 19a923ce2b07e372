"""The parts of the searches that are tortured: small enough that a session takes a second, without torch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nas import SearchSpace
from nas.core import Trial
from nas.store.base import Run, RunRecord
from nas.store.by_url import store_at


class TinySpace(SearchSpace):
    """Six decisions of four options, and nothing to train."""

    choices = MappingProxyType({f"d{i}": ("a", "b", "c", "d") for i in range(6)})

    def build(self, architecture, task, network=None):
        raise NotImplementedError


class SmallSpace(TinySpace):
    """A table of it has eight rows."""

    choices = MappingProxyType({f"d{i}": ("a", "b") for i in range(3)})


def score(proposal, context) -> dict[str, float]:
    """A slope to (3, 3, 3, 3, 3, 3), with noise that only the training seed determines."""
    return {"valid_accuracy": sum(proposal.architecture) / 18 + context.seed % 1000 / 1e5}


def brief(proposal, context) -> dict[str, float]:
    """Takes 2 to 11 ms, so that with several workers trials finish out of their order; a few fail."""
    time.sleep(0.002 + 0.003 * proposal.architecture[0])
    if proposal.architecture[:3] == (0, 0, 0):
        raise ValueError("made to fail")
    return score(proposal, context)


class Acknowledging:
    """A store that appends the number of a trial to a file as soon as the trial is acknowledged.

    Args:
        url: URL of the store.
        file: The file. What a killed process has written survives it, so it need not be synchronised to the disk.
        settings: Further settings of the store.
    """

    def __init__(self, url: str, file: Path | str, **settings: Any) -> None:
        self.store = store_at(url, **settings)
        self.file = Path(file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    @contextmanager
    def open(self, run: Run, planned: int | None = None) -> Iterator[RunRecord]:
        file = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            with self.store.open(run, planned) as record:
                add = record.add

                def add_and_write(trial: Trial, elapsed: float = 0.0) -> None:
                    add(trial, elapsed)
                    os.write(file, f"{trial.number}\n".encode())

                record.add = add_and_write  # type: ignore[method-assign]
                yield record
        finally:
            os.close(file)


def acknowledged(file: Path) -> list[int]:
    """The numbers in such a file."""
    return [int(line) for line in file.read_text().split()] if file.exists() else []


class Scoring:
    """`score` as a part that a YAML can name."""

    def __init__(self, space) -> None:
        pass

    def __call__(self, proposal, context) -> dict[str, float]:
        return score(proposal, context)


class Brief(Scoring):
    """`brief` as a part that a YAML can name."""

    def __call__(self, proposal, context) -> dict[str, float]:
        return brief(proposal, context)


def write_parts(folder: Path) -> Path:
    """Write the YAML files of these parts; returns the folder for `--config-dir`."""
    for part, text in {
        "space/tiny": "_target_: workload.TinySpace\n",
        "space/small": "_target_: workload.SmallSpace\n",
        "evaluator/scoring": "_target_: workload.Scoring\n",
        "evaluator/brief": "_target_: workload.Brief\n",
        "store/acknowledging": "_target_: workload.Acknowledging\nurl: sqlite:///nas.db\nfile: acknowledged\n",
    }.items():
        path = folder / "conf" / f"{part}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "conf"
