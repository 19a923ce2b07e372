"""NNI's regularized evolution on the table.

As in NNI's own NAS benchmarks, a `BenchmarkEvaluator` answers from the table, a `BenchmarkModelSpace` holds six
choices and no network, and the `SequentialExecutionEngine` runs the trials in this process, without the web server,
processes and files of an `NNI experiment`. The space is that of `nni.nas.benchmark.NasBench201Benchmark`, with the
table's names for edges and operations.

On average, children are those of Algorithm 1: one edge of six changes (NNI mutates each edge with a probability).
Duplicates are evaluated again, which is the faster way: 0.45 ms a trial, 0.60 with NNI's default `dedup=True`, and
0.85 with its default `mutation_prob=0.05` also, where most children are copies that have to be drawn again.
"""

from __future__ import annotations

import logging
import time

import nni

nni.set_default_framework("none")  # before any import of nni.nas, which would import torch

from nni.mutable import Categorical, Sample  # noqa: E402
from nni.nas.benchmark import BenchmarkEvaluator, BenchmarkModelSpace, SlimBenchmarkSpace  # noqa: E402
from nni.nas.execution import SequentialExecutionEngine  # noqa: E402
from nni.nas.strategy import RegularizedEvolution  # noqa: E402
from table import EDGES, OPERATIONS, POPULATION, SAMPLE, arch_str, arguments, report  # noqa: E402


class Table(BenchmarkEvaluator):
    def __init__(self, accuracies: dict[str, float]) -> None:
        self.accuracies = accuracies

    @classmethod
    def default_space(cls) -> SlimBenchmarkSpace:
        return SlimBenchmarkSpace({edge: Categorical(OPERATIONS, label=edge) for edge in EDGES})

    def evaluate(self, sample: Sample) -> None:
        nni.report_final_result(self.accuracies[arch_str([sample[edge] for edge in EDGES])])


def main() -> None:
    accuracies, trials, seed = arguments()
    logging.getLogger("nni").setLevel(logging.WARNING)  # cheaper than `nni.silence_stdout`, which still makes records
    space = BenchmarkModelSpace(Table(accuracies))
    engine = SequentialExecutionEngine(max_model_count=trials)
    strategy = RegularizedEvolution(
        population_size=POPULATION, sample_size=SAMPLE, mutation_prob=1 / len(EDGES), dedup=False, seed=seed
    )
    start = time.perf_counter()
    strategy(space, engine)
    seconds = time.perf_counter() - start
    metrics = [model.metric for model in strategy.list_models()]
    report(len(metrics), seconds, nni.__version__, metrics[0])


if __name__ == "__main__":
    main()
