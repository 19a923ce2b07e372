"""One of several writers of a store: `python writing.py URL RUN TRIALS SEED FILE`; the numbers of trials go to FILE."""

from __future__ import annotations

import sys
from pathlib import Path

from workload import Acknowledging, TinySpace, score

from nas import Budget, search
from nas.engine.search import SearchResult
from nas.store.base import Store
from nas.strategies.random import RandomSearch


def write(store: Store, run: str, trials: int, seed: int) -> SearchResult:
    return search(
        TinySpace(), RandomSearch, score, budget=Budget(trials=trials), seed=seed, duplicates="retrain",
        device="cpu", store=store, run=run, config={"torture": True},
    )  # fmt: skip


if __name__ == "__main__":
    url, name, number, random_seed, file = sys.argv[1:]
    write(Acknowledging(url, Path(file)), name, int(number), int(random_seed))  # type: ignore[arg-type]
