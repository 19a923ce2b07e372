"""Ranking by a metric or a cost, or of the trials that meet a condition: all are read in part, and the first are kept.

An index cannot help, since metrics are stored as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nas.store.entries import Entry, Query, direction, unknown_sort
from nas.store.facts import FACTS, decision_names
from nas.store.ranking.reading import Ranking

SLACK = 1_000
"""Entries that are held beyond those that are wanted, so that they are seldom sorted."""


def ranked_by_value(ranking: Ranking) -> list[list[Entry]]:
    """See `nas.store.ranking.ranked.ranked`."""
    names: set[str] = set()
    sets: dict[str, _Set] = {}
    for key, index, entry in kept_entries(ranking, names):
        if key not in sets:
            sets[key] = _Set(ranking.query, entry)
        sets[key].add(index, entry, wrong=(index, entry.trial.number) in ranking.faulty)
    if ranking.query.where is not None:
        ranking.query.where.check_names({*FACTS, *names})
    ordered = sorted(sets.values(), key=lambda one: one.size, reverse=True)
    if ordered and not any(one.has_name for one in ordered):
        raise unknown_sort(ranking.query, {name for one in ordered for name in one.names})
    return [ranking.entries(one.first()) for one in ordered]


def kept_entries(ranking: Ranking, names: set[str]) -> Iterator[tuple[str, int, Entry]]:
    """Key of the set, index of the run and entry of each trial that meets the condition, by run and number.

    The entries hold light trials; see `Ranking.light_trials`.

    Args:
        ranking: What is ranked.
        names: Receives the metrics and costs of all trials.
    """
    where = ranking.query.where
    for index, run in enumerate(ranking.runs):
        decided = decision_names(run)
        names.update(decided)
        for trial in ranking.light_trials(index, decisions=where is not None and not decided.isdisjoint(where.names)):
            names.update(trial.metrics, trial.cost)
            entry = Entry.of(ranking.runs[index], trial, {})
            if where is None or where.holds(entry.value):
                yield ranking.key(index, trial.proposal.fidelity), index, entry


@dataclass
class _Set:
    """One set of comparable trials: its size, and the first of its trials in both directions.

    Which direction is the better one can depend on the last trial.
    """

    query: Query
    oldest: Entry
    size: int = 0
    has_name: bool = False
    is_cost: bool = False
    names: set[str] = field(default_factory=set)
    up: list[tuple[Any, ...]] = field(default_factory=list)
    down: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.has_name = self.query.name in ("score", "number")

    def add(self, index: int, entry: Entry, *, wrong: bool) -> None:
        """Add a trial."""
        self.size += 1
        trial, name = entry.trial, self.query.name
        if name == "number":
            self.up.append((entry.run.name, trial.number, index))
            self.down.append((entry.run.name, -trial.number, index))
        else:
            value = entry.score if name == "score" else entry.numbers.get(name)
            self.is_cost = self.is_cost or name in trial.cost
            self.has_name = self.has_name or value is not None
            self.names.update(trial.metrics, trial.cost)
            wrong = wrong and name == "score"
            missing = value is None or math.isnan(value)
            for sign, held in ((1.0, self.up), (-1.0, self.down)):
                held.append((missing, wrong, 0.0 if missing else sign * (value or 0.0), index, trial.number))
        if len(self.up) > self.query.top + SLACK:
            self._drop()

    def _drop(self) -> None:
        for held in (self.up, self.down):
            held.sort()
            del held[self.query.top :]

    def first(self) -> list[tuple[int, int]]:
        """Index of the run and number of the first trials."""
        name, order = self.query.name, self.query.order
        self._drop()
        if name == "number":
            return [(index, abs(number)) for _, number, index in (self.down if order == "desc" else self.up)]
        if order is None:
            order = "desc" if name == "score" else direction(name, self.oldest.run, is_cost=self.is_cost)
        return [(index, number) for *_, index, number in (self.down if order == "desc" else self.up)]
