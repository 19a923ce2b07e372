"""Divides pictures into training, validation and test part by their content.

The order of pictures is that of a hash of their pixels, so that a part does not depend on names, and few pictures
change sides when some are added. Every class is divided in the same proportion as far as pictures that belong
together (duplicates, groups) allow it, since these stay on one side.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from nas.errors import UserError

MIN_PER_CLASS = 3
"""Pictures of a class: one in each part."""
MAX_ALIKE, MAX_ALIKE_SHARE = 10, 0.2
"""Near duplicates of one class that stay together, as a number and as a share of the class; the larger one counts."""


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


def without_chains(pairs: Sequence[tuple[int, int]], labels: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of near duplicates without those that chain much of a class together.

    A fixed camera takes pictures that are all alike; if they stayed together, they could not be divided.

    Args:
        pairs: Positions.
        labels: (N,) class of each position.
    """
    units = units_of(len(labels), pairs)
    totals = np.bincount(labels)
    sizes = Counter(zip(units.tolist(), labels.tolist(), strict=True))
    chains = {unit for (unit, label), size in sizes.items() if size > max(MAX_ALIKE, MAX_ALIKE_SHARE * totals[label])}
    return [pair for pair in pairs if int(units[pair[0]]) not in chains]


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
        rest: Least number of units of each class that are left.

    Returns:
        bool, (N,): whether each was chosen; of each class at least one is, and one is left.

    Raises:
        UserError: A class has too few units.
    """
    kinds: list[int] = labels.tolist()
    totals = Counter(kinds)
    wanted = {label: min(max(round(share * total), 1), max(total - rest, 1)) for label, total in totals.items()}
    members: dict[int, list[int]] = {}
    for position in np.argsort(ranks, kind="stable").tolist():
        members.setdefault(int(units[position]), []).append(position)  # in the order of their first pictures
    tallies = {unit: Counter(kinds[position] for position in one) for unit, one in members.items()}
    counts: Counter[int] = Counter()
    taken: list[int] = []
    left = set(members)
    separate = Counter(label for tally in tallies.values() for label in tally)  # units that are left of each class

    def leaves_enough(tally: Counter[int]) -> bool:
        return all(separate[label] > rest for label in tally)

    def take(unit: int) -> None:
        taken.extend(members[unit])
        counts.update(tallies[unit])
        separate.subtract(tallies[unit].keys())
        left.remove(unit)

    for unit, tally in tallies.items():
        before = sum(abs(counts[label] - wanted[label]) for label in tally)
        after = sum(abs(counts[label] + number - wanted[label]) for label, number in tally.items())
        if after < before and leaves_enough(tally):
            take(unit)
    for label in sorted(totals):
        if not counts[label]:
            fitting = [
                unit for unit in members if unit in left and tallies[unit][label] and leaves_enough(tallies[unit])
            ]
            if not fitting:
                raise UserError(_too_few(names[label], totals[label], sum(label in one for one in tallies.values())))
            take(min(fitting, key=lambda unit: tallies[unit].total()))
    chosen = np.zeros(len(kinds), dtype=bool)
    chosen[taken] = True
    return chosen


def _too_few(name: str, total: int, separate: int) -> str:
    held = f"{total:,} picture{'' if total == 1 else 's'}"
    if separate < total:
        held += f", and no more than {separate:,} of them can be separated, since the others are duplicates or a group"
    return (
        f"class {name!r} has {held}; expected at least {MIN_PER_CLASS}, one to train on, one to validate on and one to "
        "test on: add pictures, or leave the class out"
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
