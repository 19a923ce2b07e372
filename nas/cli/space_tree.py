"""A search space as a tree: its decisions, each below the one that decides whether it matters."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from nas.space.base import SearchSpace
from nas.space.notation import recorded_conditions

SAMPLES = 20
LONGEST = 100
"""Characters of a list of options."""
EXACT_BELOW = 10**15
"""Sizes that are written with all digits."""


def tree(space: SearchSpace) -> list[str]:
    """One line a decision: its name, its kind and options; below it, with the options, those that depend on it."""
    conditions = {name: dict(parents) for name, parents in recorded_conditions(space)}
    names = list(space.decisions)
    children: dict[str | None, list[str]] = {}
    for name in names:
        parents = conditions.get(name, {})
        # below the last of them, which may depend on the others itself
        children.setdefault(max(parents, key=names.index) if parents else None, []).append(name)
    rows = _rows(space, children, conditions, None, "")
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:{width}}  {text}" for name, text in rows]


def _rows(
    space: SearchSpace,
    children: Mapping[str | None, Sequence[str]],
    conditions: Mapping[str, Mapping[str, Sequence[str]]],
    parent: str | None,
    indent: str,
) -> list[tuple[str, str]]:
    rows = []
    below = children.get(parent, ())
    for name in below:
        last = name == below[-1]
        branch = "" if parent is None else "└─ " if last else "├─ "
        needs = conditions.get(name, {})
        others = [f"{other}={_either(space, other, options)}" for other, options in needs.items() if other != parent]
        when = "" if parent is None else f"{_either(space, parent, needs[parent])}: "
        only = f"   (if {' and '.join(others)})" if others else ""
        rows.append((f"{indent}{branch}{when}{name}", f"{_options(space, name)}{only}"))
        further = indent + ("" if parent is None else "   " if last else "│  ")
        rows += _rows(space, children, conditions, name, further)
    return rows


def _either(space: SearchSpace, name: str, options: Sequence[str]) -> str:
    """`3`, `3 or 4`, `3 to 7`."""
    kind = space.decisions[name]
    known = [str(option) for option in kind]
    positions = sorted(map(known.index, options))
    if kind.ordered and len(positions) > 2 and positions[-1] - positions[0] == len(positions) - 1:
        return f"{known[positions[0]]} to {known[positions[-1]]}"
    return " or ".join(options)


def _options(space: SearchSpace, name: str) -> str:
    kind = space.decisions[name]
    text = kind.describe()
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…, {len(kind)} options"
    return f"{text} (ordered)" if type(kind).__name__ == "Ordinal" else text


def size_text(space: SearchSpace) -> str:
    """Number of architectures, `at most` if it was not counted."""
    number = f"{space.size:,}" if space.size < EXACT_BELOW else f"{float(space.size):.3g}"
    return number if space.size_is_exact else f"at most {number}"


def sampling_milliseconds(space: SearchSpace) -> float:
    """Median time of a random architecture."""
    rng = np.random.default_rng(0)
    space.sample(rng)  # the first may prepare something
    seconds = []
    for _ in range(SAMPLES):
        started = time.perf_counter()
        space.sample(rng)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)) * 1000
