"""The 1,797 handwritten digits that ship with scikit-learn: 1x8x8 pixels, 10 classes, no download.

From the UCI "Optical Recognition of Handwritten Digits" data (Alpaydin & Kaynak, 1998); scikit-learn holds its test
part only, so a fixed fifth of it serves as the test set here.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from nas.core import Task
from nas.data.base import DataSet
from nas.data.images import Images, stratified

TEST_SHARE = 0.2


class Digits(DataSet):
    """Handwritten digits; a search on them takes seconds and says little about larger images."""

    name = "digits"
    task = Task(channels=1, height=8, width=8, classes=10)

    def __init__(self, valid_fraction: float = 0.25, split_seed: int = 0) -> None:
        super().__init__(valid_fraction, split_seed)

    def read_train(self) -> Images:
        return _read()[0]

    def read_test(self) -> Images:
        return _read()[1]


def _read() -> tuple[Images, Images]:
    values, labels = _shipped()
    pixels = np.rint(values * (255 / 16)).astype(np.uint8)[:, None]
    train, test = stratified(labels, 1.0 - TEST_SHARE, "digits test")
    scaled = pixels[train] / 255
    images = Images(torch.from_numpy(pixels), torch.from_numpy(labels), (float(scaled.mean()),), (float(scaled.std()),))
    return images.take(torch.from_numpy(train)), images.take(torch.from_numpy(test))


def _shipped() -> tuple[np.ndarray, np.ndarray]:
    """Pixels of 0-16 and labels, read from scikit-learn's file: importing it and scipy would take a second or more."""
    library = find_spec("sklearn")
    path = Path(library.origin).parent / "datasets" / "data" / "digits.csv.gz" if library and library.origin else None
    if path is not None and path.is_file():
        rows = np.loadtxt(path, delimiter=",")
        return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target.astype(np.int64)
