"""How well shared weights rank architectures: their rank correlation (Kendall's tau) with a table or retrainings.

The truth may be test accuracies, so this runs only after a search.

Weights that were trained before the search still give an architecture the score of its trial, so every trial whose
truth is known counts. Weights that were trained during the search have changed since, and score architectures again,
which takes one pass over the validation images each. Of many architectures they score a sample that is evenly spread
over the ranking of the run. The best ones would not do: a rank correlation over a narrow range is lower.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
import scipy

from nas.core import Architecture
from nas.evaluators.base import SupportsReporting, SupportsSharedWeights, reporter_of
from nas.store.entries import Entry, recipe_key

MIN_ARCHITECTURES = 3
"""Number of architectures below which a rank correlation means nothing."""
MAX_SCORED = 100
"""Largest number of architectures that are scored again."""


@dataclass(frozen=True)
class RankCorrelation:
    """Kendall's tau-b of scores and truth.

    Args:
        against: Name of the truth, such as `c10_test_acc_200`.
        tau: -1 to 1; 1 for equal rankings, 0 for unrelated ones.
        p_value: Two-sided p-value of the hypothesis that tau is 0.
        n: Number of architectures that it was computed from.
        of: Number of architectures of the run whose truth is known. If it is larger than `n`, those are evenly spread
            over the ranking of the run.
    """

    against: str
    tau: float
    p_value: float
    n: int
    of: int


def rank_correlation(
    evaluator: SupportsSharedWeights, entries: Sequence[Entry], device: str, restore: Callable[[], None]
) -> RankCorrelation | None:  # fmt: skip
    """The rank correlation of the scores of a run's architectures with the truth.

    Args:
        evaluator: Evaluator of the run.
        entries: Leaderboard of the run, best first.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        restore: Restores the weights as the run left them; called only if architectures are scored again.

    Returns:
        None if the truth of too few architectures is known, or if all of them have the same score or truth.
    """
    completed = [entry for entry in entries if entry.trial.completed]
    against, truth = _tabulated(reporter_of(evaluator), completed)
    if not truth:
        against, truth = "test accuracy after retraining", _retrained(completed)
    chosen = spread(list(truth), MAX_SCORED) if evaluator.sequential else list(truth)
    expected = [truth[architecture] for architecture in chosen]
    if len(chosen) < MIN_ARCHITECTURES or np.ptp(expected) == 0:
        return None
    if evaluator.sequential:
        restore()
        scores = evaluator.scores(chosen, device)
    else:
        known = {entry.trial.proposal.architecture: entry.score for entry in completed}
        scores = [known[architecture] or 0.0 for architecture in chosen]
    if np.ptp(scores) == 0:
        return None
    kendall = scipy.stats.kendalltau(scores, expected)
    return RankCorrelation(against, float(kendall.statistic), float(kendall.pvalue), len(chosen), len(truth))


def spread(ranked: Sequence[Architecture], most: int) -> list[Architecture]:
    """At most `most` architectures of a ranking, evenly spread over it, including the first and the last."""
    if len(ranked) <= most:
        return list(ranked)
    return [ranked[round(position)] for position in np.linspace(0, len(ranked) - 1, most)]


def _tabulated(
    reporter: SupportsReporting | None, entries: Sequence[Entry]
) -> tuple[str, Mapping[Architecture, float]]:
    """Name of the first reported column, and architecture -> its value, negated if lower values are better."""
    name, truth = "", dict[Architecture, float]()
    if reporter is None:
        return name, truth
    for entry in entries:
        reported = reporter.reported(entry.trial.proposal.architecture)
        if reported:
            name = next(iter(reported))
            sign = 1 if reporter.direction(name) == "maximize" else -1
            truth[entry.trial.proposal.architecture] = sign * reported[name]
    return name, truth


def _retrained(entries: Sequence[Entry]) -> Mapping[Architecture, float]:
    """Architecture -> mean test accuracy of its retrainings with one recipe, the most common one."""
    recipes = Counter(key for entry in entries for key in {recipe_key(test) for test in entry.tested})
    if not recipes:
        return {}
    recipe = recipes.most_common(1)[0][0]
    truth = {}
    for entry in entries:
        tested = [test.metrics["test_accuracy"] for test in entry.tested if recipe_key(test) == recipe]
        if tested:
            truth[entry.trial.proposal.architecture] = mean(tested)
    return truth
