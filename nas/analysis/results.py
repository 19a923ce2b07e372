"""The finished searches that a comparison compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class IncumbentChange:
    """A change of a search's incumbent.

    Args:
        query: Number of architectures evaluated so far, this one included; at least 1.
        simulated_seconds: Cost of all of them in the benchmark's own seconds; None if the evaluator has no such cost.
        metrics: Column -> value of the new incumbent, in the units of the table; not visible to the search.
    """

    query: int
    simulated_seconds: float | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RunResult:
    """One search of one strategy with one seed.

    Args:
        strategy: Label of the strategy in the comparison.
        seed: Seed of the run; runs of the same seed are paired.
        queries: Number of architectures evaluated, repetitions included.
        simulated_seconds: Cost of the queries in the benchmark's own seconds; None if there is none.
        seconds: Wall time of the run.
        architecture: Text of the winner, the architecture with the best searched metric.
        steps: Every change of the incumbent in order, at least one; the last is the winner.
        missing: Number of queries that the table of a sample could not answer.
    """

    strategy: str
    seed: int
    queries: int
    simulated_seconds: float | None
    seconds: float
    architecture: str
    steps: Sequence[IncumbentChange]
    missing: int = 0

    @property
    def metrics(self) -> Mapping[str, float]:
        """Column -> value of the winner."""
        return self.steps[-1].metrics


@dataclass(frozen=True)
class Column:
    """A reported column.

    Args:
        name: Name in the table, such as `c10_test_acc_200`.
        optimum: Best value over the whole space; None if unknown.
        direction: Whether larger or smaller is better.
        label: Label of a figure's axis, with the unit, such as `CIFAR-10 test accuracy (%)`; the name by default.
    """

    name: str
    optimum: float | None = None
    direction: Literal["maximize", "minimize"] = "maximize"
    label: str | None = None
