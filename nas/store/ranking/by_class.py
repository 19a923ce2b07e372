"""Ranking by architecture: the trials of a function class are one entry, with mean and standard deviation.

Class, seed and score of all trials are read; the best member of each listed class is read whole.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from nas.store.base import Retraining
from nas.store.entries import Entry, check_sort, deviation, sort_entries, training_kind
from nas.store.facts import FACTS
from nas.store.ranking.by_value import kept_entries
from nas.store.ranking.reading import TRIALS, Position, Ranking, chunks


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

    def add(self, at: Position, canonical: str, score: float | None, training: Hashable, *, reused: bool) -> None:
        """Add a trial."""
        self.size += 1
        one = self.classes.get(canonical)
        if one is None:
            one = self.classes[canonical] = _Class(at, score)
        if score is not None and not reused:
            one.trainings[training] = score, at


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
        trial, kind, found = entry.trial, kinds[index], sets.setdefault(key, _Set())
        training = trial.text if kind == "architecture" else getattr(trial, kind)
        at = (index, trial.number)
        found.add(at, trial.canonical, entry.score, training, reused=trial.reused_from is not None)
        tests = ranking.tested.get((entry.run.name, trial.number), ())
        found.classes[trial.canonical].tested += [(at, test) for test in tests]
    if ranking.query.where is not None:
        ranking.query.where.check_names({*FACTS, *names})


def _add_run(ranking: Ranking, index: int, sets: dict[str, _Set]) -> None:
    """Add all trials of a run."""
    run = ranking.runs[index]
    columns = {"seed": TRIALS.c.seed, "architecture": sa.cast(TRIALS.c.architecture, sa.Text)}
    training_column = columns.get(training_kind(run), sa.null())
    wanted = [TRIALS.c.number, TRIALS.c.canonical, TRIALS.c.score, TRIALS.c.reused_from, training_column]
    fidelities, not_numbers = ranking.fidelities(run.name), ranking.not_numbers(index)
    if len(fidelities) == 1 and not not_numbers:
        _add_many(ranking, index, wanted, sets.setdefault(ranking.key(index, fidelities[0]), _Set()))
    else:
        found: dict[int | None, _Set] = {}
        for number, canonical, stored, reused, training, fidelity in ranking.rows(index, [*wanted, TRIALS.c.fidelity]):
            if fidelity not in found:
                found[fidelity] = sets.setdefault(ranking.key(index, fidelity), _Set())
            score = math.nan if stored is None and number in not_numbers else stored
            found[fidelity].add((index, number), canonical, score, training, reused=reused is not None)
    _add_tests(ranking, index, sets)


def _add_many(ranking: Ranking, index: int, columns: Sequence[sa.ColumnElement[Any]], found: _Set) -> None:
    """Add the trials of a run that has one fidelity and no NaN, as `_Set.add` does: a million may pass this loop."""
    classes = found.classes
    for block in ranking.blocks(index, columns):
        found.size += len(block)
        for number, canonical, score, reused, training in block:
            one = classes.get(canonical)
            if one is None:
                one = classes[canonical] = _Class((index, number), score)
            if reused is None and score is not None:
                one.trainings[training] = score, (index, number)


def _add_tests(ranking: Ranking, index: int, sets: dict[str, _Set]) -> None:
    """Add the retrainings of the trials of a run."""
    run = ranking.runs[index].name
    for numbers in chunks(sorted(number for name, number in ranking.tested if name == run and number is not None)):
        query = sa.select(TRIALS.c.number, TRIALS.c.canonical, TRIALS.c.fidelity).order_by(TRIALS.c.number)
        rows = ranking.connection.execute(query.where(TRIALS.c.run == run, TRIALS.c.number.in_(numbers)))
        for number, canonical, fidelity in rows:
            one = sets[ranking.key(index, fidelity)].classes[canonical]
            one.tested += [((index, number), test) for test in ranking.tested[run, number]]


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
