"""Branin and Hartmann-6 at even steps, and tables of scores, as spaces whose best architecture is known."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from nas.config.settings import compose
from nas.core import Architecture
from nas.space import Float
from nas.space.base import SearchSpace
from nas.space.notation import parse

BRANIN_STEPS, HARTMANN_STEPS = 51, 21


@dataclass(frozen=True)
class Problem:
    """A space with known scores.

    Args:
        name: Name of the files.
        space: Space that is searched.
        regret: Difference to the best score of the space, 0 for the best architecture.
        unit: What the regret is measured in.
    """

    name: str
    space: SearchSpace
    regret: Callable[[Architecture], float]
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
    return Problem("branin", space, lambda a: float(value(*space.options(a)) - lowest), unit="value")


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

    return Problem("hartmann6", space, regret, unit="value")


def tabulated(file: Path, words: Sequence[str], column: str) -> Problem:
    """The architectures of a space with the scores of a table, higher is better.

    Args:
        file: CSV, or CSV.gz, that `nas tabulate` wrote.
        words: Settings of the space as `nas tabulate` was given them, such as `space=fixed` and `tune.lr=…`.
        column: Column of the scores.
    """
    space = compose("search", words).make("space")
    with gzip.open(file, "rt", newline="") if file.suffix == ".gz" else file.open(newline="") as lines:
        scores = {space.to_text(parse(space, row["arch"])): float(row[column]) for row in csv.DictReader(lines)}
    missing = [text for text in map(space.to_text, space.architectures()) if text not in scores]
    if missing:
        raise SystemExit(f"{file} lacks {len(missing)} architectures of the space, such as {missing[0]}")
    best = max(scores.values())
    name = file.name.partition(".")[0]
    return Problem(name, space, lambda architecture: best - scores[space.to_text(architecture)], column)
