"""Architecture and recipe searched together, against the architecture alone at an equal budget.

    python together.py [--seeds 12] [--trials 24]

On CIFAR-10 at 8x8 pixels, cells of NAS-Bench-201 at 8 channels: regularized evolution with and without `tune.lr` and
`tune.weight_decay`, paired by seed. Each winner is retrained with its own recipe by three seeds and tested. Everything
is stored in `together.db`; run it again to resume.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from nas import Budget, search
from nas.core import Trial
from nas.data import Cifar10
from nas.evaluators import TrainingEvaluator
from nas.space import Float
from nas.space.base import SearchSpace
from nas.space.tuned import TunedSpace
from nas.store import SQLiteStore
from nas.strategies import RegularizedEvolution
from nas.studies.retraining import TrainingJob, retrain
from nas.training import Recipe
from nas.training.tuning import retraining_recipe
from search_spaces.nasbench201 import NASBench201

HERE = Path(__file__).parent
RECIPE = Recipe(
    epochs=3,
    batch_size=64,
    train_images=2000,
    valid_images=1000,
    validate_every=None,
    threads=1,
    network={"channels": 8, "cells": 1},
)
"""The rate of 0.1 and the decay of 5e-4 are those of NAS-Bench-201, for 200 epochs of batch 256."""
DATA = Cifar10(pool=4)
RETRAININGS = 3


def spaces() -> dict[str, SearchSpace]:
    cells = NASBench201(8, 1)
    tune = {"lr": Float(0.01, 1.0, log=True), "weight_decay": Float(1e-5, 1e-2, log=True)}
    return {"architecture alone": cells, "with lr and weight decay": TunedSpace(cells, tune)}


def winner(store: SQLiteStore, name: str, space: SearchSpace, seed: int, trials: int) -> Trial:
    """The best trial of a search."""
    result = search(
        space,
        partial(RegularizedEvolution, population_size=8, sample_size=3),
        TrainingEvaluator(space, DATA, RECIPE),
        budget=Budget(trials=trials),
        seed=seed,
        device="cpu",
        store=store,
        run=f"{name}, {trials} trials, seed {seed}",
    )
    assert result.best is not None
    return result.best


def tested(store: SQLiteStore, name: str, space: SearchSpace, best: Trial) -> float:
    """Mean test accuracy of a winner, trained as it was found."""
    architecture = best.proposal.architecture
    job = TrainingJob(
        space,
        name,
        architecture,
        DATA,
        retraining_recipe(space, architecture, RECIPE, searched=RECIPE.epochs),
        validate=True,
        device="cpu",
    )
    accuracies = []
    for seed in range(RETRAININGS):
        retraining, _ = retrain(replace(job, seed=seed), store, lambda digits: HERE / "retrained" / digits)
        accuracies.append(retraining.metrics["test_accuracy"])
    return statistics.fmean(accuracies)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--trials", type=int, default=24)
    arguments = parser.parse_args()
    store = SQLiteStore(f"sqlite:///{HERE}/together.db")
    rows = []
    for seed in range(arguments.seeds):
        for name, space in spaces().items():
            best = winner(store, name, space, seed, arguments.trials)
            accuracy = tested(store, name, space, best)
            rows.append((seed, name, best.metrics["valid_accuracy"], accuracy, best.text))
            print(*rows[-1], flush=True)
    with (HERE / "together.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [("seed", "searched", "valid_accuracy", "test_accuracy", "winner"), *rows]
        )
    scores = {name: np.asarray([row[3] for row in rows if row[1] == name]) for name in spaces()}
    for name, values in scores.items():
        print(f"{name}: test accuracy {values.mean():.4f} ± {values.std(ddof=1):.4f} (n = {len(values)})")
    alone, both = scores.values()
    difference = both - alone
    error = difference.std(ddof=1) / len(difference) ** 0.5
    print(
        f"difference {difference.mean():+.4f} ± {error:.4f} (standard error), better in {(difference > 0).sum()} of "
        f"{len(difference)}, Wilcoxon p = {wilcoxon(difference).pvalue:.2g}"
    )


if __name__ == "__main__":
    main()
