"""A linear head on frozen features, cross-validated: what each picture's label looks like to a head that never saw it.

Features are standardised and rotated to their first principal components, for which no label is used; the head is
scikit-learn's logistic regression. Its strength of regularisation was chosen once, on CIFAR-10 and digits with 10 to
200 pictures of each class.
"""

from __future__ import annotations

import warnings

import numpy as np

FOLDS = 5
DIMENSIONS = 128
REGULARISATION = 3.0
"""C of the logistic regression, for features whose squares add up to about 1."""
ITERATIONS, TOLERANCE = 50, 1e-3


def reduced(features: np.ndarray) -> np.ndarray:
    """Standardised features, in the directions in which they vary most: float32 (N, at most `DIMENSIONS`).

    Args:
        features: (N, F).
    """
    values = features.astype(np.float64)
    values = (values - values.mean(0)) / np.maximum(values.std(0), 1e-6) / np.sqrt(values.shape[1])
    result: np.ndarray
    if min(values.shape) <= DIMENSIONS:
        result = values.astype(np.float32)
        return result
    from scipy.linalg import eigh

    wide = values.shape[0] < values.shape[1]
    products = values @ values.T if wide else values.T @ values
    squares, kept = eigh(products, subset_by_index=(len(products) - DIMENSIONS, len(products) - 1), check_finite=False)
    rotated = kept * np.sqrt(np.maximum(squares, 0.0)) if wide else values @ kept
    result = rotated.astype(np.float32)
    return result


def folds_of(labels: np.ndarray, units: np.ndarray, seed: int = 0) -> np.ndarray:
    """Fold of each picture, 0 to `FOLDS` - 1: classes in equal shares, and whole units.

    Args:
        labels: (N,) classes.
        units: (N,) unit of each picture, such as a duplicate or a group.
        seed: Selects one of the possible divisions.
    """
    rng = np.random.default_rng(seed)
    _, first, of = np.unique(units, return_index=True, return_inverse=True)
    unit_labels = labels[first]
    fold = np.zeros(len(first), dtype=np.int64)
    start = 0
    for label in np.unique(unit_labels):
        members = rng.permutation(np.flatnonzero(unit_labels == label))
        fold[members] = (start + np.arange(len(members))) % FOLDS
        start += len(members)
    result: np.ndarray = fold[of]
    return result


def out_of_fold(values: np.ndarray, labels: np.ndarray, folds: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities of each picture's classes by a head that was trained without its fold: float64 (N, classes).

    Args:
        values: (N, F) of `reduced`.
        labels: (N,) classes.
        folds: (N,) of `folds_of`.
        classes: Number of classes; those that a training part lacks get 0.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    probabilities = np.zeros((len(labels), classes))
    # products as small as these are slower on several threads; an early stop is part of the regularisation
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for fold in np.unique(folds):
            held = folds == fold
            seen = np.unique(labels[~held])
            if len(seen) < 2:
                probabilities[np.ix_(held, seen)] = 1.0
                continue
            head = LogisticRegression(C=REGULARISATION, max_iter=ITERATIONS, tol=TOLERANCE)
            head.fit(values[~held], labels[~held])
            probabilities[np.ix_(held, head.classes_)] = head.predict_proba(values[held])
    return probabilities


def balanced_answers(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) answers as if all classes were equally frequent: probabilities are divided by the share of their class."""
    shares = np.bincount(labels, minlength=probabilities.shape[1]) / len(labels)
    answers: np.ndarray = (probabilities / np.maximum(shares, 1e-9)).argmax(1)
    return answers


def mean_recall(answers: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers in each class, averaged over the classes that occur."""
    return float(np.mean([(answers[labels == label] == label).mean() for label in np.unique(labels)]))
