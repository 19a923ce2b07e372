"""Idle proposals: the share of mutations and neighbours that leave `canonical` unchanged, for every built-in space.

    python experiments/hyperparameters/idle.py

Of 1,000 random architectures of each space, 5 mutants each, and all neighbours of the first 100. Writes idle.csv beside
this file. Before decisions could be conditional, 64 % of the mutations of NAS-Bench-101 were idle.
"""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

import numpy as np

from nas.config.composition import group_options
from nas.config.settings import compose
from nas.space.base import SearchSpace

SAMPLES, MUTANTS, CENTRES = 1000, 5, 100
WORDS = {"fixed": ("space.arch=DARTS_V2", "tune.lr=float(0.005, 0.5, log)", "tune.optimizer=categorical(sgd, adamw)")}
"""Settings without which a space has nothing to search."""
OUT = Path(__file__).with_suffix(".csv")


def idle(space: SearchSpace) -> tuple[float, float]:
    """Shares of mutations and of neighbours, 0 to 1."""
    rng = np.random.default_rng(0)
    samples = [space.sample(rng) for _ in range(SAMPLES)]
    mutants = [(parent, space.mutate(parent, rng)) for parent in samples for _ in range(MUTANTS)]
    near = [(centre, other) for centre in islice(samples, CENTRES) for other in space.neighbours(centre)]

    def share(pairs: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> float:
        return float(np.mean([space.canonical(one) == space.canonical(other) for one, other in pairs]))

    return share(mutants), share(near)


def main() -> None:
    with OUT.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["space", "idle_mutations_percent", "idle_neighbours_percent"])
        for name in group_options()["space"]:
            space = compose("search", [f"space={name}", *WORDS.get(name, ())]).make("space")
            mutations, neighbours = idle(space)
            rows.writerow([name, f"{100 * mutations:.1f}", f"{100 * neighbours:.1f}"])
            print(f"{name}: {mutations:.1%} of mutations, {neighbours:.1%} of neighbours", flush=True)


if __name__ == "__main__":
    main()
