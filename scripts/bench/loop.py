"""The search loop with an evaluator that does nothing: the overhead of a trial.

    python scripts/bench/loop.py

Rows `loop/memory` (goal 5,000 trials a second) and `loop/durable` (300 a second, each on disk before the next starts).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rows import Row

from nas import Budget, Context, Proposal, search
from nas.store.base import Store
from nas.store.sqlite import SQLiteStore
from nas.strategies.evolution import RegularizedEvolution
from search_spaces.nasbench201 import NASBench201

ROUNDS = 5
STRATEGY = partial(RegularizedEvolution, population_size=10, sample_size=3)


def no_op(_proposal: Proposal, _context: Context) -> Mapping[str, float]:
    """Do nothing; every architecture gets the same score."""
    return {"valid_accuracy": 0.5}


def rate(trials: int, store: Store | None) -> float:
    """Trials per second; every trial is evaluated, none reused."""
    start = time.perf_counter()
    search(NASBench201(), STRATEGY, no_op, budget=Budget(trials=trials), store=store, duplicates="retrain")
    return trials / (time.perf_counter() - start)


def main() -> None:
    rate(2000, None)  # fills the caches of canonical keys, as any longer search does
    memory, durable = [], []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # the disk of the project, not a memory file system
        for number in range(ROUNDS):
            memory.append(rate(10_000, None))
            durable.append(rate(1_500, SQLiteStore(f"sqlite:///{folder}/{number}.db")))
    for name, rates, goal, note in (
        ("loop/memory", memory, 5_000, "regularized evolution on NAS-Bench-201, 10,000 trials, in memory"),
        ("loop/durable", durable, 300, "the same, 1,500 trials, SQLite with every trial synchronised to the disk"),
    ):
        Row(name, statistics.median(rates), goal, "trials/s", target=1.0, note=f"{note}; median of {ROUNDS}").show()


if __name__ == "__main__":
    main()
