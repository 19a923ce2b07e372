"""Features of as many pictures as a time allows, by a pretrained network or without one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nas.inspection.head import reduced
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
LEAST = 400
"""Pictures whose features are computed whatever the time: with fewer there is nothing to say."""
MAX_SIMPLE = 10_000
"""Most pictures with simple features, which take 0.1 ms each."""
SIGNAL_IMAGES = 2000
"""Pictures that the side is chosen for, see `nas.inspection.signal`."""
CHUNK = 200
"""Pictures in memory at a time."""
SIMPLE_WEIGHT = 0.5


@dataclass(frozen=True)
class Features:
    """Features of some of the pictures.

    Args:
        positions: (n,) positions in the subject: any prefix holds the classes in nearly equal shares, and pictures of
            the test part come last.
        simple: float32 (n, F) of `simple_features`.
        network: float32 (n, F) of a backbone; None: none was used.
        source: Name of the backbone, or `simple`.
        side: Side in pixels at which a backbone looked at the pictures; None: none was used.
        seconds: Wall time.
    """

    positions: np.ndarray
    simple: np.ndarray
    network: np.ndarray | None
    source: str
    side: int | None
    seconds: float

    def of_head(self, kept: np.ndarray) -> np.ndarray:
        """What a linear head sees of the pictures at these of the positions: float32 (len(kept), D).

        Simple features stand beside those of a network at half their weight: on digits and drawings they are better
        than those of a network that was trained on photos, and on photos they cost it little.
        """
        simple = reduced(self.simple[kept])
        if self.network is None:
            return simple
        return np.concatenate((reduced(self.network[kept]), SIMPLE_WEIGHT * simple), axis=1)


def make_features(
    subject: Subject,
    backbone: Backbone | None,
    seconds: float = 30.0,
    device: torch.device | str = "cpu",
    *,
    side: int | None = None,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> Features:
    """Compute the features of as many readable pictures as there is time for.

    Args:
        subject: Pictures.
        backbone: Pretrained network; None: simple features only.
        seconds: Time to spend; of 2,000 pictures the largest side is taken that fits, and at least 96.
        device: Device that computes.
        side: Side in pixels; None: chosen by the time.
        report: Called with the number of pictures done, and of all.
    """
    start = time.monotonic()
    positions = _ordered(subject)
    if backbone is None or len(positions) < 2:
        positions = positions[:MAX_SIMPLE]
        return Features(positions, _simple(subject, positions), None, "simple", None, time.monotonic() - start)

    def extract(chosen: np.ndarray, at: int) -> np.ndarray:
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(subject.pixels[subject.rows[chosen]]))
        return backbone.extract(pixels, device, at)

    if side is None and backbone.fixed_side:
        side = backbone.side
    if side is None:
        cost = _cost(lambda: extract(positions[:MEASURED], SIDES[0]), min(MEASURED, len(positions)))
        side = _affordable_side(cost, min(len(positions), SIGNAL_IMAGES), seconds, subject.pixels.shape[-1])
    parts: list[np.ndarray] = []
    done = 0
    report(done, len(positions))
    while done < len(positions) and (done < LEAST or time.monotonic() - start < seconds):
        parts.append(extract(positions[done : done + CHUNK], side))
        done = min(done + CHUNK, len(positions))
        report(done, len(positions))
    positions = positions[:done]
    return Features(
        positions, _simple(subject, positions), np.concatenate(parts), backbone.name, side, time.monotonic() - start
    )


def _simple(subject: Subject, positions: np.ndarray) -> np.ndarray:
    if not len(positions):
        return np.zeros((0, 1), np.float32)
    return np.concatenate(
        [
            simple_features(subject.pixels[subject.rows[positions[first : first + CHUNK]]])
            for first in range(0, len(positions), CHUNK)
        ]
    )


def _ordered(subject: Subject) -> np.ndarray:
    """Readable pictures in the order in which they are taken."""
    ranks = content_ranks([one.digest for one in subject.facts], "inspection")
    ordered = []
    for tested in (False, True):
        members = subject.readable[(subject.parts[subject.readable] == "test") == tested]
        ordered.append(members[interleaved(subject.labels[members], ranks[members])])
    return np.concatenate(ordered)


def _cost(extract: Callable[[], object], count: int) -> float:
    """Seconds for each picture at the smallest side: the quickest of three tries, as other processes slow some down."""
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        extract()
        seconds.append(time.monotonic() - start)
    return min(seconds) / count


def _affordable_side(cost: float, count: int, seconds: float, own_side: int) -> int:
    """The largest side that fits the time; one above the pictures' own shows no more."""
    sides = [side for side in SIDES if side <= max(own_side, SIDES[0])]
    return max((side for side in sides if count * cost * (side / SIDES[0]) ** 2 <= seconds), default=SIDES[0])
