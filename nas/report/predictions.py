"""What a network answered on pictures that it had not seen: confusions, mistakes, and numbers for the slider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.analysis.accuracy import wilson
from nas.report.document import Facts, Picture
from nas.report.thumbnails import thumbnails

MAX_MATRIX = 20
"""Largest number of classes whose confusion matrix is shown; of more, only the most frequent confusions."""
MAX_PAIRS = 12
MAX_SHOWN = 12
"""Largest number of worst mistakes, and of least sure pictures."""
GRID = np.arange(101) / 100
"""Positions of the threshold's slider."""


@dataclass(frozen=True)
class Predictions:
    """Answers on one part of a data set.

    Args:
        part: `test` or `valid`.
        classes: Names of the classes.
        labels: (N,), the right classes.
        probabilities: (N, classes), what the network answered.
        files: Name of each picture; empty for a data set without files.
        thumbnails: (N, side, side, channels) uint8; None: there are none.
        baseline_right: (N,), whether the baseline was right; None: there is no baseline.
    """

    part: str
    classes: Sequence[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    files: Sequence[str] = ()
    thumbnails: NDArray[np.uint8] | None = None
    baseline_right: NDArray[np.bool_] | None = None

    @property
    def predicted(self) -> NDArray[np.intp]:
        best: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return best

    @property
    def confidence(self) -> NDArray[np.float64]:
        best: NDArray[np.float64] = self.probabilities.max(axis=1)
        return best


def read(path: Path, classes: Sequence[str]) -> Predictions | None:
    """The predictions of a record, those on test pictures if there are any.

    Args:
        path: `predictions.npz` of a record.
        classes: Names of the classes; numbers take the place of missing ones.

    Returns:
        None if the file has no pictures.

    Raises:
        OSError, ValueError, KeyError, TypeError: It is damaged.
    """
    with np.load(path, allow_pickle=False) as file:
        part = next((one for one in ("test", "valid") if len(file.get(f"{one}_labels", ()))), None)
        if part is None:
            return None
        labels = np.asarray(file[f"{part}_labels"], dtype=np.int64)
        probabilities = np.asarray(file[f"{part}_probabilities"], dtype=np.float64)
        names = [str(name) for name in file.get(f"{part}_files", ())]
        small = file.get(f"{part}_thumbnails")
        right = file.get("baseline_correct") if part == "test" else None
    if probabilities.ndim != 2 or len(probabilities) != len(labels) or not np.isfinite(probabilities).all():
        raise ValueError("probabilities do not fit the labels")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError("a label has no class")
    if small is not None and (small.ndim != 4 or len(small) != len(labels) or small.dtype != np.uint8):
        raise ValueError("thumbnails do not fit the labels")
    if right is not None and len(right) not in (0, len(labels)):
        raise ValueError("the answers of the baseline do not fit the labels")
    known = [*classes[: probabilities.shape[1]], *map(str, range(len(classes), probabilities.shape[1]))]
    return Predictions(
        part,
        known,
        labels,
        probabilities,
        names if len(names) == len(labels) else [],
        small if small is not None and len(small) else None,
        np.asarray(right, dtype=bool) if right is not None and len(right) else None,
    )


def facts(found: Predictions, budget: int) -> tuple[Facts, dict[str, Picture], dict[str, Any]]:
    """What a report says about predictions, its pictures, and the numbers of the slider.

    Args:
        found: The predictions.
        budget: Most bytes of all pictures.
    """
    count, predicted, confidence = len(found.classes), found.predicted, found.confidence
    right = predicted == found.labels
    matrix = np.zeros((count, count), dtype=np.int64)
    np.add.at(matrix, (found.labels, predicted), 1)
    interval = wilson(float(right.mean()), len(right))
    # the surest wrong answers first, and the least sure answers of all; the file's order decides among equals
    wrong = np.flatnonzero(~right)
    mistakes = wrong[np.argsort(-confidence[wrong], kind="stable")][:MAX_SHOWN]
    unsure = np.argsort(confidence, kind="stable")[:MAX_SHOWN]
    pictures = _pictures(found, [*mistakes, *unsure], budget)
    off = [(int(matrix[i, j]), i, j) for i in range(count) for j in range(count) if i != j and matrix[i, j]]
    off.sort(key=lambda one: (-one[0], one[1], one[2]))
    about = {
        "part": "test" if found.part == "test" else "validation",
        "images": len(right),
        "right": int(right.sum()),
        "accuracy": float(right.mean()),
        "low": interval.low,
        "high": interval.high,
        "classes": [
            {
                "name": name,
                "images": int(matrix[index].sum()),
                "right": int(matrix[index, index]),
                "predicted": int(matrix[:, index].sum()),
                "precision": _share(matrix[index, index], matrix[:, index].sum()),
                "recall": _share(matrix[index, index], matrix[index].sum()),
            }
            for index, name in enumerate(found.classes)
        ],
        "matrix": matrix.tolist() if count <= MAX_MATRIX else None,
        "pairs": [
            {"true": found.classes[i], "predicted": found.classes[j], "count": number}
            for number, i, j in off[:MAX_PAIRS]
        ],
        "more_pairs": max(0, len(off) - MAX_PAIRS),
        "mistakes": [_shown(found, int(index), pictures) for index in mistakes],
        "unsure": [_shown(found, int(index), pictures) for index in unsure],
        "wrong": len(wrong),
        "baseline_right": None if found.baseline_right is None else int(found.baseline_right.sum()),
    }
    bins = np.searchsorted(GRID, confidence, side="right") - 1
    keys, counts = np.unique(np.stack([found.labels, predicted, bins], axis=1), axis=0, return_counts=True)
    scores = {"classes": list(found.classes), "cells": np.column_stack([keys, counts]).tolist()}
    return about, pictures, scores


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None


def _shown(found: Predictions, index: int, pictures: dict[str, Picture]) -> Facts:
    name = f"picture_{index}"
    return {
        "file": found.files[index] if found.files else f"picture {index}",
        "true": found.classes[int(found.labels[index])],
        "predicted": found.classes[int(found.predicted[index])],
        "confidence": float(found.confidence[index]),
        "true_probability": float(found.probabilities[index, found.labels[index]]),
        "picture": name if name in pictures else None,
    }


def _pictures(found: Predictions, indices: Sequence[int], budget: int) -> dict[str, Picture]:
    if found.thumbnails is None:
        return {}
    wanted = {f"picture_{index}": found.thumbnails[index] for index in dict.fromkeys(map(int, indices))}
    alts = {
        f"picture_{index}": (
            f"{found.files[index] if found.files else f'picture {index}'}: {found.classes[int(found.labels[index])]}, "
            f"answered {found.classes[int(found.predicted[index])]}"
        )
        for index in dict.fromkeys(map(int, indices))
    }
    return thumbnails(wanted, alts, budget)
