"""Which decisions of a search space mattered: main effects of a functional ANOVA over a random forest.

Hutter, Hoos & Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014,
https://proceedings.mlr.press/v32/hutter14.html, section 3: a forest is fitted to the trials, the prediction is averaged
over all other decisions, and the variance of what is left is divided by the whole variance of the forest.

Differs from the paper: options are nominal, each with a column of its own, so every leaf is a product of sets of
options and its average is exact; only main effects are computed, and what they leave is called interactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TREES = 24
MAX_TRIALS = 1_500
"""Largest number of trials that the forest is fitted to; of more, a random sample."""
MIN_TRIALS = 20
"""Fewest trials for which anything is said."""
MIN_EXPLAINED = 0.1
"""Share of the variance of left-out trials below which the forest has learnt nothing to report."""


@dataclass(frozen=True)
class Effect:
    """The main effect of one decision.

    Args:
        decision: Name of the decision.
        share: Share of the variance of the forest's predictions, 0 to 1.
        means: Predicted score of each option, averaged over all other decisions; higher is better.
    """

    decision: str
    share: float
    means: tuple[float, ...]


@dataclass(frozen=True)
class Importance:
    """Main effects, the largest first.

    Args:
        trials: Number of trials that the forest was fitted to.
        explained: Share of the variance of trials that a tree did not see (out-of-bag R²); may be negative.
        effects: One for each decision; empty if the forest has learnt too little.
    """

    trials: int
    explained: float
    effects: tuple[Effect, ...]

    @property
    def interactions(self) -> float:
        """Share of the variance that no decision explains by itself, 0 to 1."""
        return max(0.0, 1 - sum(effect.share for effect in self.effects))


def importance(
    decisions: Sequence[str], sizes: Sequence[int], architectures: Sequence[Sequence[int]], scores: Sequence[float]
) -> Importance | None:
    """The main effects of decisions on the score.

    Args:
        decisions: Names of the decisions.
        sizes: Number of options of each.
        architectures: Positions of options, one sequence per trial.
        scores: Score of each trial, higher is better, finite.

    Returns:
        None for fewer trials than `MIN_TRIALS` or twice the decisions, or if all scores are equal.
    """
    options, targets = np.asarray(architectures, dtype=np.intp), np.asarray(scores, dtype=np.float64)
    if len(targets) < max(MIN_TRIALS, 2 * len(sizes)) or not sizes or np.ptp(targets) == 0:
        return None
    if len(targets) > MAX_TRIALS:
        chosen = np.random.default_rng(0).choice(len(targets), MAX_TRIALS, replace=False)
        options, targets = options[chosen], targets[chosen]
    forest = _forest(_columns(options, sizes), targets)
    explained = float(forest.oob_score_)
    if explained < MIN_EXPLAINED:
        return Importance(len(targets), explained, ())
    shares, means = np.zeros(len(sizes)), [np.zeros(size) for size in sizes]
    for tree in forest.estimators_:
        own, marginals = _main_effects(tree.tree_, sizes)
        shares += own / TREES
        for total, marginal in zip(means, marginals, strict=True):
            total += marginal / TREES
    order = np.argsort(-shares, kind="stable")
    effects = (Effect(decisions[index], float(shares[index]), tuple(means[index].tolist())) for index in order)
    return Importance(len(targets), explained, tuple(effects))


def _columns(options: NDArray[np.intp], sizes: Sequence[int]) -> NDArray[np.float32]:
    """(n, total options): 1 where a trial has an option."""
    return np.concatenate(
        [np.eye(size, dtype=np.float32)[options[:, index]] for index, size in enumerate(sizes)], axis=1
    )


def _forest(columns: NDArray[np.float32], targets: NDArray[np.float64]) -> Any:
    import warnings

    from sklearn.ensemble import RandomForestRegressor  # seconds; only reports need it

    forest = RandomForestRegressor(
        n_estimators=TREES, min_samples_leaf=3, max_features=0.7, oob_score=True, random_state=0, n_jobs=1
    )
    with warnings.catch_warnings():  # a trial that every tree has seen has no out-of-bag prediction
        warnings.simplefilter("ignore", UserWarning)
        return forest.fit(columns, targets)


def _main_effects(tree: Any, sizes: Sequence[int]) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Share of the variance, and marginal means, of each decision in one tree."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    boxes, values = [], []
    pending = [(0, np.ones(len(owner), dtype=bool))]
    while pending:
        node, allowed = pending.pop()
        left, right = tree.children_left[node], tree.children_right[node]
        if left < 0:
            boxes.append(allowed)
            values.append(float(tree.value[node].ravel()[0]))
            continue
        column = tree.feature[node]
        without, only = allowed.copy(), allowed.copy()
        without[column] = False  # left: the option's column is 0
        only[starts[owner[column]] : starts[owner[column] + 1]] = False
        only[column] = allowed[column]
        pending += [(left, without), (right, only)]
    leaves, predicted = np.array(boxes), np.array(values)
    fractions = np.stack(
        [leaves[:, starts[index] : starts[index + 1]].mean(axis=1) for index in range(len(sizes))], axis=1
    )
    volumes = fractions.prod(axis=1)
    mean = float(volumes @ predicted)
    variance = float(volumes @ (predicted - mean) ** 2)
    shares, marginals = np.zeros(len(sizes)), []
    for index, size in enumerate(sizes):
        others = np.delete(fractions, index, axis=1).prod(axis=1)
        own = leaves[:, starts[index] : starts[index + 1]]
        marginal = (others * predicted) @ own
        marginals.append(marginal)
        if variance > 0:
            shares[index] = ((marginal - mean) ** 2).sum() / size / variance
    return shares, marginals
