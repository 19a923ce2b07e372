"""Regret of strategies on Branin, Hartmann-6 or a table of scores, beside Optuna's TPE outside of cellnas.

    python experiments/hyperparameters/synthetic.py
    python experiments/hyperparameters/synthetic.py --table FILE.csv.gz space=fixed space.arch=… tune.lr=…

Every strategy searches with every seed. Writes, beside this file, NAME.csv (the lowest regret of each run after each
trial) and NAME.json (medians, their 95 % bootstrap intervals, and tests of pairs), and regret.png from every NAME.csv
that is there. NAME is that of the function or of the table.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is imported: the processes share the cores

import argparse
import csv
import json
import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from problems import Problem, branin, hartmann6, tabulated
from scipy.stats import mannwhitneyu

from nas import Budget, Objective, search
from nas.config.settings import compose
from nas.core import Architecture
from nas.strategies.grid import GridSearch

HERE = Path(__file__).parent
PLAIN = "plain Optuna TPE"
COLORS = {"random": "#8a8a8a", "grid": "#c9a227", "bayesian": "#1f5c99", "optuna": "#c0392b", PLAIN: "#e59866"}
PAIRS = (("bayesian", PLAIN), ("bayesian", "optuna"), ("optuna", PLAIN))
RESAMPLES = 10_000


def of_cellnas(problem: Problem, strategy: str, seed: int, trials: int) -> list[float]:
    """Regrets of the trials of a search, in order."""
    resolution = [f"strategy.resolution={grid_resolution(problem, trials)}"] if strategy == "grid" else []
    make = compose("search", [f"strategy={strategy}", *resolution]).partial("strategy")
    objective = Objective("regret", "minimize")
    found = search(problem.space, make, problem.evaluate, budget=Budget(trials=trials), seed=seed, objective=objective)
    return [trial.metrics["regret"] for trial in found.trials]


def grid_resolution(problem: Problem, trials: int) -> int:
    """The finest grid of at most this many trials, or the coarsest that there is."""
    finest = 2
    while finest < 100:
        grid = GridSearch(space=problem.space, objective=Objective(), resolution=finest + 1, max_combinations=1_000_000)
        if grid.planned > trials:
            break
        finest += 1
    return finest


def of_optuna(problem: Problem, seed: int, trials: int) -> list[float]:
    """Regrets of the trials of a study of Optuna, whose parameters are the positions of the options."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=seed))

    def regret(trial: optuna.Trial) -> float:
        chosen: Architecture = ()
        for name, kind in problem.space.decisions.items():
            last, ordered = len(kind) - 1, kind.ordered
            option = trial.suggest_int(name, 0, last) if ordered else trial.suggest_categorical(name, range(last + 1))
            chosen = (*chosen, option)
        return problem.regret(chosen)

    study.optimize(regret, n_trials=trials)
    return [trial.values[0] for trial in study.trials]


def lowest(make: Callable[[], Problem], strategy: str, trials: int, seed: int) -> list[float]:
    """Lowest regret after each trial; a search that ends early keeps its last one."""
    problem = make()
    found = of_optuna(problem, seed, trials) if strategy == PLAIN else of_cellnas(problem, strategy, seed, trials)
    padded = [*np.maximum(found, 0.0), *[math.inf] * (trials - len(found))]
    return [float(value) for value in np.minimum.accumulate(padded)]


def interval(values: NDArray[np.float64]) -> list[float]:
    """95 % bootstrap interval of the median."""
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    return [float(end) for end in np.percentile(np.median(drawn, axis=1), [2.5, 97.5])]


def summary(curves: dict[str, NDArray[np.float64]]) -> dict[str, object]:
    last = {strategy: runs[:, -1] for strategy, runs in curves.items()}
    return {
        "seeds": len(next(iter(last.values()))),
        "trials": len(next(iter(curves.values()))[0]),
        "median": {strategy: float(np.median(values)) for strategy, values in last.items()},
        "interval": {strategy: interval(values) for strategy, values in last.items()},
        "mann_whitney_p": {
            f"{one} / {other}": float(mannwhitneyu(last[one], last[other]).pvalue)
            for one, other in PAIRS
            if one in last and other in last
        },
    }


def read(file: Path) -> dict[str, NDArray[np.float64]]:
    """The runs that a file holds: strategy -> (seeds, trials)."""
    runs: dict[str, list[list[float]]] = {}
    with file.open(newline="") as lines:
        for row in csv.reader(lines):
            if row[0] != "strategy":
                runs.setdefault(row[0], []).append([float(value) for value in row[2:]])
    return {strategy: np.asarray(values) for strategy, values in runs.items()}


def draw(files: list[Path]) -> Figure:
    """Median regret by trials, with the middle half of the seeds."""
    figure = Figure(figsize=(4.2 * len(files), 3.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(files)))
    for panel, file in zip(panels, files, strict=True):
        curves = read(file)
        floor = min(float(np.median(runs, axis=0)[np.median(runs, axis=0) > 0].min()) for runs in curves.values()) / 3
        for strategy, runs in curves.items():
            by = np.arange(1, runs.shape[1] + 1)
            low, middle, high = np.maximum(np.percentile(runs, [25, 50, 75], axis=0), floor)
            panel.plot(by, middle, color=COLORS[strategy], label=strategy, lw=1.6)
            panel.fill_between(by, low, high, color=COLORS[strategy], alpha=0.12, lw=0)
        panel.set(yscale="log", title=file.stem, xlabel="trials", ylim=(floor, None))
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("median regret")
    panels[0].legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="a CSV of nas tabulate; then the settings of its space follow")
    parser.add_argument("--column", default="valid_accuracy", help="column of the table, higher is better")
    parser.add_argument("space", nargs="*", help="settings of the table's space, as nas tabulate was given them")
    parser.add_argument("--strategies", nargs="*", default=list(COLORS), choices=list(COLORS))
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    problems: list[Callable[[], Problem]] = [branin, hartmann6]
    if options.table is not None:
        problems = [partial(tabulated, options.table, options.space, options.column)]
    for make in problems:
        curves = {}
        with ProcessPoolExecutor(options.processes) as pool:
            for strategy in options.strategies:
                job = partial(lowest, make, strategy, options.trials)
                curves[strategy] = np.asarray(list(pool.map(job, range(options.seeds))))
        name = make().name
        with (HERE / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["strategy", "seed", *range(1, options.trials + 1)])
            for strategy, runs in curves.items():
                rows.writerows([strategy, seed, *(f"{v:.6g}" for v in run)] for seed, run in enumerate(runs))
        found = summary(curves)
        (HERE / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        print(name, json.dumps(found, indent=1), flush=True)
    draw([file for file in sorted(HERE.glob("*.csv")) if file.with_suffix(".json").is_file()]).savefig(
        HERE / "regret.png", dpi=150
    )


if __name__ == "__main__":
    main()
