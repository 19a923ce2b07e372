"""What all ways of ranking read: the sizes of the sets, trials with known faults, whole trials, and parts of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import sqlalchemy as sa

from nas.core import Proposal, Trial
from nas.store import schema
from nas.store.base import Run
from nas.store.entries import Entry, Query, Tested
from nas.store.faults import fault
from nas.store.rows import read_trials

TRIALS = schema.trials
Position: TypeAlias = tuple[int, int]
"""Index of the run among those that are ranked, and number of the trial: the order of equals."""
MAX_SUPERNET_TRIALS = 1_000
"""Largest number of trials of a run that may hold known faults, which only searches on a supernet have: each of their
trials trains a supernet."""
CHUNK = 500
"""Number of values in one SQL list; some versions of SQLite allow 999 in a statement."""
ROWS = 10_000
"""Rows that are read at once."""


@dataclass(frozen=True)
class Part:
    """The trials of one run with one fidelity.

    Args:
        index: Index of the run.
        fidelity: Fidelity of their proposals.
        size: Number of trials.
        first: Lowest number.
    """

    index: int
    fidelity: int | None
    size: int
    first: int


@dataclass
class Ranking:
    """What is ranked, and where.

    Args:
        connection: Connection to a store that has scores.
        runs: The runs, in their order.
        query: Which entries are wanted; `top` is at least 1.
        tested: Retrainings.
    """

    connection: sa.Connection
    runs: Sequence[Run]
    query: Query
    tested: Tested
    _keys: dict[tuple[int, int | None], str] = field(default_factory=dict)

    def key(self, index: int, fidelity: int | None) -> str:
        """The key of the set that the trials of a run and fidelity belong to."""
        if (index, fidelity) not in self._keys:
            run = self.runs[index]
            self._keys[index, fidelity] = run.evaluation.key(run.config, fidelity)
        return self._keys[index, fidelity]

    @cached_property
    def parts(self) -> list[Part]:
        """The runs and fidelities with the numbers of their trials, in the order of their first trials."""
        if len(self.runs) == 1:
            fidelities = self.fidelities(self.runs[0].name)
            if len({self.key(0, fidelity) for fidelity in fidelities}) <= 1:  # nothing depends on their numbers
                return [Part(0, fidelity, 0, 0) for fidelity in fidelities]
        number = TRIALS.c.number
        query = sa.select(TRIALS.c.run, TRIALS.c.fidelity, sa.func.count(number), sa.func.min(number))
        query = query.group_by(TRIALS.c.run, TRIALS.c.fidelity)
        if len(self.runs) <= CHUNK:
            query = query.where(TRIALS.c.run.in_([run.name for run in self.runs]))
        indices = {run.name: index for index, run in enumerate(self.runs)}
        rows = self.connection.execute(query)
        parts = [Part(indices[run], fidelity, size, first) for run, fidelity, size, first in rows if run in indices]
        return sorted(parts, key=lambda part: (part.index, part.first))

    def fidelities(self, run: str) -> list[int | None]:
        """The fidelities of a run, by one look-up in the index for each instead of counting all trials."""
        fidelity, found = TRIALS.c.fidelity, list[int | None]()
        query = sa.select(fidelity).where(TRIALS.c.run == run).limit(1)
        if self.connection.execute(query.where(fidelity.is_(None))).first() is not None:
            found.append(None)
        following = query.order_by(fidelity)
        row = self.connection.execute(following.where(fidelity.is_not(None))).first()
        while row is not None:
            found.append(row[0])
            row = self.connection.execute(following.where(fidelity > row[0])).first()
        return found

    @cached_property
    def faulty(self) -> dict[Position, Trial]:
        """The trials with a known fault, which are few, read whole."""
        indices = {run.name: index for index, run in enumerate(self.runs)}
        small = list(indices)
        if len(self.runs) == 1:
            some = sa.select(TRIALS.c.number).where(TRIALS.c.run == small[0]).limit(MAX_SUPERNET_TRIALS + 1)
            size = self.connection.execute(sa.select(sa.func.count()).select_from(some.subquery())).scalar_one()
            small = small if size <= MAX_SUPERNET_TRIALS else []
        else:
            sizes: dict[int, int] = {}
            for part in self.parts:
                sizes[part.index] = sizes.get(part.index, 0) + part.size
            small = [self.runs[index].name for index, size in sizes.items() if size <= MAX_SUPERNET_TRIALS]
        info = sa.cast(TRIALS.c.info, sa.Text)
        marked = info.like('%"probs"%') | info.like('%"stopped_early_at"%')
        positions: list[Position] = []
        for names in chunks(small):
            query = sa.select(TRIALS.c.run, TRIALS.c.number).where(TRIALS.c.run.in_(names), marked)
            positions += [(indices[name], number) for name, number in self.connection.execute(query)]
        return {at: one for at, one in self.read(positions).items() if fault(one, self.runs[at[0]].config) is not None}

    def not_numbers(self, index: int) -> set[int]:
        """The trials of a run that completed with NaN as their objective, which is stored as null."""
        run, found = self.runs[index].name, set[int]()
        for fidelity in self.fidelities(run):
            query = sa.select(TRIALS.c.number).where(TRIALS.c.run == run, same_fidelity(fidelity))
            query = query.where(TRIALS.c.score.is_(None), TRIALS.c.status == "completed")
            found.update(self.connection.execute(query).scalars())
        return found

    def sets(self) -> list[list[Part]]:
        """The parts of each set of comparable trials, the largest set first, else in the order of their trials."""
        sets: dict[str, list[Part]] = {}
        for part in self.parts:
            sets.setdefault(self.key(part.index, part.fidelity), []).append(part)
        return sorted(sets.values(), key=lambda members: sum(part.size for part in members), reverse=True)

    def read(self, positions: Iterable[Position]) -> dict[Position, Trial]:
        """Whole trials."""
        numbers: dict[int, list[int]] = {}
        for index, number in positions:
            numbers.setdefault(index, []).append(number)
        return {
            (index, trial.number): trial
            for index, wanted in numbers.items()
            for some in chunks(wanted)
            for trial in read_trials(self.connection, self.runs[index].name, some)
        }

    def entries(self, positions: Sequence[Position]) -> list[Entry]:
        """The entries of trials, read whole."""
        trials = self.read(positions)
        return [Entry.of(self.runs[at[0]], trials[at], self.tested) for at in positions]

    def light_trials(self, index: int, *, decisions: bool = False) -> Iterator[Trial]:
        """All trials of a run by number, without notes, error text and curve: a fraction of a whole one.

        Args:
            decisions: Read the decisions too.
        """
        columns = [
            TRIALS.c[name]
            for name in (
                "number", "fidelity", "text", "canonical", "seed", "status", "metrics", "seconds", "cost",
                "reused_from", "error_kind",
            )
        ]  # fmt: skip
        for row in self.rows(index, [*columns, TRIALS.c.architecture if decisions else sa.null()]):
            number, fidelity, *others, positions = row
            yield Trial(number, Proposal(tuple(positions or ()), fidelity), *others)

    def rows(self, index: int, columns: Sequence[sa.ColumnElement[Any]]) -> Iterator[Any]:
        """Some columns of all trials of a run, by number, without holding all of them."""
        for block in self.blocks(index, columns):
            yield from block

    def blocks(self, index: int, columns: Sequence[sa.ColumnElement[Any]]) -> Iterator[Sequence[Any]]:
        """The same rows, many at a time."""
        query = sa.select(*columns).where(TRIALS.c.run == self.runs[index].name).order_by(TRIALS.c.number)
        with self.connection.execution_options(yield_per=ROWS).execute(query) as rows:
            yield from rows.partitions()


def same_fidelity(fidelity: int | None) -> sa.ColumnElement[bool]:
    """The condition that a trial has this fidelity."""
    return TRIALS.c.fidelity.is_(None) if fidelity is None else TRIALS.c.fidelity == fidelity


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The values, at most `CHUNK` at a time."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
