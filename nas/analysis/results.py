"""What a comparison knows of one finished search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Step:
    """The moment a search found a better architecture than all before.

    Args:
        query: how many architectures had been evaluated by then, this one included; from 1.
        simulated_seconds: what all of them had cost by then, in the benchmark's own seconds; None where the evaluator
            has no such cost.
        metrics: column -> value of the new incumbent, in the units of the table; never seen by the search itself.
    """

    query: int
    simulated_seconds: float | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RunResult:
    """One search of one strategy with one seed.

    Args:
        strategy: its label in the comparison.
        seed: of the run; runs of equal seed are a pair.
        queries: architectures evaluated, repeated ones included.
        simulated_seconds: their cost in the benchmark's own seconds; None where there is none.
        seconds: wall time of the run.
        architecture: text of the winner, the architecture of the best searched metric.
        steps: every change of the incumbent, first one first; never empty. The last one is the winner's.
        missing: queries that a table of a sample could not answer.
    """

    strategy: str
    seed: int
    queries: int
    simulated_seconds: float | None
    seconds: float
    architecture: str
    steps: Sequence[Step]
    missing: int = 0

    @property
    def metrics(self) -> Mapping[str, float]:
        """Column -> value of the winner."""
        return self.steps[-1].metrics


@dataclass(frozen=True)
class Column:
    """A reported column.

    Args:
        name: as the table has it, such as `c10_test_acc_200`.
        optimum: its best value over the whole space; None where unknown.
        direction: which way is better.
        label: for the axis of a figure, with the unit, such as `CIFAR-10 test accuracy (%)`; the name unless given.
    """

    name: str
    optimum: float | None = None
    direction: Literal["maximize", "minimize"] = "maximize"
    label: str | None = None
