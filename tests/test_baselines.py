"""The published NAS-Bench-201 baselines are reproduced, with 100 of the 500 seeds."""

import os
from collections import deque
from pathlib import Path

import pytest

from nas import Budget, Objective
from nas.analysis.results import IncumbentChange, RunResult
from nas.analysis.statistics import compare
from nas.config.settings import compose
from nas.executors.each import each
from nas.executors.inline import Inline
from nas.studies.comparison import ComparisonSetup, StrategyEntry, columns

PUBLISHED_ACCURACIES = {"random": 93.70, "regularized_evolution": 93.92, "reinforce": 93.85}
"""CIFAR-10 test accuracy, %, means of 500 runs (Dong & Yang, ICLR 2020, table 5)."""


@pytest.fixture(scope="module")
def results():
    """100 runs of every strategy, and the reported columns."""
    if not (Path(os.environ.get("NAS_DATA", "/nowhere")) / "nasbench201").is_dir():
        pytest.skip("needs the NAS-Bench-201 table below NAS_DATA")
    settings = compose("search", ["evaluator=table", "table=nasbench201"])
    space = settings.make("space")
    evaluator = settings.make("evaluator", space=space)
    setup = ComparisonSetup(space, evaluator, Budget(simulated_seconds=12000), Objective())
    runs = []
    for name in PUBLISHED_ACCURACIES:
        entry = StrategyEntry(name, compose("search", [f"strategy={name}"]).partial("strategy"), {})
        tasks = deque((entry, n) for n in range(100))
        for (_, seed), result in (pair for batch in each(Inline(), setup.ready, tasks) for pair in batch):
            steps = tuple(IncumbentChange(**step) for step in result["steps"])
            runs.append(RunResult(name, seed, result["queries"], result["simulated_seconds"], 0.0, "", steps))
    return runs, columns(evaluator, Objective(), runs)


def test_the_mean_accuracies_are_the_published_ones(results):
    runs, (headline, *_) = results
    comparison = compare(runs, headline)
    assert headline.name == "c10_test_acc_200"
    for name, published in PUBLISHED_ACCURACIES.items():
        assert comparison.summaries[name].mean == pytest.approx(published, abs=0.15)


def test_evolution_is_significantly_better_than_random_search(results):
    runs, (headline, *_) = results
    pairs = {(pair.first, pair.second): pair for pair in compare(runs, headline).pairs}
    pair = pairs["random", "regularized_evolution"]
    assert pair.mean_difference < -0.1
    assert pair.p_holm < 0.01
