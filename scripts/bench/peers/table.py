"""Shared by the drivers: the table, the space and the printed line. Only the standard library is used.

A driver runs under the interpreter of its peer's environment, where neither this project nor its dependencies exist.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Sequence

EDGES = ("1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2")
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
POPULATION, SAMPLE = 10, 3  # regularized evolution in the NAS-Bench-201 paper
ACCURACY = "c10valid_valid_acc_12"


def arguments() -> tuple[dict[str, float], int, int]:
    """The accuracies by `arch_str`, the trials and the seed, from `TABLE.csv.gz TRIALS SEED`."""
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} TABLE.csv.gz TRIALS SEED")
    path, trials, seed = sys.argv[1:]
    with gzip.open(path, "rt", newline="") as lines:
        accuracies = {row["arch_str"]: float(row[ACCURACY]) for row in csv.DictReader(lines)}
    return accuracies, int(trials), int(seed)


def arch_str(operations: Sequence[str]) -> str:
    """The official string of six operations in the order of `EDGES`."""
    a, b, c, d, e, f = operations
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def report(trials: int, seconds: float, version: str, best: float) -> None:
    print(json.dumps({"trials": trials, "seconds": seconds, "version": version, "best": best}))
