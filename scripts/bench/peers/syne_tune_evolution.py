"""Syne Tune's regularized evolution (`REA`) on the table.

Its scheduler is called directly, as `AskTellScheduler` does for a user's own loop, and every trial is stored with its
result: 0.09 ms a trial. The simulator backend with `Tuner`, which Syne Tune's documentation uses for tables,
takes 1.6 ms, since it simulates clocks and workers and writes a table of results; `AskTellScheduler` takes 5% more for
its two time stamps. Only the searcher, without a scheduler, would take 0.07 ms and store only a population.
"""

from __future__ import annotations

import time
from datetime import datetime

import numpy as np
import syne_tune
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice
from syne_tune.optimizer.baselines import REA
from table import EDGES, OPERATIONS, POPULATION, SAMPLE, arch_str, arguments, report


def main() -> None:
    accuracies, trials, seed = arguments()
    np.random.seed(seed)  # the first population is drawn from the global state, not from `random_seed`
    scheduler = REA(
        {edge: choice(OPERATIONS) for edge in EDGES},
        metric="accuracy",
        do_minimize=False,
        random_seed=seed,
        population_size=POPULATION,
        sample_size=SAMPLE,
    )
    created = datetime.now()
    history = []
    start = time.perf_counter()
    for number in range(trials):
        trial = Trial(number, scheduler.suggest().config, created)
        result = {"accuracy": accuracies[arch_str([trial.config[edge] for edge in EDGES])]}
        scheduler.on_trial_complete(trial, result)
        history.append((trial, result))
    seconds = time.perf_counter() - start
    report(len(history), seconds, syne_tune.__version__, max(result["accuracy"] for _, result in history))


if __name__ == "__main__":
    main()
