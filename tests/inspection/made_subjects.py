"""Subjects that are made up, for tests that need no files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nas.inspection import Features, Subject
from nas.pictures.facts import PictureFacts

PLAIN = PictureFacts(None, 1000, 32, 32, "RGB", "PNG", 1, "", 0, 0.5, 0.2, 500.0, (0.5,) * 3 + (0.1,) * 3, False)


def made(labels: np.ndarray, facts: list[dict[str, Any]] | None = None, **more: Any) -> Subject:
    """A subject with these labels, of different pictures without a fault; `facts` says what differs of each."""
    count, classes = len(labels), int(max(labels)) + 1
    rng = np.random.default_rng(0)
    changes = facts or [{} for _ in range(count)]
    values: dict[str, Any] = {
        "names": tuple(f"{'abcdefghij'[label]}/{number:03d}.png" for number, label in enumerate(labels)),
        "labels": np.asarray(labels),
        "class_names": tuple("abcdefghij"[:classes]),
        "parts": np.full(count, "", dtype="U5"),
        "stated": np.full(count, "", dtype="U5"),
        "facts": tuple(replace(PLAIN, **{"digest": f"{number:016x}", **one}) for number, one in enumerate(changes)),
        "pixels": rng.integers(0, 256, (count, 3, 16, 16), dtype=np.uint8),
        "rows": np.arange(count),
        "groups": (None,) * count,
        "total": count,
    }
    return Subject(**{**values, **more})


def telling(labels: np.ndarray, strength: float, seed: int = 0) -> Features:
    """Features of all pictures: noise of 20 numbers, of which the first ones are raised where the label is theirs."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(labels), 20))
    values[np.arange(len(labels)), labels] += strength
    return Features(np.arange(len(labels)), values.astype(np.float32), None, "simple", None, 0.0)
