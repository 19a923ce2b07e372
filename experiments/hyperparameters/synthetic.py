"""Regret of strategies on Branin, Hartmann-6 or a table of scores, beside Optuna outside of cellnas.

    python experiments/hyperparameters/synthetic.py                  # Branin and Hartmann-6
    python experiments/hyperparameters/synthetic.py --table FILE     # a table that nas tabulate wrote

Every strategy searches with every seed. Writes NAME.csv (the regret of each run after each trial), NAME.json (medians
and intervals) and regret.png beside this file; NAME is the function or the table.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy: the processes share the cores

import numpy as np
from scipy.stats import mannwhitneyu

from nas import Budget, Objective, search
from nas.core import Architecture
from nas.space import Float
from nas.space.base import SearchSpace

HERE = Path(__file__).parent
STRATEGIES = ("random", "grid", "bayesian", "optuna")
PLAIN = "plain Optuna TPE"
BRANIN_STEPS, HARTMANN_STEPS = 51, 21
RESAMPLES = 10_000


@dataclass(frozen=True)
class Problem:
    """A space with known scores.

    Args:
        name: Name of the files.
        space: Space that is searched.
        regret: Difference to the best score of the space, 0 for the best architecture.
        grid: Resolution at which the grid has about as many combinations as there are trials.
        unit: What the regret is measured in.
    """

    name: str
    space: SearchSpace
    regret: Callable[[Architecture], float]
    grid: int
    unit: str

    def evaluate(self, proposal: Any, context: Any) -> dict[str, float]:
        return {"regret": self.regret(proposal.architecture)}


class Gridded(SearchSpace):
    """A function of real numbers at even steps."""

    def __init__(self, ranges: Sequence[tuple[float, float]], steps: int) -> None:
        self.choices = MappingProxyType({f"x{i}": Float(*ends, steps=steps) for i, ends in enumerate(ranges)})

    def build(self, architecture: Architecture, task: Any, network: Any = None) -> Any:
        raise NotImplementedError("a function has no network")


def branin() -> Problem:
    """Branin on [-5, 10] x [0, 15]; its lowest value at these steps is the optimum."""
    space = Gridded([(-5.0, 10.0), (0.0, 15.0)], BRANIN_STEPS)

    def value(x: Any, y: Any) -> Any:
        curve = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
        return curve**2 + 10 * (1 - 1 / (8 * math.pi)) * np.cos(x) + 10

    lowest = value(np.linspace(-5, 10, BRANIN_STEPS)[:, None], np.linspace(0, 15, BRANIN_STEPS)).min()
    return Problem("branin", space, lambda a: float(value(*space.options(a)) - lowest), grid=7, unit="value")


HARTMANN_HEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
HARTMANN_WIDTHS = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
HARTMANN_CENTRES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6() -> Problem:
    """Hartmann's function of six numbers from 0 to 1; its lowest value at these steps is the optimum."""
    space = Gridded([(0.0, 1.0)] * 6, HARTMANN_STEPS)
    steps = np.linspace(0, 1, HARTMANN_STEPS)
    # of each of the four terms a factor for each number; the lowest value is sought over all products of factors
    factors = np.exp(-HARTMANN_WIDTHS[:, :, None] * (steps - HARTMANN_CENTRES[:, :, None]) ** 2)
    half = np.einsum("ti,tj,tk->tijk", *factors[:, 3:].transpose(1, 0, 2)).reshape(4, -1)
    first = np.einsum("ti,tj,tk->tijk", *factors[:, :3].transpose(1, 0, 2)).reshape(4, -1)
    highest = max(float(((HARTMANN_HEIGHTS * column) @ half).max()) for column in first.T)

    def regret(architecture: Architecture) -> float:
        x = np.asarray(space.options(architecture))
        terms = np.exp(-(HARTMANN_WIDTHS * (x - HARTMANN_CENTRES) ** 2).sum(axis=1))
        return highest - float(HARTMANN_HEIGHTS @ terms)

    return Problem("hartmann6", space, regret, grid=2, unit="value")


def tabulated(file: Path, space: SearchSpace, column: str) -> Problem:
    """The architectures of a space with the scores of a table, higher is better."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", newline="") as lines:
        rows = list(csv.DictReader(lines))
    scores = {space.from_text(row["architecture"]): float(row[column]) for row in rows}
    missing = sum(architecture not in scores for architecture in space.architectures())
    if missing:
        raise SystemExit(f"{file}: {missing} architectures of the space are not in the table")
    best = max(scores.values())
    ends = (candidate for candidate in range(2, 1000))
    name = file.name.partition(".")[0]
    return Problem(name, space, lambda a: best - scores[a], grid=next(ends), unit=column)


def of_cellnas(problem: Problem, strategy: str, seed: int, trials: int) -> list[float]:
    """Regrets of the trials of a search, in order."""
    from nas.config.settings import compose

    arguments = [f"strategy={strategy}"]
    if strategy == "grid":
        arguments.append(f"strategy.resolution={problem.grid}")
    make = compose("search", arguments).partial("strategy")
    objective = Objective("regret", "minimize")
    result = search(
        problem.space, make, problem.evaluate, budget=Budget(trials=trials), seed=seed, objective=objective
    )
    return [trial.metrics["regret"] for trial in result.trials]


def of_optuna(problem: Problem, seed: int, trials: int) -> list[float]:
    """Regrets of the trials of a study of Optuna, whose numbers are the positions of the options."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=seed))

    def regret(trial: optuna.Trial) -> float:
        chosen: Architecture = ()
        for name, kind in problem.space.decisions.items():
            last = len(kind) - 1
            ordered = kind.ordered
            option = trial.suggest_int(name, 0, last) if ordered else trial.suggest_categorical(name, range(last + 1))
            chosen = (*chosen, option)
        return problem.regret(chosen)

    study.optimize(regret, n_trials=trials)
    return [trial.value for trial in study.trials]


def run(make: Callable[[], Problem], strategy: str, trials: int, seed: int) -> list[float]:
    """Lowest regret after each trial; a search that ends early keeps its last one."""
    problem = make()
    found = of_optuna(problem, seed, trials) if strategy == PLAIN else of_cellnas(problem, strategy, seed, trials)
    found += [math.inf] * (trials - len(found))
    return np.minimum.accumulate(found).tolist()


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    return tuple(np.percentile(np.median(drawn, axis=1), [2.5, 97.5]).tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", nargs="*", default=["branin", "hartmann6"], choices=["branin", "hartmann6"])
    parser.add_argument("--strategies", nargs="*", default=[*STRATEGIES, PLAIN])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    made = {"branin": branin, "hartmann6": hartmann6}
    for name in options.functions:
        curves = {}
        with ProcessPoolExecutor(options.processes) as pool:
            for strategy in options.strategies:
                start = time.perf_counter()
                job = partial(run, made[name], strategy, options.trials)
                curves[strategy] = np.asarray(list(pool.map(job, range(options.seeds))))
                last = curves[strategy][:, -1]
                low, high = interval(last)
                print(f"{name} {strategy}: {np.median(last):.4g} [{low:.4g}, {high:.4g}] {time.perf_counter() - start:.0f} s", flush=True)
        if "bayesian" in curves and PLAIN in curves:
            print(mannwhitneyu(curves["bayesian"][:, -1], curves[PLAIN][:, -1]).pvalue, mannwhitneyu(curves["optuna"][:, -1], curves[PLAIN][:, -1]).pvalue)


if __name__ == "__main__":
    main()
