"""The result of a fit: the winner beside the baseline and the runner-up, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas.analysis.accuracy import newcombe, wilson
from nas.core import Trial
from nas.store.base import Retraining

METHODS = {
    "baseline": "a small standard network that learnt from these pictures only",
    "frozen": "a network that knew other pictures, with a new last layer",
    "finetuned": "a network that knew other pictures, trained further on these",
    "searched": "a searched network that learnt from these pictures only",
}
"""Method -> what it is, for sentences."""
MEANINGFUL = 0.05
"""Level of the test of a difference."""


def about_trial(trial: Trial, method: str) -> dict[str, Any]:
    """What the result says of a trial."""
    return {
        "method": method,
        "trial": trial.number,
        "text": trial.text,
        "valid_accuracy": trial.metrics["valid_accuracy"],
    }


def about_training(trial: Trial, method: str, retraining: Retraining, images: int) -> dict[str, Any]:
    """What the result says of a trial that was trained again and tested.

    Args:
        images: Number of test images.
    """
    accuracy = retraining.metrics["test_accuracy"]
    interval = wilson(accuracy, images)
    return {
        **about_trial(trial, method),
        "test_accuracy": accuracy,
        "test_low": interval.low,
        "test_high": interval.high,
        "test_images": images,
        "folder": retraining.folder,
        "train_seconds": retraining.seconds,
    }


def difference(winner: np.ndarray, baseline: np.ndarray) -> dict[str, Any]:
    """Winner minus baseline on the same test images, with the exact test of McNemar (Psychometrika 12, 1947).

    Only images that one of them labels correctly and the other does not say which is better. Under equal accuracies
    either is right on such an image with probability 1/2.

    Args:
        winner, baseline: (N,) bool, whether each image is labelled correctly.
    """
    from scipy.stats import binomtest

    only_winner, only_baseline = int((winner & ~baseline).sum()), int((~winner & baseline).sum())
    images, discordant = len(winner), only_winner + only_baseline
    low = high = 0.0
    p = 1.0
    if discordant:
        test = binomtest(only_winner, discordant, 0.5)
        share = test.proportion_ci()  # exact, so that the interval excludes 0 where the test does
        low, high = (float(2 * end - 1) * discordant / images for end in (share.low, share.high))
        p = float(test.pvalue)
    return {
        "mean": (only_winner - only_baseline) / images,
        "low": low,
        "high": high,
        "p": p,
        "images": images,
        "only_winner": only_winner,
        "only_baseline": only_baseline,
        "method": "McNemar's exact test on the same test pictures",
    }


def runner_up(trials: Sequence[Trial], winner: Trial, methods: Mapping[int, str], images: int) -> dict[str, Any] | None:
    """The best trial of another architecture, with the interval of the difference on the validation images.

    Args:
        methods: Number of a trial -> its method.
        images: Number of validation images.
    """
    others = [trial for trial in trials if trial.completed and trial.canonical != winner.canonical]
    if not others:
        return None
    best = max(others, key=lambda trial: (trial.metrics["valid_accuracy"], -trial.metrics["valid_loss"]))
    ahead = newcombe(winner.metrics["valid_accuracy"], images, best.metrics["valid_accuracy"], images)
    return {**about_trial(best, methods[best.number]), "low": ahead.low, "high": ahead.high, "valid_images": images}


def sentence(winner: Mapping[str, Any], baseline: Mapping[str, Any] | None, ahead: Mapping[str, Any] | None) -> str:
    """The answer in a few words."""
    what = METHODS[winner["method"]]
    first = (
        f"The best is {what}: it labels {winner['test_accuracy']:.1%} of {winner['test_images']:,} pictures correctly "
        f"that it had never seen (95 % interval {winner['test_low']:.1%} to {winner['test_high']:.1%})."
    )
    if winner["method"] == "baseline":
        return f"{first} It is the baseline itself: nothing else was better."
    if baseline is None or ahead is None:
        return f"{first} The baseline could not be trained, so there is nothing to compare it with."
    second = f"The baseline, {METHODS['baseline']}, reaches {baseline['test_accuracy']:.1%}"
    if ahead["p"] >= MEANINGFUL:
        return f"{first} {second}; the difference is not more than chance ({_p_value(ahead['p'])})."
    if ahead["mean"] < 0:
        return f"{first} {second}, which is better ({_p_value(ahead['p'])}): use the baseline."
    return f"{first} {second}; the difference is more than chance ({_p_value(ahead['p'])})."


def _p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
