"""The predictions of a fit with small copies of the pictures, for its report."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from nas.data.base import DataSet
from nas.data.image_folder import ImageFolder
from nas.data.images import Images
from nas.errors import UserError
from nas.files import atomic_write

SIDE = 64
"""Largest side of a small copy."""
CHUNK = 256
"""Images in memory as numbers with a fraction at a time."""
MAX_COPIES = 10_000
"""Images up to which copies are kept."""


def test_images(data: DataSet) -> Images:
    """The test images, which the final trainings have been tested on; nothing is chosen by them."""
    return data.read_test()


def test_count(data: DataSet) -> int:
    """Number of test images."""
    files = test_files(data)
    return len(data.read_test()) if files is None else len(files)


def test_files(data: DataSet) -> list[str] | None:
    """Files of the test images in their order, relative to the folder; None if the data set has no files."""
    if not isinstance(data, ImageFolder):
        return None
    return [data.listing.pictures[position].file for position in data.parts["test"]]


def digest_of(data: DataSet) -> str | None:
    """16 hexadecimal digits over the test pictures, which the hash of a split leaves out; None without files."""
    files = test_files(data)
    if files is None:
        return None
    assert isinstance(data, ImageFolder)
    digest = hashlib.blake2b(digest_size=8)
    for position in data.parts["test"]:
        digest.update(data.cache.facts[position].digest.encode())
    return digest.hexdigest()


def write_predictions(  # noqa: PLR0917 (in the order of the file)
    path: Path,
    test: Images,
    files: Sequence[str] | None,
    probabilities: np.ndarray,
    baseline_correct: np.ndarray | None,
    valid: Images,
    valid_probabilities: np.ndarray,
) -> None:
    """Write what a winner says of each test image and validation image.

    Args:
        path: File.
        test: Test images.
        files: Their files, if they have any.
        probabilities: (N, classes) of the test images.
        baseline_correct: (N,) whether the baseline labels each correctly; None: the winner is the baseline.
        valid: Validation images.
        valid_probabilities: (M, classes) by a training without them.

    Raises:
        UserError: It cannot be written.
    """
    arrays: dict[str, Any] = {
        "test_files": np.array(files or [], dtype=str),
        "test_labels": test.labels.numpy(),
        "test_probabilities": probabilities.astype(np.float32),
        "valid_labels": valid.labels.numpy(),
        "valid_probabilities": valid_probabilities.astype(np.float32),
    }
    if len(test) <= MAX_COPIES:
        arrays["test_thumbnails"] = _small(test)
    if baseline_correct is not None:
        arrays["baseline_correct"] = baseline_correct
    try:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}); free up disk space, or set dir="
        ) from None


def _small(images: Images) -> np.ndarray:
    """uint8 (N, s, s, C), s at most `SIDE`."""
    pixels = images.pixels
    if pixels.shape[-1] > SIDE:
        parts = (
            F.interpolate(part.float(), size=(SIDE, SIDE), mode="bilinear", antialias=True)
            for part in torch.split(pixels, CHUNK)
        )
        pixels = torch.cat([part.round().byte() for part in parts])
    small: np.ndarray = pixels.permute(0, 2, 3, 1).numpy()
    return small
