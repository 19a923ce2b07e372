"""Ranking by architecture: the trials of a function class are one entry, with mean and standard deviation.

Class, seed and score of all trials are read; the best member of each listed class is read whole.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from nas.store.base import Retraining
from nas.store.entries import Entry, check_sort, deviation, sort_entries, training_kind
from nas.store.facts import FACTS
from nas.store.ranking.by_value import kept_entries
from nas.store.ranking.reading import TRIALS, Position, Ranking


@dataclass(slots=True)
class _Class:
    """The trials of one function class.

    Args:
        first, first_score: Its first trial and the score of that, which may be the result of another class member
            that is not among these.
        trainings: Training -> its score and the trial that has it, in the order of their first trials.
    """

    first: Position
    first_score: float | None
    trainings: dict[Hashable, tuple[float, Position]] = field(default_factory=dict)
    tested: list[tuple[Position, Retraining]] = field(default_factory=list)

    @property
    def best(self) -> Position:
        """The trial that stands for the class."""
        return max(self.trainings.values(), key=lambda item: item[0])[1] if self.trainings else self.first

    @property
    def mean(self) -> float | None:
        """Its score."""
        scores = [score for score, _ in self.trainings.values()]
        return statistics.fmean(scores) if scores else self.first_score


@dataclass
class _Set:
    """The classes of one set of comparable trials, in the order of their first trials, and its number of trials."""

    classes: dict[str, _Class] = field(default_factory=dict)
    size: int = 0


def ranked_classes(ranking: Ranking) -> list[list[Entry]]:
    """See `nas.store.ranking.ranked.ranked`."""
    sets: dict[str, _Set] = {}
    if ranking.query.where is not None:
        _add_kept(ranking, sets)
    else:
        for index in range(len(ranking.runs)):
            _add_run(ranking, index, sets)
    ordered = [list(one.classes.values()) for one in sorted(sets.values(), key=lambda one: one.size, reverse=True)]
    if ranking.query.name in ("score", "number"):
        return [_entries(ranking, _sorted(ranking, classes)[: ranking.query.top]) for classes in ordered]
    joined = [_entries(ranking, classes) for classes in ordered]
    check_sort(ranking.query, [entry for entries in joined for entry in entries])
    for entries in joined:
        sort_entries(entries, ranking.query)
    return [entries[: ranking.query.top] for entries in joined]


def _add_kept(ranking: Ranking, sets: dict[str, _Set]) -> None:
    """Add the trials that meet the condition."""
    names: set[str] = set()
    kinds = [training_kind(run) for run in ranking.runs]
    for key, index, entry in kept_entries(ranking, names):
        trial, kind = entry.trial, kinds[index]
        training = trial.text if kind == "architecture" else getattr(trial, kind)
        found = sets.setdefault(key, _Set())
        found.size += 1
        at = (index, trial.number)
        one = found.classes.setdefault(trial.canonical, _Class(at, entry.score))
        if entry.score is not None and trial.reused_from is None:
            one.trainings[training] = entry.score, at
        one.tested += [(at, test) for test in ranking.tested.get((entry.run.name, trial.number), ())]
    if ranking.query.where is not None:
        ranking.query.where.check_names({*FACTS, *names})


def _add_run(ranking: Ranking, index: int, sets: dict[str, _Set]) -> None:
    """Add all trials of a run: a short loop, since a million may pass it."""
    run = ranking.runs[index]
    kind = training_kind(run)
    training_column = {"seed": TRIALS.c.seed, "architecture": sa.cast(TRIALS.c.architecture, sa.Text)}.get(kind)
    columns: list[sa.ColumnElement[Any]] = [TRIALS.c.number, TRIALS.c.fidelity, TRIALS.c.canonical]
    columns += [TRIALS.c.score, TRIALS.c.reused_from, sa.null() if training_column is None else training_column]
    not_numbers = ranking.not_numbers(index)
    tested = {number for name, number in ranking.tested if name == run.name}
    of_fidelity: dict[int | None, _Set] = {}
    for number, fidelity, canonical, stored, reused, training in ranking.rows(index, columns):
        found = of_fidelity.get(fidelity)
        if found is None:
            found = of_fidelity[fidelity] = sets.setdefault(ranking.key(index, fidelity), _Set())
        found.size += 1
        score = math.nan if stored is None and number in not_numbers else stored
        one = found.classes.get(canonical)
        if one is None:
            one = found.classes[canonical] = _Class((index, number), score)
        if reused is None and score is not None:
            one.trainings[training] = score, (index, number)
        if number in tested:
            one.tested += [((index, number), test) for test in ranking.tested[run.name, number]]


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
        tests = tuple(test for at, test in one.tested if scores or at == one.first)
        entries.append(Entry(run, trial, run.objective, one.mean, deviation(scores), max(len(scores), 1), tests))
    return entries
