"""What `bayesian` and `optuna` need themselves: time per proposal at 500 trials, and of a resume by replay of 500.

    python experiments/hyperparameters/own_time.py

Scores are made up and cost nothing. Writes own_time.csv beside this file. A proposal is timed in a search that goes on
from 500 to 550 trials, estimates of the kernel included; a resume from the first `tell` to the next proposal. Times are
those of one core, which other programs on the machine do not change.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np
from problems import hartmann6

from nas.config.settings import compose
from nas.core import Objective, Proposal, Trial
from nas.engine.randomness import TrialRandom
from nas.space.base import SearchSpace

SPACES = ("hartmann6", "nasbench201", "darts")
STRATEGIES = ("bayesian", "optuna")
TOLD, MORE = 500, 50
OUT = Path(__file__).with_suffix(".csv")


def scored(space: SearchSpace, number: int, proposal: Proposal, rng: np.random.Generator) -> Trial:
    """A trial whose score rises with the places of its options, and is noisy."""
    places = np.asarray(proposal.architecture) / np.maximum(np.asarray(space.sizes) - 1, 1)
    score = float(np.sin(3 * places).mean() + 0.05 * rng.standard_normal())
    return Trial(number, proposal, "", "", 0, "completed", {"valid_accuracy": score}, 0.0)


def measured(strategy: str, space: SearchSpace) -> tuple[float, float, float]:
    """Median and mean milliseconds of a proposal, and seconds of a resume."""
    make = compose("search", [f"strategy={strategy}"]).partial("strategy")
    random, scores = TrialRandom(0), np.random.default_rng(0)
    searching = make(space=space, objective=Objective())
    searching.reset(random.start())
    trials: list[Trial] = []
    times: list[float] = []
    for number in range(TOLD + MORE):
        start = time.process_time()
        proposal = searching.ask(random.trial(number), ())
        asked = time.process_time() - start
        trials.append(scored(space, number, proposal, scores))
        start = time.process_time()
        searching.tell(trials[-1])
        times.append(asked + time.process_time() - start)
    resumed = make(space=space, objective=Objective())
    resumed.reset(random.start())
    start = time.process_time()
    for trial in trials[:TOLD]:
        resumed.tell(trial)
    again = resumed.ask(random.trial(TOLD), ())
    seconds = time.process_time() - start
    if again != trials[TOLD].proposal:
        raise SystemExit(f"strategy={strategy}: the resumed search proposes {again}, not {trials[TOLD].proposal}")
    late = 1000 * np.asarray(times[TOLD:])
    return float(np.median(late)), float(late.mean()), seconds


def main() -> None:
    with OUT.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["space", "strategy", "median_ms_a_proposal", "mean_ms_a_proposal", "resume_seconds"])
        for name in SPACES:
            space = hartmann6().space if name == "hartmann6" else compose("search", [f"space={name}"]).make("space")
            for strategy in STRATEGIES:
                median, mean, seconds = measured(strategy, space)
                rows.writerow([name, strategy, f"{median:.1f}", f"{mean:.1f}", f"{seconds:.2f}"])
                print(
                    f"{name} {strategy}: {median:.1f} ms (mean {mean:.1f}) a proposal, resume {seconds:.2f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
