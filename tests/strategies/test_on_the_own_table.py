"""On the table that ships with the package, over paired seeds: each strategy beats random search at equal queries where
it should, and by how much.

"Should" is what the methods promise: evolution once its population of 10 stands, local search once it has seen the
neighbourhood of its first cell (24 queries), policy gradients once they have had enough rewards for their step size.
"""

from functools import cache

import numpy as np
import pytest
import scipy

from nas import Budget, search
from nas.settings import settings

SEEDS = 60


@cache
def parts():
    made = settings("search", ["evaluator=table", "table=cifar10_8x8"])
    space = made.make("space")
    evaluator = made.make("evaluator", space=space)
    evaluator.prepare("cpu")
    return space, evaluator


@cache
def incumbents(strategy, words=(), seeds=SEEDS, queries=300):
    """Best search metric so far (%), and test accuracy (%) of its cell: each (seeds, queries)."""
    space, evaluator = parts()
    make = settings("search", [f"strategy={strategy}", *words]).partial("strategy")
    best, tested = np.empty((seeds, queries)), np.empty((seeds, queries))
    for seed in range(seeds):
        trials = search(space, make, evaluator, budget=Budget(trials=queries), seed=seed).trials
        scores = [trial.metrics["valid_accuracy"] for trial in trials]
        places = np.maximum.accumulate(np.where(scores == np.maximum.accumulate(scores), np.arange(queries), 0))
        best[seed] = 100 * np.asarray(scores)[places]
        accuracy = [evaluator.reported(trials[place].proposal.architecture)["test_accuracy"] for place in places]
        tested[seed] = 100 * np.asarray(accuracy)
    return best, tested


def margin(strategy, queries, words=(), seeds=SEEDS):
    """Mean difference of the search metric to random search's after so many queries (points), and Wilcoxon's p."""
    found = incumbents(strategy, words, seeds)[0][:, queries - 1]
    difference = found - incumbents("random")[0][:seeds, queries - 1]
    return difference.mean(), scipy.stats.wilcoxon(difference).pvalue


@pytest.mark.parametrize(
    ("strategy", "words", "queries", "least"),
    [
        ("regularized_evolution", (), 100, 0.0),
    ],
)
def test_it_is_above_random_search(strategy, words, queries, least):
    mean, p_value = margin(strategy, queries, words)
    assert mean > least
    assert p_value < 0.001
