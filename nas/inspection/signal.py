"""Whether the labels can be learned from the pictures at all: a frozen-feature head against shuffled labels.

A linear head on frozen features is cross-validated with the labels as they are, and with labels shuffled within each
fold, which keeps the number of pictures of each class in each fold. Duplicates and groups are in one fold and are
shuffled together. What is compared is the recall averaged over the classes, so that a large class counts once.

The rule: there is a signal if that recall is above that of every shuffle, and 3.5 standard deviations above their mean
(a permutation test; Ojala & Garriga, "Permutation Tests for Studying Classifier Performance", JMLR 2010,
https://jmlr.org/papers/v11/ojala10a.html). The deviation is at least that of independent guesses, since the one of few
shuffles may be small by chance. A signal is weak if it closes less than a quarter of the gap between the shuffles and
1: of two classes, fewer than 63 % are labelled right.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from nas.analysis.accuracy import wilson
from nas.inspection.features import SIGNAL_IMAGES, Features
from nas.inspection.head import balanced_answers, folds_of, mean_recall, out_of_fold
from nas.inspection.subject import Subject

MAX_SHUFFLES, MIN_SHUFFLES = 10, 5
WORK = 200_000
"""Pictures x classes x shuffles: about 4 s on one core."""
DEVIATIONS = 3.5
WEAK = 0.25


@dataclass(frozen=True)
class Signal:
    """Whether there is signal.

    Args:
        verdict: `yes`, `weak` or `none`.
        accuracy: Share of the pictures that the head labels right, out of fold.
        low, high: 95 % interval of it (Wilson).
        chance: Share of the largest class: the accuracy of always answering it.
        shuffled: Accuracy with each of the shuffled labels.
        recall, shuffled_recall: Recall averaged over the classes, and its mean over the shuffles; the verdict compares
            these.
        deviations: Standard deviations between them.
        images: Number of pictures.
        folds: Number of folds.
        features: Name of the backbone, or `simple`.
        seconds: Wall time, features included.
        sentence: The verdict for people, with its numbers.
    """

    verdict: Literal["yes", "weak", "none"]
    accuracy: float
    low: float
    high: float
    chance: float
    shuffled: tuple[float, ...]
    recall: float
    shuffled_recall: float
    deviations: float
    images: int
    folds: int
    features: str
    seconds: float
    sentence: str

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "shuffled": list(self.shuffled)}


def measure_signal(subject: Subject, features: Features, seed: int = 0) -> Signal | None:
    """Measure the signal by at most 2,000 pictures, none of which is in the test part.

    Args:
        subject: Pictures.
        features: Features of some of them.
        seed: Selects folds and shuffles.

    Returns:
        None if there are fewer than two classes of two pictures each, so that nothing can be measured.
    """
    start = time.monotonic()
    kept = np.flatnonzero(subject.parts[features.positions] != "test")[:SIGNAL_IMAGES]
    positions = features.positions[kept]
    labels, units = subject.labels[positions], subject.units[positions]
    if (np.bincount(labels, minlength=2) > 1).sum() < 2:
        return None
    classes = len(subject.class_names)
    values, folds = features.of_head(kept), folds_of(labels, units, seed)
    accuracy, recall = _scores(values, labels, folds, classes)
    rng = np.random.default_rng(seed)
    number = int(np.clip(WORK // (len(labels) * classes), MIN_SHUFFLES, MAX_SHUFFLES))
    shuffles = [_scores(values, _shuffled(labels, units, folds, rng), folds, classes) for _ in range(number)]
    shuffled = tuple(one for one, _ in shuffles)
    recalls = np.array([one for _, one in shuffles])
    deviations = (recall - recalls.mean()) / max(float(recalls.std(ddof=1)), _deviation(labels))
    chance = float(np.bincount(labels).max() / len(labels))
    interval = wilson(accuracy, len(labels))
    low, high = interval.low, interval.high
    verdict: Literal["yes", "weak", "none"]
    if deviations < DEVIATIONS or recall <= recalls.max():
        verdict = "none"
    else:
        verdict = "weak" if (recall - recalls.mean()) / (1 - recalls.mean()) < WEAK else "yes"
    return Signal(
        verdict=verdict,
        accuracy=accuracy,
        low=low,
        high=high,
        chance=chance,
        shuffled=shuffled,
        recall=recall,
        shuffled_recall=float(recalls.mean()),
        deviations=float(deviations),
        images=len(labels),
        folds=len(np.unique(folds)),
        features=features.source,
        seconds=features.seconds + time.monotonic() - start,
        sentence=_sentence(verdict, accuracy, chance, shuffled, len(labels)),
    )


def _scores(values: np.ndarray, labels: np.ndarray, folds: np.ndarray, classes: int) -> tuple[float, float]:
    """Accuracy and mean recall, out of fold."""
    probabilities = out_of_fold(values, labels, folds, classes)
    accuracy = float((probabilities.argmax(1) == labels).mean())
    return accuracy, mean_recall(balanced_answers(probabilities, labels), labels)


def _shuffled(labels: np.ndarray, units: np.ndarray, folds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels that units of the same fold have exchanged; a unit of several labels picture by picture."""
    _, first, of = np.unique(units, return_index=True, return_inverse=True)
    mixed = np.unique(of[labels != labels[first][of]])
    single = np.isin(of, mixed)
    blocks = np.where(single, len(first) + np.arange(len(labels)), of)
    _, first, of = np.unique(blocks, return_index=True, return_inverse=True)
    result = labels[first].copy()
    for fold in np.unique(folds[first]):
        members = np.flatnonzero(folds[first] == fold)
        result[members] = result[rng.permutation(members)]
    shuffled: np.ndarray = result[of]
    return shuffled


def _deviation(labels: np.ndarray) -> float:
    """Standard deviation of the mean recall of guesses that are independent."""
    counts = np.unique(labels, return_counts=True)[1]
    classes = len(counts)
    chance = 1 / classes
    return float(np.sqrt((chance * (1 - chance) / counts).sum()) / classes)


def _sentence(verdict: str, accuracy: float, chance: float, shuffled: tuple[float, ...], count: int) -> str:
    interval = wilson(accuracy, count)
    measured = (
        f"a quick classifier labels {accuracy:.2f} of {count:,} pictures correctly ({interval.low:.2f} to "
        f"{interval.high:.2f}); with shuffled labels it is {min(shuffled):.2f} to {max(shuffled):.2f}, and always "
        f"answering the largest class would be right for {chance:.2f}"
    )
    if verdict == "yes":
        return f"Yes, there is signal, and an accuracy of about {accuracy:.2f} can be expected: {measured}."
    if verdict == "weak":
        return f"Weak signal: {measured}. Better pictures, or clearer classes, will help more than a better network."
    return f"No signal was found; stop and look at the labels: {measured}, which may be luck."
