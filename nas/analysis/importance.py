"""Which decisions of a search space mattered: main effects of a functional ANOVA over a random forest.

Hutter, Hoos & Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014,
https://proceedings.mlr.press/v32/hutter14.html, section 3: a forest is fitted to the trials, the prediction is averaged
over all other decisions, and the variance of what is left is divided by the whole variance of the forest.

Differs from the paper: options are nominal, each with a column of its own, so every leaf is a product of sets of
options and its average is exact; only main effects are computed, and what they leave is called interactions. The forest
(Breiman, "Random Forests", Machine Learning 45, 2001) is grown here: columns of zeros and ones need no thresholds, and
to import scikit-learn would take longer than all the rest of a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

TREES = 16
MIN_LEAF = 4
"""Fewest trials of a leaf."""
TRIED_COLUMNS = 0.7
"""Share of the columns that a split chooses from."""
MAX_TRIALS = 1_000
"""Largest number of trials that the forest is fitted to; of more, a random sample."""
MIN_TRIALS = 20
"""Fewest trials for which anything is said."""
MIN_EXPLAINED = 0.1
"""Share of the variance of left-out trials below which the forest has learnt nothing to report."""


Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Tree:
    """The leaves of a tree.

    Args:
        boxes: (leaves, columns), whether a leaf allows an option.
        values: (leaves,), predicted scores.
        unseen: Trials that it was not grown from.
        predicted: Its prediction of each of them.
    """

    boxes: NDArray[np.bool_]
    values: Array
    unseen: NDArray[np.intp]
    predicted: Array


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
    options, scored = np.asarray(architectures, dtype=np.intp), np.asarray(scores, dtype=np.float64)
    if len(scored) < max(MIN_TRIALS, 2 * len(sizes)) or not sizes or np.ptp(scored) == 0:
        return None
    rng = np.random.default_rng(0)
    if len(scored) > MAX_TRIALS:
        chosen = rng.choice(len(scored), MAX_TRIALS, replace=False)
        options, scored = options[chosen], scored[chosen]
    columns = np.concatenate([np.eye(size)[options[:, index]] for index, size in enumerate(sizes)], axis=1)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    forest = [_grown(columns, scored, owner, rng) for _ in range(TREES)]
    explained = _explained(forest, scored)
    if explained < MIN_EXPLAINED:
        return Importance(len(scored), explained, ())
    shares, means = np.zeros(len(sizes)), [np.zeros(size) for size in sizes]
    for tree in forest:
        own, marginals = _main_effects(tree, sizes)
        shares += own / TREES
        means = [mean + marginal / TREES for mean, marginal in zip(means, marginals, strict=True)]
    order = np.argsort(-shares, kind="stable")
    effects = (Effect(decisions[index], float(shares[index]), tuple(means[index].tolist())) for index in order)
    return Importance(len(scored), explained, tuple(effects))


def _grown(columns: Array, scores: Array, owner: NDArray[np.intp], rng: np.random.Generator) -> Tree:
    """A regression tree on a bootstrap sample; a split of a node leaves the least squared error.

    Args:
        columns: (n, columns), 1 where a trial has an option.
        owner: (columns,), decision of each option.
    """
    drawn = rng.integers(len(scores), size=len(scores))
    unseen = np.setdiff1d(np.arange(len(scores)), drawn)
    tried = max(1, round(TRIED_COLUMNS * len(owner)))
    boxes, values, predicted = list[NDArray[np.bool_]](), list[float](), np.zeros(len(scores))
    pending = [(drawn, unseen, np.ones(len(owner), dtype=bool))]
    while pending:
        rows, others, allowed = pending.pop()
        column = _best_split(columns[rows], scores[rows], rng.permutation(len(owner))[:tried])
        if column is None:
            boxes.append(allowed)
            values.append(float(scores[rows].mean()))
            predicted[others] = values[-1]
            continue
        without, only = allowed.copy(), allowed & (owner != owner[column])
        without[column], only[column] = False, True
        for has, box in ((0, without), (1, only)):
            pending.append((rows[columns[rows, column] == has], others[columns[others, column] == has], box))
    return Tree(np.array(boxes), np.array(values), unseen, predicted[unseen])


def _best_split(columns: Array, scores: Array, candidates: NDArray[np.intp]) -> int | None:
    """The column that splits some trials best; None: they are a leaf."""
    count = len(scores)
    if count < 2 * MIN_LEAF:
        return None
    centred = scores - scores.mean()
    with_option = columns[:, candidates].sum(axis=0)
    sums = centred @ columns[:, candidates]  # the sum of the others is its opposite
    possible = (with_option >= MIN_LEAF) & (count - with_option >= MIN_LEAF)
    gains = np.where(possible, sums**2 * count / np.maximum(with_option * (count - with_option), 1), 0.0)
    best = int(gains.argmax())
    return int(candidates[best]) if gains[best] > 1e-12 * max(1.0, float(centred @ centred)) else None


def _explained(forest: Sequence[Tree], scores: Array) -> float:
    """Out-of-bag R²: of each trial, only the trees that did not see it count."""
    total, count = np.zeros(len(scores)), np.zeros(len(scores))
    for tree in forest:
        total[tree.unseen] += tree.predicted
        count[tree.unseen] += 1
    known = count > 0
    errors = scores[known] - total[known] / count[known]
    centred = scores[known] - scores[known].mean()
    return float(1 - errors @ errors / max(float(centred @ centred), 1e-300))


def _main_effects(tree: Tree, sizes: Sequence[int]) -> tuple[Array, list[Array]]:
    """Share of the variance, and mean of each option, of each decision in one tree."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    own = [tree.boxes[:, starts[index] : starts[index + 1]] for index in range(len(sizes))]
    fractions = np.stack([allowed.mean(axis=1) for allowed in own], axis=1)
    volumes = fractions.prod(axis=1)
    mean = float(volumes @ tree.values)
    variance = float(volumes @ (tree.values - mean) ** 2)
    shares, marginals = np.zeros(len(sizes)), list[Array]()
    for index, allowed in enumerate(own):
        others = np.delete(fractions, index, axis=1).prod(axis=1)
        marginals.append((others * tree.values) @ allowed)
        if variance > 0:
            shares[index] = ((marginals[-1] - mean) ** 2).mean() / variance
    return shares, marginals
