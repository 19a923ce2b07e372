"""Divides pictures into training, validation and test part by their content.

The order of pictures is that of a hash of their pixels, so that a part does not depend on names, and few pictures
change sides when some are added. Every class is divided in the same proportion as far as pictures that belong
together (duplicates, groups) allow it, since these stay on one side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from nas.errors import UserError

MIN_PER_CLASS = 3
"""Pictures of a class: one in each part."""


def content_ranks(digests: Sequence[str], salt: str) -> np.ndarray:
    """A number of each picture that depends on its content and the salt only.

    Args:
        digests: Digest of each picture.
        salt: Selects one of the possible orders.

    Returns:
        int64, (N,), at least 0.
    """
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(f"{salt} {digest}".encode(), digest_size=7).digest(), "big")
            for digest in digests
        ],
        dtype=np.int64,
    )


def units_of(count: int, together: Sequence[Sequence[int]]) -> np.ndarray:
    """Number of the unit that each picture is in; pictures of one unit stay in one part.

    Args:
        count: Number of pictures.
        together: Positions of pictures that belong together; those that share a picture are joined.

    Returns:
        int64, (count,): the smallest position in the unit.
    """
    parent = list(range(count))

    def top(position: int) -> int:
        while parent[position] != position:
            parent[position] = parent[parent[position]]
            position = parent[position]
        return position

    for positions in together:
        for other in positions[1:]:
            first, second = sorted((top(positions[0]), top(other)))
            parent[second] = first
    return np.array([top(position) for position in range(count)], dtype=np.int64)


def held_out(
    labels: np.ndarray, units: np.ndarray, ranks: np.ndarray, share: float, names: Sequence[str], *, rest: int = 1
) -> np.ndarray:
    """Choose the pictures of a part, with equal shares of every class, and whole units only.

    Args:
        labels: (N,) class of each picture.
        units: (N,) unit of each.
        ranks: (N,) order of each: a unit has that of its first picture.
        share: Fraction of each class to choose, 0-1.
        names: Names of the classes, for messages.
        rest: Least number of pictures of each class that are left.

    Returns:
        bool, (N,): whether each was chosen; of each class at least one is, and one is left.

    Raises:
        UserError: A class has too few units.
    """
    totals = np.bincount(labels, minlength=len(names))
    wanted = np.clip(np.round(share * totals), 1, np.maximum(totals - rest, 1)).astype(np.int64)
    order = np.lexsort((ranks, units))
    starts = np.flatnonzero(np.r_[True, units[order][1:] != units[order][:-1]])
    members = np.split(order, starts[1:])
    members.sort(key=lambda one: int(ranks[one[0]]))
    tallies = [np.bincount(labels[one], minlength=len(names)) for one in members]
    chosen = np.zeros(len(labels), dtype=bool)
    counts = np.zeros(len(names), dtype=np.int64)
    taken: set[int] = set()

    def take(number: int) -> None:
        nonlocal counts
        taken.add(number)
        counts = counts + tallies[number]
        chosen[members[number]] = True

    for number, tally in enumerate(tallies):
        there = np.flatnonzero(tally)
        if (counts[there] >= wanted[there]).all():
            continue
        after = counts[there] + tally[there]
        closer = np.abs(after - wanted[there]).sum() < np.abs(counts[there] - wanted[there]).sum()
        if closer and (totals[there] - after >= rest).all():
            take(number)
    for label in range(len(names)):
        while totals[label] and not counts[label]:
            fitting = [
                number
                for number, tally in enumerate(tallies)
                if number not in taken and tally[label] and (totals - counts - tally >= rest)[tally > 0].all()
            ]
            if not fitting:
                raise UserError(_too_few(label, names, totals, tallies))
            take(min(fitting, key=lambda number: int(tallies[number].sum())))
    return chosen


def _too_few(label: int, names: Sequence[str], totals: np.ndarray, tallies: Sequence[np.ndarray]) -> str:
    separate = sum(bool(tally[label]) for tally in tallies)
    held = f"{totals[label]:,} picture{'' if totals[label] == 1 else 's'}"
    if separate < totals[label]:
        held += f", and no more than {separate:,} of them can be separated, since the others are duplicates or a group"
    return (
        f"class {names[label]!r} has {held}; expected at least {MIN_PER_CLASS}, one to train on, one to validate on "
        "and one to test on: add pictures, or leave the class out"
    )


def interleaved(labels: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Positions in an order whose every prefix holds the classes in nearly equal shares.

    Args:
        labels: (N,) class of each position.
        ranks: (N,) order within a class.
    """
    positions, places = [], []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(ranks[members], kind="stable")]
        positions.append(members)
        places.append((np.arange(len(members)) + 0.5) / len(members))
    if not positions:
        return np.zeros(0, dtype=np.int64)
    return np.concatenate(positions)[np.argsort(np.concatenate(places), kind="stable")]
