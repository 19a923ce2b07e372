"""Labels that a cross-validated head doubts, by confident learning.

Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021,
https://arxiv.org/abs/1911.00068: a picture with label i is counted as j if its out-of-fold probability of j reaches the
threshold of j, the mean probability of j among the pictures with that label (eq. 2); of several such j it is the most
probable one. The pictures off the diagonal are ranked by normalised margin (section 3.2).

Differs from the paper: where classes look alike, a weak head puts 5 to 15 % of correct labels off the diagonal
(CIFAR-10, 20 to 200 pictures a class), so the share of wrong labels is taken from the fifth of the pictures of whose
class the head is surest, and nothing is reported unless that share is significantly above 2 % and above a quarter of
the head's own errors, nor if the head has hardly learned anything. cleanlab 2.9 implements the paper (Apache licence,
well kept); it is not used, since it reports those correct labels too, and adds pandas for the 20 lines below.
"""

from __future__ import annotations

import numpy as np

from nas.analysis.accuracy import wilson
from nas.formatting import plural
from nas.inspection.features import Features
from nas.inspection.finding import Finding, percent
from nas.inspection.head import balanced_answers, folds_of, mean_recall, out_of_fold
from nas.inspection.subject import Subject

SUREST = 5
"""One in this many pictures, those that the head is surest of, estimates the share of wrong labels."""
MIN_SHARE, MIN_OF_ERRORS = 0.02, 0.25
"""Least share of wrong labels, and least part of it in the share of the head's errors, to report any."""
MIN_SKILL = 0.5
"""Least part of the gap between chance and 1 that the head closes."""
MIN_IMAGES = 50


def find_doubtful_labels(subject: Subject, features: Features) -> list[Finding]:
    positions = features.positions
    labels = subject.labels[positions]
    if len(positions) < MIN_IMAGES or (np.bincount(labels, minlength=2) > 1).sum() < 2:
        return []
    folds = folds_of(labels, subject.units[positions])
    probabilities = out_of_fold(features.of_head(np.arange(len(positions))), labels, folds, len(subject.class_names))
    doubted = confident_errors(probabilities, labels)
    present = len(np.unique(labels))
    skill = (mean_recall(balanced_answers(probabilities, labels), labels) * present - 1) / (present - 1)
    if skill < MIN_SKILL or not len(doubted):
        return []
    sure = np.argsort(-probabilities.max(1), kind="stable")[: max(len(labels) // SUREST, 1)]
    answers = probabilities.argmax(1)
    share = float((answers[sure] != labels[sure]).mean())
    low = wilson(share, len(sure)).low
    if low <= max(MIN_SHARE, MIN_OF_ERRORS * float((answers != labels).mean())):
        return []
    worst = int(doubted[0])
    return [
        Finding(
            "doubtful_label",
            "note",
            f"about {percent(share)} of the labels look wrong, and {plural(len(doubted), 'picture')} should be looked "
            f"at: the first is labelled {subject.class_names[labels[worst]]!r} and looks like "
            f"{subject.class_names[answers[worst]]!r}",
            len(doubted),
            subject.files(positions[doubted]),
            "Look at them from the top, and move those that are in the wrong class; further down most are right.",
        )
    ]


def confident_errors(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Positions of the pictures off the diagonal of the confident joint, the most doubtful first.

    Args:
        probabilities: (N, K), out of fold.
        labels: (N,) given labels.
    """
    every = np.arange(len(labels))
    sums, counts = np.zeros(probabilities.shape[1]), np.bincount(labels, minlength=probabilities.shape[1])
    np.add.at(sums, labels, probabilities[every, labels])
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = probabilities >= thresholds
    counted = np.where(confident, probabilities, -1.0).argmax(1)
    off = np.flatnonzero(confident.any(1) & (counted != labels))
    others = probabilities.copy()
    others[every, labels] = -1.0
    margin = probabilities[every, labels] - others.max(1)
    return off[np.argsort(margin[off], kind="stable")]
