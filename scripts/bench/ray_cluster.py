"""Trials on a Ray cluster of two nodes with one core each, both on this machine.

    python scripts/bench/ray_cluster.py

Rows `ray/overhead` (a trial that does nothing, at most 5 ms) and `ray/scaling` (16 trainings by two workers, within 10%
of `executor=processes`, in turn; it also checks that the trials are equal bit for bit).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from ray.cluster_utils import Cluster
from rows import Row

from nas import Budget, Context, Proposal, SearchResult, search
from nas.data.digits import Digits
from nas.evaluators.base import Evaluator
from nas.evaluators.training import TrainingEvaluator
from nas.executors.base import Executor
from nas.executors.processes import Processes
from nas.executors.ray import RayWorkers
from nas.executors.ray_cluster import connect
from nas.strategies.evolution import RegularizedEvolution
from nas.training.recipe import Recipe
from search_spaces.nasbench201 import NASBench201

ROUNDS = 3
WORKERS = 2
FEW, MANY = 200, 1200
TRAININGS = 16
STRATEGY = partial(RegularizedEvolution, population_size=10, sample_size=3)
RECIPE = Recipe(
    epochs=3, batch_size=64, train_images=800, valid_images=400, threads=1, network={"channels": 8, "cells": 1}
)
NODE: Mapping[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}


def no_op(_proposal: Proposal, _context: Context) -> Mapping[str, float]:
    """Do nothing; every architecture gets the same score."""
    return {"valid_accuracy": 0.5}


def timed(executor: Executor, evaluator: Evaluator, trials: int) -> tuple[float, SearchResult]:
    """Seconds of a search, its workers' start included, and its result."""
    start = time.perf_counter()
    budget = Budget(trials=trials)
    result = search(NASBench201(), STRATEGY, evaluator, budget=budget, executor=executor, duplicates="retrain")
    return time.perf_counter() - start, result


def overhead(executor: Executor) -> float:
    """Milliseconds of a trial that does nothing: the difference between many and few."""
    few, many = (timed(executor, no_op, trials)[0] for trials in (FEW, MANY))
    return 1000 * (many - few) / (MANY - FEW)


def course(result: SearchResult) -> list[tuple[Any, ...]]:
    """What must be equal."""
    return [(trial.text, trial.seed, trial.status, trial.metrics, trial.curve) for trial in result.trials]


def main() -> None:
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (as the workers of executor=processes)
    cluster = Cluster(initialize_head=True, head_node_args=dict(NODE))
    cluster.add_node(**{key: value for key, value in NODE.items() if key != "include_dashboard"})
    try:
        with connect(cluster.address):
            workers, processes = RayWorkers(WORKERS, address=cluster.address), Processes(WORKERS)
            milliseconds = statistics.median(overhead(workers) for _ in range(ROUNDS))
            note = f"a no-op trial, {MANY - FEW:,} trials, two nodes on one machine; median of {ROUNDS}"
            Row("ray/overhead", milliseconds, 5.0, "ms", target=1.0, more_is_better=False, note=note).show()
            evaluator = TrainingEvaluator(NASBench201(), Digits(), RECIPE)
            ours, theirs = [], []
            for _ in range(ROUNDS):
                (seconds, result), (expected_seconds, expected) = (
                    timed(executor, evaluator, TRAININGS) for executor in (workers, processes)
                )
                assert course(result) == course(expected), "trials on Ray differ from those of executor=processes"
                ours.append(seconds)
                theirs.append(expected_seconds)
    finally:
        cluster.shutdown()
    note = f"{TRAININGS} trainings on digits by {WORKERS} workers against executor=processes, starts included; "
    note += f"equal trials; medians of {ROUNDS} in turn"
    seconds, yardstick = statistics.median(ours), statistics.median(theirs)
    Row("ray/scaling", seconds, yardstick, "s", target=0.9, more_is_better=False, note=note).show()


if __name__ == "__main__":
    main()
