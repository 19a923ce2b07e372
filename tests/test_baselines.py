"""The published baselines come out of this program: NAS-Bench-201 with its protocol, 100 of the 500 seeds."""

import os
from collections import deque
from pathlib import Path

import pytest

from nas import Budget, Objective
from nas.analysis.results import RunResult, Step
from nas.analysis.statistics import compare
from nas.config.settings import compose
from nas.executors.base import each
from nas.executors.inline import Inline
from nas.studies.comparison import ComparisonSetup, StrategyEntry, columns

PUBLISHED = {"random": 93.70, "regularized_evolution": 93.92, "reinforce": 93.85}
"""CIFAR-10 test accuracy, %, means of 500 runs (Dong & Yang, ICLR 2020, table 5)."""


@pytest.fixture(scope="module")
def results():
    if not (Path(os.environ.get("NAS_DATA", "/nowhere")) / "nasbench201").is_dir():
        pytest.skip("needs the NAS-Bench-201 table below NAS_DATA")
    made = compose("search", ["evaluator=table", "table=nasbench201"])
    space = made.make("space")
    evaluator = made.make("evaluator", space=space)
    match = ComparisonSetup(space, evaluator, Budget(simulated_seconds=12000), Objective())
    runs = []
    for name in PUBLISHED:
        contender = StrategyEntry(name, compose("search", [f"strategy={name}"]).partial("strategy"), {})
        tasks = deque((contender, n) for n in range(100))
        for (_, seed), found in (pair for batch in each(Inline(), match.ready, tasks) for pair in batch):
            steps = tuple(Step(**step) for step in found["steps"])
            runs.append(RunResult(name, seed, found["queries"], found["simulated_seconds"], 0.0, "", steps))
    return runs, columns(evaluator, Objective(), runs)


def test_the_means_are_the_published_ones(results):
    runs, (headline, *_) = results
    found = compare(runs, headline)
    assert headline.name == "c10_test_acc_200"
    for name, published in PUBLISHED.items():
        assert found.summaries[name].mean == pytest.approx(published, abs=0.15)


def test_evolution_is_above_random_search(results):
    runs, (headline, *_) = results
    pairs = {(pair.first, pair.second): pair for pair in compare(runs, headline).pairs}
    pair = pairs["random", "regularized_evolution"]
    assert pair.mean_difference < -0.1
    assert pair.p_holm < 0.01
