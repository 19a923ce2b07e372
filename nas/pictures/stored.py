"""A state of a cache on disk: `pixels.npy`, `facts.npy` and `texts.json`, written once and never changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.pictures.facts import RING, PictureFacts

PIXELS, NUMBERS, TEXTS = "pixels.npy", "facts.npy", "texts.json"
RECORD = np.dtype(
    [
        ("bytes", "<i8"), ("width", "<i4"), ("height", "<i4"), ("orientation", "<i1"), ("digest", "<u8"),
        ("difference_hash", "<u8"), ("brightness", "<f4"), ("contrast", "<f4"), ("sharpness", "<f4"),
        ("border", "<f4", (RING,)), ("grey", "?"), ("time", "<i8"),
    ]
)  # fmt: skip
"""One picture; `time` is that of its last change, in ns."""


@dataclass(frozen=True)
class State:
    """A state of a cache.

    Args:
        folder: Its folder.
        pixels: uint8, (N, C, side, side), memory-mapped.
        facts: One for each file.
        files: Paths relative to the root.
        times: Time of the last change of each file, in ns.
    """

    folder: Path
    pixels: np.ndarray
    facts: tuple[PictureFacts, ...]
    files: Sequence[str]
    times: Sequence[int]


def read_state(folder: Path, count: int | None) -> State | None:
    """A stored state; None if there is none, or it is damaged.

    Args:
        count: Number of its pictures; None: unknown.
    """
    try:
        texts = json.loads((folder / TEXTS).read_bytes())
        numbers = np.load(folder / NUMBERS)
        pixels = np.load(folder / PIXELS, mmap_mode="r")
        errors: dict[str, str] = texts["errors"]
        columns = [texts["modes"], texts["formats"], texts["files"]]
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    sizes = {len(numbers), len(pixels), *map(len, columns)} | ({count} if count is not None else set())
    if len(sizes) > 1 or numbers.dtype != RECORD or pixels.ndim != 4 or pixels.dtype != np.uint8:
        return None
    facts = [
        _facts(errors.get(str(number)), values, mode, kind)
        for number, (values, mode, kind) in enumerate(zip(numbers.tolist(), columns[0], columns[1], strict=True))
    ]
    return State(folder, pixels, tuple(facts), columns[2], numbers["time"].tolist())


def _facts(error: str | None, values: Sequence[Any], mode: str, kind: str) -> PictureFacts:
    size, width, height, orientation, digest, difference, brightness, contrast, sharpness, border, grey, _ = values
    text = f"{digest:016x}" if error is None else ""
    ring = tuple(float(value) for value in border)
    return PictureFacts(
        error, size, width, height, mode, kind, orientation, text, difference, brightness, contrast, sharpness, ring,
        grey,
    )  # fmt: skip


def record_of(facts: PictureFacts, time: int) -> tuple[Any, ...]:
    """The numbers of a picture, in the order of `RECORD`."""
    return (
        facts.bytes, facts.width, facts.height, facts.orientation, int(facts.digest or "0", 16),
        facts.difference_hash, facts.brightness, facts.contrast, facts.sharpness, facts.border, facts.grey, time,
    )  # fmt: skip


def write_facts(folder: Path, facts: Sequence[PictureFacts], files: Sequence[str], times: Sequence[int]) -> None:
    """Write all of a state but its pixels."""
    records = [record_of(one, time) for one, time in zip(facts, times, strict=True)]
    np.save(folder / NUMBERS, np.array(records, dtype=RECORD))
    texts = {
        "files": list(files),
        "modes": [one.mode for one in facts],
        "formats": [one.format for one in facts],
        "errors": {str(number): one.error for number, one in enumerate(facts) if one.error is not None},
    }
    (folder / TEXTS).write_text(json.dumps(texts), encoding="utf-8")
