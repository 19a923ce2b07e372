"""Runs of a store that were made by hand: no torch, and every number is known."""

import math
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nas.core import Proposal, Trial
from nas.store.base import Run
from nas.store.sqlite import SQLiteStore

IMAGES = 250
"""Number of validation images behind the accuracies."""
DECISIONS = [["op", ["conv", "pool", "</script><b>skip"]], ["width", ["8", "16", "32"]], ["depth", ["1", "2"]]]
CONFIG = {
    "objective": {"metric": "valid_accuracy", "direction": "maximize"},
    "decisions": DECISIONS,
    "strategy": {"type": "my.RandomSearch"},
    "budget": {"trials": 60, "hours": None},
}


def make_store(path: Path) -> SQLiteStore:
    return SQLiteStore(f"sqlite:///{path}")


def make_trials(count: int = 60, seed: int = 0) -> list[Trial]:
    """Trials whose accuracy depends on two decisions; every ninth failed, every tenth was trained for less."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        architecture = tuple(int(rng.integers(len(options))) for _, options in DECISIONS)
        text = "-".join(options[index] for (_, options), index in zip(DECISIONS, architecture, strict=True))
        right = 150 + 25 * architecture[0] + 12 * architecture[1] + int(rng.integers(6))
        failed = number % 9 == 4
        trials.append(
            Trial(
                number=number,
                proposal=Proposal(architecture, fidelity=2 if number % 10 == 7 else None),
                text=text,
                canonical=text,
                seed=number,
                status="failed" if failed else "completed",
                metrics={}
                if failed
                else {"valid_accuracy": right / IMAGES, "parameters": 1000 * (1 + architecture[1])},
                seconds=round(1.5 + 3 * float(rng.random()), 3),
                cost={"peak_memory_mb": 700.0 + number},
                error_kind="not_finite" if failed else None,
                error=f"loss became inf in epoch {number} <b>" if failed else None,
            )
        )
    return trials


@contextmanager
def open_run(store: SQLiteStore, trials: Sequence[Trial], name: str = "made", config: dict = CONFIG):
    """A run that a process is writing, with some trials."""
    protocol = {"data": "photos", "split": "abc", "recipe": {"epochs": 4}}
    run = Run(name, 7, config=config, protocol=protocol, environment={"cellnas": "0.3.0", "python": "3.11.7"})
    with store.open(run, planned=60) as record:
        for trial in trials:
            record.add(trial, elapsed=float(trial.number))
        yield record


def add_run(
    store: SQLiteStore, trials: Sequence[Trial], name: str = "made", config: dict = CONFIG, ended: str = "budget"
):
    """A run that has ended."""
    with open_run(store, trials, name, config) as record:
        record.end_session(math.fsum(trial.seconds for trial in trials), ended)
