"""Optuna's durable storages with a random sampler and an objective that does nothing.

    python optuna_storage.py sqlite|journal FILE TRIALS

`RDBStorage` on SQLite and `JournalStorage` with `JournalFileBackend`, both with their default settings: each operation
is synchronised to the disk, and a trial is several (its start, its parameters, its result). `study.optimize` is what
Optuna's documentation shows.
"""

from __future__ import annotations

import sys
import time

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from table import EDGES, OPERATIONS, report


def objective(trial: optuna.Trial) -> float:
    for edge in EDGES:
        trial.suggest_categorical(edge, OPERATIONS)
    return 0.5


def main() -> None:
    kind, path, trials = sys.argv[1:]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = RDBStorage(f"sqlite:///{path}") if kind == "sqlite" else JournalStorage(JournalFileBackend(path))
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    start = time.perf_counter()
    study.optimize(objective, n_trials=int(trials))
    seconds = time.perf_counter() - start
    report(len(study.trials), seconds, optuna.__version__, study.best_value)


if __name__ == "__main__":
    main()
