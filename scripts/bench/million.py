"""A store with a run of 1,000,000 trials, for the benchmarks of stores.

    python scripts/bench/million.py big.db [TRIALS] [STRATEGY]

The run is what `nas search` on the bundled NAS-Bench-201 table starts (`arguments()` is the command that continues it),
with random architectures. The search stores the first trial; the others are inserted at once with the same columns.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nas.config.settings import compose
from nas.core import Context, Proposal
from nas.space.base import SearchSpace
from nas.store.schema import trials as TABLE

TRIALS = 1_000_000
RUN = "million"
BLOCK = 50_000


def arguments(path: Path, trials: int, strategy: str = "random") -> list[str]:
    """Arguments of `nas` that start the run, or continue it up to a number of trials."""
    return [
        "search", f"strategy={strategy}", "evaluator=table", "table=cifar10_8x8", f"budget.trials={trials}",
        f"run={RUN}", f"store.url=sqlite:///{path.absolute()}", f"dir={path.absolute()}-runs", "progress=false",
    ]  # fmt: skip


def build(path: Path, trials: int = TRIALS, strategy: str = "random") -> None:
    """Make the store.

    Args:
        path: SQLite file to create.
        trials: Number of trials of its run.
        strategy: Option of the strategy that its settings name.
    """
    command = [sys.executable, "-m", "nas", *arguments(path, 1, strategy)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous=OFF")
    connection.row_factory = sqlite3.Row
    first = dict(connection.execute("SELECT * FROM trials").fetchone())
    columns = [column.name for column in TABLE.columns]
    insert = f"INSERT INTO trials ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    with connection:
        connection.executemany(insert, ([row[name] for name in columns] for row in _rows(first, trials)))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _rows(first: dict[str, Any], trials: int) -> Iterator[dict[str, Any]]:
    """The rows of trials 1, 2 … A function class is evaluated once; later trials take its result."""
    settings = compose("search", ["evaluator=table", "table=cifar10_8x8"])
    space: SearchSpace = settings.make("space")
    evaluator = settings.make("evaluator", space=space)
    known = [_fields(space, evaluator, architecture) for architecture in sorted(space.architectures())]
    evaluated = {first["canonical"]: 0}
    rng = np.random.default_rng(0)
    for number in range(1, trials):
        if number % BLOCK == 1:
            drawn = rng.integers(len(known), size=BLOCK)
        fields = known[drawn[number % BLOCK - 1]]
        equal = evaluated.setdefault(fields["canonical"], number)
        reused = {"reused_from": equal, "seconds": 0.0} if equal != number else {"reused_from": None, "seconds": 1e-4}
        yield first | fields | reused | {"number": number, "told_before": number, "finish_order": number}


def _fields(space: SearchSpace, evaluator: Any, architecture: tuple[int, ...]) -> dict[str, Any]:
    """The columns that follow from the architecture."""
    context = Context(0, "cpu", report=lambda _metrics: None, measured=lambda _name, _value: None)
    metrics = evaluator(Proposal(architecture), context)
    return {
        "architecture": json.dumps(architecture),
        "text": space.to_text(architecture),
        "canonical": space.canonical(architecture),
        "metrics": json.dumps(metrics),
        "score": metrics["valid_accuracy"],
    }


if __name__ == "__main__":
    build(Path(sys.argv[1]), *map(int, sys.argv[2:3]), *sys.argv[3:])
