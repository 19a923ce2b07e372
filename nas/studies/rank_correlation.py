"""How well shared weights rank architectures: Kendall's rank correlation with a table, or else with retrainings.

What they are held against may be test accuracies, so this is for after a search.

Weights that were trained before the search score an architecture as they did in its trial, so every trial whose truth
is known takes part. Weights that have learnt since score anew, which takes a pass over the validation images each: of
many architectures a sample takes part, evenly spread over the run's ranking. The best alone would not do: a rank
correlation over a narrow range is lower.
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
from nas.store.leaderboard import Entry, recipe_key

LEAST = 3
"""Architectures below which a rank correlation says nothing."""
MOST = 100
"""Architectures that are scored anew for it."""


@dataclass(frozen=True)
class RankCorrelation:
    """Kendall's tau-b of scores and truth.

    Args:
        against: what the truth is, such as `c10_test_acc_200`.
        tau: -1 to 1; 1 where both rank alike, 0 where one says nothing of the other.
        p_value: two-sided, of tau being 0.
        n: architectures that it was computed over.
        of: architectures of the run whose truth is known; where they are more than `n`, those are evenly spread over
            the run's ranking.
    """

    against: str
    tau: float
    p_value: float
    n: int
    of: int


def rank_correlation(
    evaluator: SupportsSharedWeights, entries: Sequence[Entry], device: str, begin: Callable[[], None]
) -> RankCorrelation | None:  # fmt: skip
    """Hold the scores of a run's architectures against what is known of them.

    Args:
        entries: of the run's leaderboard, best first.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        begin: brings the weights to where the run left them; called only where something is to be scored anew.

    Returns:
        None where too little is known.
    """
    done = [entry for entry in entries if entry.trial.completed]
    against, truth = _tabulated(reporter_of(evaluator), done)
    if not truth:
        against, truth = "test accuracy after retraining", _retrained(done)
    chosen = spread(list(truth), MOST) if evaluator.sequential else list(truth)
    expected = [truth[architecture] for architecture in chosen]
    if len(chosen) < LEAST or np.ptp(expected) == 0:
        return None
    if evaluator.sequential:
        begin()
        scores = evaluator.scores(chosen, device)
    else:
        known = {entry.trial.proposal.architecture: entry.score for entry in done}
        scores = [known[architecture] or 0.0 for architecture in chosen]
    if np.ptp(scores) == 0:
        return None
    found = scipy.stats.kendalltau(scores, expected)
    return RankCorrelation(against, float(found.statistic), float(found.pvalue), len(chosen), len(truth))


def spread(ranked: Sequence[Architecture], most: int) -> list[Architecture]:
    """At most this many of a ranking, evenly spread over it, the first and the last among them."""
    if len(ranked) <= most:
        return list(ranked)
    return [ranked[round(place)] for place in np.linspace(0, len(ranked) - 1, most)]


def _tabulated(
    reporter: SupportsReporting | None, entries: Sequence[Entry]
) -> tuple[str, Mapping[Architecture, float]]:
    """The first column that is reported, as numbers of which higher is better."""
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
    """Mean test accuracies of what was retrained with one recipe, the one that most of it was retrained with."""
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
