"""Classes that are told by something beside what the pictures show: their size, format, mode, EXIF turn or border.

A small decision tree sees one of these facts and nothing else, and is cross-validated. A class is told if the tree
finds its pictures and leaves the others (mean of both shares at least 0.9, for the border 0.95), which no shuffle of
the labels comes near. Borders may differ for good reasons, as the sky behind aeroplanes does: a border counts only if
the same numbers about the inside of the pictures tell the class much less well, and not in tiny pictures, of which it
is half.
"""

from __future__ import annotations

import numpy as np

from nas.inspection.finding import Finding, percent
from nas.inspection.head import folds_of
from nas.inspection.subject import MIN_DETAILED_SIDE, Subject
from nas.pictures.splitting import content_ranks, interleaved

MAX_IMAGES = 4000
LEAST_IN_CLASS = 10
"""Pictures of a class below which nothing is said about it."""
TOLD, TOLD_BY_BORDER = 0.9, 0.95
"""Mean of the share of a class that is found and of the share of the others that is left. The border of digits tells
the 4 by 0.90, that of CIFAR-10 no class by more than 0.76."""
ABOVE_SHUFFLES, ABOVE_INSIDE = 0.1, 0.15
"""How much more it must be than with shuffled labels, and than by the inside of the pictures."""
SHUFFLES = 5
INSIDE = 6
"""The inside begins one in this many pixels from the border."""
MIN_LEAF = 3
FACTS = ("size", "format", "mode", "EXIF turn", "border")


def find_leaks(subject: Subject) -> list[Finding]:
    members = subject.readable
    ranks = content_ranks([subject.facts[i].digest for i in members], "leaks")
    members = members[interleaved(subject.labels[members], ranks)][:MAX_IMAGES]
    labels = subject.labels[members]
    counts = np.bincount(labels, minlength=len(subject.class_names))
    if (counts >= LEAST_IN_CLASS).sum() < 1 or (counts > 0).sum() < 2:
        return []
    folds = folds_of(labels, subject.units[members])
    findings = []
    for fact in FACTS:
        values = _values(subject, members, fact)
        if (values == values[0]).all() or (fact == "border" and subject.usual_side < MIN_DETAILED_SIDE):
            continue
        answers = _answers(values, labels, folds, len(counts))
        told = _told(answers, labels, counts, TOLD_BY_BORDER if fact == "border" else TOLD)
        if not told or not _above_shuffles(values, labels, folds, counts, told):
            continue
        if fact == "border":
            inside = _scores(_answers(_inside(subject, members), labels, folds, len(counts)), labels, counts)
            told = {label: score for label, score in told.items() if score >= inside[label] + ABOVE_INSIDE}
        if told:
            findings.append(_finding(subject, labels, answers, fact, told))
    return findings


def _finding(subject: Subject, labels: np.ndarray, answers: np.ndarray, fact: str, told: dict[int, float]) -> Finding:
    accuracy = float((answers == labels).mean())
    chance = float(np.bincount(labels).max() / len(labels))
    ranked = sorted(told, key=lambda label: (-told[label], np.count_nonzero(labels == label)))
    worst = ranked[0]
    found = float((answers[labels == worst] == worst).mean())
    wrong = float((answers[labels != worst] == worst).mean())
    names = ", ".join(repr(subject.class_names[label]) for label in ranked[:5])
    more = f" and {len(ranked) - 5:,} more" if len(ranked) > 5 else ""
    classes = f"class {names}" if len(ranked) == 1 else f"the classes {names}{more}"
    everything = np.isin(subject.labels[subject.readable], [worst])
    return Finding(
        f"label_told_by_{fact.replace(' ', '_').lower()}",
        "problem",
        f"the {fact} alone tells {classes}: a small tree that sees nothing else finds {percent(found)} of "
        f"{subject.class_names[worst]!r} and takes {percent(wrong)} of the others for it; it labels {accuracy:.2f} of "
        f"all right, where guessing gives {chance:.2f}",
        accuracy,
        subject.files(subject.readable[everything]),
        f"Make the {fact} the same for all classes, or take pictures from the same source: a network learns the {fact} "
        "instead of what is shown, and fails on new pictures.",
    )


def _values(subject: Subject, members: np.ndarray, fact: str) -> np.ndarray:
    """Numbers about one fact: (n, numbers)."""
    facts = [subject.facts[position] for position in members]
    if fact == "size":
        return np.array([(one.width, one.height, one.width / one.height) for one in facts])
    if fact == "border":
        return np.array([one.border for one in facts])
    name = {"EXIF turn": "orientation"}.get(fact, fact)
    texts = np.array([str(getattr(one, name)) for one in facts])
    columns: np.ndarray = (texts[:, None] == np.unique(texts)).astype(float)
    return columns


def _inside(subject: Subject, members: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each channel of the inside of the pictures, as of their border: (n, 2 C)."""
    side = subject.pixels.shape[-1]
    edge = max(side // INSIDE, 1)
    rows = subject.rows[members]
    result = []
    for start in range(0, len(rows), 500):
        inner = subject.pixels[rows[start : start + 500]][:, :, edge : side - edge, edge : side - edge]
        inner = inner.reshape(*inner.shape[:2], -1).astype(np.float32)
        result.append(np.concatenate((inner.mean(2), inner.std(2)), axis=1))
    return np.concatenate(result)


def _answers(values: np.ndarray, labels: np.ndarray, folds: np.ndarray, classes: int) -> np.ndarray:
    """Labels by a tree that was trained without the fold of each picture: (n,)."""
    from sklearn.tree import DecisionTreeClassifier

    answers = np.zeros(len(labels), dtype=np.int64)
    for fold in np.unique(folds):
        held = folds == fold
        tree = DecisionTreeClassifier(
            max_leaf_nodes=2 * classes + 4, min_samples_leaf=MIN_LEAF, class_weight="balanced", random_state=0
        )
        answers[held] = tree.fit(values[~held], labels[~held]).predict(values[held])
    return answers


def _scores(answers: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(classes,) mean of the share of a class that is found and of the share of the others that is left; 0: too few."""
    scores = np.zeros(len(counts))
    for label in np.flatnonzero(counts >= LEAST_IN_CLASS):
        own = labels == label
        scores[label] = ((answers[own] == label).mean() + (answers[~own] != label).mean()) / 2
    return scores


def _told(answers: np.ndarray, labels: np.ndarray, counts: np.ndarray, least: float) -> dict[int, float]:
    scores = _scores(answers, labels, counts)
    return {int(label): float(scores[label]) for label in np.flatnonzero(scores >= least)}


def _above_shuffles(
    values: np.ndarray, labels: np.ndarray, folds: np.ndarray, counts: np.ndarray, told: dict[int, float]
) -> bool:
    rng = np.random.default_rng(0)
    highest = 0.0
    for _ in range(SHUFFLES):
        shuffled = labels.copy()
        for fold in np.unique(folds):
            members = np.flatnonzero(folds == fold)
            shuffled[members] = shuffled[rng.permutation(members)]
        highest = max(highest, float(_scores(_answers(values, shuffled, folds, len(counts)), shuffled, counts).max()))
    return max(told.values()) >= highest + ABOVE_SHUFFLES
