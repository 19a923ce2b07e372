"""Ranking by architecture: the trials of a function class are one entry, with mean and standard deviation.

Class, seed and score of all trials are read; the best member of each listed class is read whole.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import sqlalchemy as sa

from nas.store.base import Retraining
from nas.store.entries import Entry, check_sort, sort_entries, training_kind
from nas.store.facts import FACTS
from nas.store.ranking.by_value import kept_entries
from nas.store.ranking.reading import TRIALS, Position, Ranking

Member: TypeAlias = tuple[str, int, int, str, Hashable, float | None, bool]
"""Key of the set, index of the run, number, class, training, score, and whether the result was reused."""


@dataclass
class _Class:
    """The trials of one function class.

    Args:
        first: Its first trial.
        trainings: Training -> its score and the trial that has it, in the order of their first trials.
    """

    first: Position
    trainings: dict[Hashable, tuple[float, Position]] = field(default_factory=dict)
    tested: list[tuple[Position, Retraining]] = field(default_factory=list)

    @property
    def best(self) -> Position:
        """The trial that stands for the class."""
        return max(self.trainings.values(), key=lambda item: item[0])[1] if self.trainings else self.first

    @property
    def mean(self) -> float | None:
        return statistics.fmean(score for score, _ in self.trainings.values()) if self.trainings else None


def ranked_classes(ranking: Ranking) -> list[list[Entry]]:
    """See `nas.store.ranking.ranked.ranked`."""
    sets: dict[str, dict[str, _Class]] = {}
    sizes: dict[str, int] = {}
    for key, index, number, canonical, training, score, reused in _members(ranking):
        if key not in sets:
            sets[key], sizes[key] = {}, 0
        sizes[key] += 1
        classes = sets[key]
        if canonical not in classes:
            classes[canonical] = _Class((index, number))
        found = classes[canonical]
        if score is not None and not reused:
            found.trainings[training] = score, (index, number)
        if ranking.tested:
            tests = ranking.tested.get((ranking.runs[index].name, number), ())
            found.tested += [((index, number), test) for test in tests]
    ordered = [list(sets[key].values()) for key in sorted(sets, key=lambda key: sizes[key], reverse=True)]
    if ranking.query.name in ("score", "number"):
        return [_entries(ranking, _sorted(ranking, classes)[: ranking.query.top]) for classes in ordered]
    joined = [_entries(ranking, classes) for classes in ordered]
    check_sort(ranking.query, [entry for entries in joined for entry in entries])
    for entries in joined:
        sort_entries(entries, ranking.query)
    return [entries[: ranking.query.top] for entries in joined]


def _members(ranking: Ranking) -> Iterator[Member]:
    """All trials that meet the condition, by run and number."""
    if ranking.query.where is None:
        for index in dict.fromkeys(part.index for part in ranking.parts):
            yield from _members_of(ranking, index)
        return
    names: set[str] = set()
    kinds = [training_kind(run) for run in ranking.runs]
    for key, index, entry in kept_entries(ranking, names):
        trial = entry.trial
        training = getattr(trial, kinds[index]) if kinds[index] != "architecture" else trial.text
        yield key, index, trial.number, trial.canonical, training, entry.score, trial.reused_from is not None
    ranking.query.where.check_names({*FACTS, *names})


def _members_of(ranking: Ranking, index: int) -> Iterator[Member]:
    kind = training_kind(ranking.runs[index])
    training = sa.cast(TRIALS.c.architecture, sa.Text) if kind == "architecture" else TRIALS.c[kind]
    columns = [TRIALS.c.number, TRIALS.c.fidelity, TRIALS.c.canonical, training, TRIALS.c.score, TRIALS.c.reused_from]
    completed = sa.case((TRIALS.c.status == "completed", 1), else_=0)
    for number, fidelity, canonical, training, score, reused, done in ranking.rows(index, [*columns, completed]):
        value = math.nan if score is None and done else score  # SQLite stores NaN as null
        yield ranking.key(index, fidelity), index, number, canonical, training, value, reused is not None


def _sorted(ranking: Ranking, classes: list[_Class]) -> list[_Class]:
    """The classes of one set by score or number, as `nas.store.entries.sort_entries` sorts entries."""
    name, order = ranking.query.name, ranking.query.order
    if name == "number":
        sign = -1 if order == "desc" else 1
        return sorted(classes, key=lambda one: (ranking.runs[one.best[0]].name, sign * one.best[1]))
    sign = 1 if order == "asc" else -1

    def key(one: _Class) -> tuple[bool, bool, float]:
        mean, wrong = one.mean, bool(ranking.faulty) and one.best in ranking.faulty
        return (True, wrong, 0.0) if mean is None or math.isnan(mean) else (False, wrong, sign * mean)

    return sorted(classes, key=key)


def _entries(ranking: Ranking, classes: list[_Class]) -> list[Entry]:
    found = ranking.read(one.best for one in classes)
    entries = []
    for one in classes:
        run, trial = ranking.runs[one.best[0]], found[one.best]
        scores = [score for score, _ in one.trainings.values()]
        spread = statistics.stdev(scores) if len(scores) > 1 else None
        tests = tuple(test for at, test in one.tested if scores or at == one.first)
        entries.append(Entry(run, trial, run.objective, one.mean, spread, max(len(scores), 1), tests))
    return entries
