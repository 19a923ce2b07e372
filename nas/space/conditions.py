"""Conditions: decisions that matter only under some options of earlier ones.

A condition is declared by the space: `conditions = {"kernel": {"depth": (3, 4)}}` says that `kernel` matters where
`depth` is 3 or 4, and `depth` matters itself. From that follow which decisions of an architecture are active, and how
many architectures there are that differ in an active one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from nas.core import Architecture
from nas.errors import UsageError
from nas.formatting import did_you_mean
from nas.space.decisions import Decision
from nas.validation import as_written

MAX_STATES = 10_000
"""Most states that are followed to count architectures."""
RESTING = 0
"""Position of the option that an inactive decision has."""


@dataclass(frozen=True)
class Conditions:
    """The conditions of a space, by positions.

    Args:
        sizes: Number of options of each decision.
        needs: For each decision, the earlier decisions that it depends on, each with the positions of the options
            under which it matters; empty if it always does.
    """

    sizes: tuple[int, ...]
    needs: tuple[tuple[tuple[int, frozenset[int]], ...], ...]

    def active(self, architecture: Architecture) -> list[bool]:
        """For each decision, whether it matters."""
        active: list[bool] = []
        for needs in self.needs:
            active.append(all(active[parent] and architecture[parent] in allowed for parent, allowed in needs))
        return active

    def count(self) -> tuple[int, bool]:
        """Number of architectures that differ in an active decision, and whether it was counted.

        Decisions are added one by one to the states of those that later ones depend on; equal states are merged. Where
        there are too many states, the number is that of all combinations.
        """
        last = {parent: position for position, needs in enumerate(self.needs) for parent, _ in needs}
        states: Counter[tuple[tuple[int, int | None], ...]] = Counter({(): 1})
        for position, needs in enumerate(self.needs):
            following: Counter[tuple[tuple[int, int | None], ...]] = Counter()
            for state, number in states.items():
                chosen = dict(state)
                active = all(chosen[parent] in allowed for parent, allowed in needs)
                kept = tuple(pair for pair in state if last[pair[0]] > position)
                if last.get(position, -1) <= position:
                    following[kept] += number * (self.sizes[position] if active else 1)
                    continue
                for option in range(self.sizes[position]) if active else (None,):
                    following[(*kept, (position, option))] += number
            if len(following) > MAX_STATES:
                return prod(self.sizes), False
            states = following
        return sum(states.values()), True

    def architectures(self) -> Iterator[Architecture]:
        """Every architecture whose inactive decisions rest; the last decision changes fastest."""
        if not any(self.needs):
            yield from product(*(range(size) for size in self.sizes))
            return
        yield from self._completed((), ())

    def _completed(self, start: Architecture, active: tuple[bool, ...]) -> Iterator[Architecture]:
        position = len(start)
        if position == len(self.sizes):
            yield start
            return
        matters = all(active[parent] and start[parent] in allowed for parent, allowed in self.needs[position])
        for option in range(self.sizes[position]) if matters else (RESTING,):
            yield from self._completed((*start, option), (*active, matters))


def compiled(name: str, decisions: Mapping[str, Decision], conditions: Any) -> Conditions:
    """The conditions of a space.

    Args:
        name: Class of the space, for messages.
        decisions: Name -> decision, in order.
        conditions: Decision -> earlier decision -> its options under which the former matters.

    Raises:
        UsageError: A condition names a decision or option that does not exist, or a decision that comes later.
    """
    shape = "{'kernel': {'depth': (3, 4)}}"
    if not isinstance(conditions, Mapping) or not all(isinstance(one, Mapping) for one in conditions.values()):
        raise UsageError(f"{name}.conditions must be a mapping such as {shape}, got {as_written(conditions)}")
    positions = {decision: position for position, decision in enumerate(decisions)}
    for child, parents in conditions.items():
        for decision in (child, *parents):
            if decision not in positions:
                hint = did_you_mean(str(decision), list(decisions))
                raise UsageError(f"{name}.conditions[{child!r}]: {decision!r} is not a decision of the space{hint}")
    if circle := _circle(conditions):
        raise UsageError(f"{name}.conditions form a circle: {' -> '.join(circle)}; a condition names earlier decisions")
    needs: list[tuple[tuple[int, frozenset[int]], ...]] = []
    for child, position in positions.items():
        found = []
        for parent, options in conditions.get(child, {}).items():
            if positions[parent] > position:
                raise UsageError(
                    f"{name}.conditions[{child!r}] depends on {parent!r}, which comes later in choices; "
                    f"list {parent!r} before {child!r}"
                )
            found.append((positions[parent], _allowed(name, child, parent, decisions[parent], options)))
        needs.append(tuple(found))
    return Conditions(tuple(map(len, decisions.values())), tuple(needs))


def _allowed(name: str, child: str, parent: str, decision: Decision, options: Any) -> frozenset[int]:
    listed = list(options) if isinstance(options, Iterable) and not isinstance(options, str) else [options]
    known = [str(option) for option in decision]
    for option in listed:
        if str(option) not in known:
            raise UsageError(
                f"{name}.conditions[{child!r}]: {parent} has no option {as_written(option)}; "
                f"expected one of {decision.describe()}"
            )
    if not listed:
        raise UsageError(f"{name}.conditions[{child!r}]: no option of {parent!r} is given, so {child!r} never matters")
    return frozenset(known.index(str(option)) for option in listed)


def _circle(conditions: Mapping[str, Mapping[str, Sequence[Any]]]) -> list[str]:
    """Decisions that depend on one another, the first repeated at the end; empty if there are none."""
    finished: set[str] = set()

    def walk(decision: str, path: list[str]) -> list[str]:
        if decision in path:
            return [*path[path.index(decision) :], decision]
        if decision in finished:
            return []
        for parent in conditions.get(decision, {}):
            if found := walk(parent, [*path, decision]):
                return found
        finished.add(decision)
        return []

    for decision in conditions:
        if found := walk(decision, []):
            return found
    return []
