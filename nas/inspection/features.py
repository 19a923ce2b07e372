"""Features of as many pictures as a time allows, by a pretrained network or without one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nas.inspection.simple_features import simple_features
from nas.inspection.subject import Subject
from nas.pictures.splitting import content_ranks, interleaved

if TYPE_CHECKING:
    import torch

    from nas.backbones.base import Backbone

SIDES = (96, 128, 160, 192, 224)
"""Sides in pixels at which a pretrained network looks at the pictures."""
MEASURED = 32
"""Pictures by which the speed is measured."""
LEAST = 200
"""Pictures whose features are computed whatever the time: with fewer there is nothing to say."""
MAX_SIMPLE = 10_000
"""Most pictures with simple features, which take 0.1 ms each."""
SIGNAL_IMAGES = 2000
"""Pictures that the side is chosen for, see `nas.inspection.signal`."""
CHUNK = 1000
"""Pictures in memory at a time."""


@dataclass(frozen=True)
class Features:
    """Features of some of the pictures.

    Args:
        positions: (n,) positions in the subject: any prefix holds the classes in nearly equal shares, and pictures of
            the test part come last.
        values: float32 (n, F).
        source: Name of the backbone, or `simple`.
        side: Side in pixels at which a backbone looked at them; None: simple features.
        seconds: Wall time.
    """

    positions: np.ndarray
    values: np.ndarray
    source: str
    side: int | None
    seconds: float


def make_features(
    subject: Subject,
    backbone: Backbone | None,
    seconds: float = 30.0,
    device: torch.device | str = "cpu",
    side: int | None = None,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> Features:
    """Compute the features of as many readable pictures as there is time for.

    Args:
        subject: Pictures.
        backbone: Pretrained network; None: simple features.
        seconds: Time to spend; of 2,000 pictures the largest side is taken that fits, and at least 96.
        device: Device that computes.
        side: Side in pixels; None: chosen by the time.
        report: Called with the number of pictures done, and of all.
    """
    start = time.monotonic()
    positions = _ordered(subject)
    if backbone is None or not len(positions):
        positions = positions[:MAX_SIMPLE]
        values = simple_features(subject.pixels[subject.rows[positions]]) if len(positions) else np.zeros((0, 1))
        return Features(positions, values, "simple", None, time.monotonic() - start)
    import torch

    def extract(chosen: np.ndarray, at: int, done: int = 0) -> np.ndarray:
        pixels = torch.from_numpy(np.ascontiguousarray(subject.pixels[subject.rows[chosen]]))
        return backbone.extract(pixels, device, at, lambda count: report(done + count, len(positions)))

    chosen_side, total = side or SIDES[0], len(positions)
    if seconds < float("inf"):
        cost = _cost(lambda: extract(positions[:MEASURED], SIDES[0]), min(MEASURED, total))
        if side is None:
            chosen_side = _affordable_side(cost, min(total, SIGNAL_IMAGES), seconds, subject.pixels.shape[-1])
        each = cost * (chosen_side / SIDES[0]) ** 2
        total = min(total, max(int(seconds / each), LEAST))
    positions = positions[:total]
    parts = [extract(positions[first : first + CHUNK], chosen_side, first) for first in range(0, len(positions), CHUNK)]
    return Features(positions, np.concatenate(parts), backbone.name, chosen_side, time.monotonic() - start)


def _ordered(subject: Subject) -> np.ndarray:
    """Readable pictures in the order in which they are taken."""
    ranks = content_ranks([one.digest for one in subject.facts], "inspection")
    ordered = []
    for tested in (False, True):
        members = subject.readable[(subject.parts[subject.readable] == "test") == tested]
        ordered.append(members[interleaved(subject.labels[members], ranks[members])])
    return np.concatenate(ordered)


def _cost(extract: Callable[[], object], count: int) -> float:
    """Seconds for each picture at the smallest side, without those of the first call."""
    extract()
    start = time.monotonic()
    extract()
    return (time.monotonic() - start) / count


def _affordable_side(cost: float, count: int, seconds: float, own_side: int) -> int:
    """The largest side that fits the time; one above the pictures' own shows no more."""
    sides = [side for side in SIDES if side <= max(own_side, SIDES[0])]
    return max((side for side in sides if count * cost * (side / SIDES[0]) ** 2 <= seconds), default=SIDES[0])
