"""Searches on the NAS-Bench-201 table: the cost of a trial, compared with Optuna, NNI and Syne Tune.

    python scripts/bench/table_searches.py

Needs the table below NAS_DATA (nasbench201/nb201_table.csv.gz), and PyPI for the first installation of the peers, each
into its own environment below `.bench/`. Our search and each peer are timed alternately, and medians are compared. Ours
is `nas.search` with the table evaluator and the in-memory store; the driver of each peer documents how it is run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from peers.environment import run_search
from rows import Row

from nas import Budget, Objective, Trial, search
from nas.config.settings import compose
from nas.evaluators.table import TableEvaluator
from nas.strategies.base import StrategyFactory
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.random import RandomSearch

ROUNDS = 5
EVOLUTION = partial(RegularizedEvolution, population_size=10, sample_size=3)
PEERS: tuple[tuple[str, str, StrategyFactory, float], ...] = (
    ("replay/optuna-random", "optuna_random", RandomSearch, 5.0),
    ("replay/nni-evolution", "nni_evolution", EVOLUTION, 100.0),
    ("replay/syne-tune-evolution", "syne_tune_evolution", EVOLUTION, 100.0),
)
COMPARISON = (
    "compare", "strategies=[random,regularized_evolution,reinforce]", "seeds=500", "evaluator=table",
    "table=nasbench201", "budget.simulated_seconds=12000", "workers=2", "format=json",
)  # fmt: skip


class Clock:
    """Records when each ten-thousandth trial ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def start(self, run: str, trials: Sequence[Trial], total: int | None, objective: Objective) -> None:
        self.times = [time.perf_counter()]

    def on_trial_end(self, trial: Trial) -> None:
        if trial.number % 10_000 == 9_999:
            self.times.append(time.perf_counter())

    def close(self) -> None:
        """Nothing to close."""


def ours(evaluator: TableEvaluator, strategy: StrategyFactory, trials: int, *listeners: Any) -> float:
    """Seconds of a search."""
    started = time.perf_counter()
    search(evaluator.space, strategy, evaluator, budget=Budget(trials=trials), listeners=listeners)
    return time.perf_counter() - started


def evaluations(evaluator: TableEvaluator) -> None:
    trials = 20_000
    rates = [trials / ours(evaluator, EVOLUTION, trials) for _ in range(ROUNDS)]
    note = f"regularized evolution, {trials:,} trials, in-memory store, one core; median of {ROUNDS}"
    Row("replay/evaluations", statistics.median(rates), 20_000, "evaluations/s", target=1.0, note=note).show()


def comparison() -> None:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [sys.executable, "-m", "nas", *COMPARISON, f"out={folder}/out"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - started
    note = "random, regularized evolution and REINFORCE, 500 seeds, 12,000 simulated s, report included; one run"
    Row("replay/1500-runs", took, 60.0, "s", target=1.0, more_is_better=False, note=note).show()


def growth(evaluator: TableEvaluator) -> None:
    first, last = [], []
    for _ in range(3):
        clock = Clock()
        ours(evaluator, EVOLUTION, 100_000, clock)
        first.append(clock.times[1] - clock.times[0])
        last.append(clock.times[-1] - clock.times[-2])
    note = "seconds of the last 10,000 of 100,000 trials against the first 10,000; median of 3"
    Row(
        "replay/growth",
        statistics.median(last),
        statistics.median(first),
        "s",
        target=round(1 / 1.3, 3),
        more_is_better=False,
        note=note,
    ).show()


def peers(evaluator: TableEvaluator, table: Path) -> None:
    trials = 2_000
    for name, peer, strategy, target in PEERS:
        mine, theirs, version = [], [], ""
        for seed in range(ROUNDS):
            mine.append(1e3 * ours(evaluator, strategy, trials) / trials)
            answer = run_search(peer, table, trials, seed)
            theirs.append(1e3 * answer["seconds"] / answer["trials"])
            version = answer["version"]
        note = f"{peer} {version}, {trials:,} trials, per trial; medians of {ROUNDS} in turn"
        row = Row(
            name,
            statistics.median(mine),
            statistics.median(theirs),
            "ms/trial",
            target=target,
            more_is_better=False,
            note=note,
        )
        row.show()


def main() -> int:
    table = Path(os.environ.get("NAS_DATA", "")) / "nasbench201" / "nb201_table.csv.gz"
    if not table.is_file():
        print("table_searches.py needs NAS_DATA with nasbench201/nb201_table.csv.gz below it", file=sys.stderr)
        return 1
    settings = compose("search", ["evaluator=table", "table=nasbench201"])
    space = settings.make("space")
    evaluator = settings.make("evaluator", space=space)
    for architecture in space.architectures():  # fills the caches of keys and texts, as any longer study does
        space.canonical(architecture)
        space.to_text(architecture)
    ours(evaluator, EVOLUTION, 2_000)
    evaluations(evaluator)
    growth(evaluator)
    peers(evaluator, table)
    comparison()
    return 0


if __name__ == "__main__":
    sys.exit(main())
