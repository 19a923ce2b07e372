"""Runs of one store taken into another, without duplicates.

What is taken are rows of the tables with their documents decoded, so that nothing is lost on the way between kinds of
databases and files. Each run is taken in one transaction: whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import sqlalchemy as sa

from nas.errors import UsageError
from nas.identity import differences
from nas.store import schema
from nas.store.backup import upgraded_copy
from nas.store.base import Run, check_run_name, is_free
from nas.store.rows import RUN_COLUMNS
from nas.store.sql import SQLStore

Row: TypeAlias = dict[str, Any]
SAME_IN_REPEATS = ("architecture", "fidelity", "seed", "status", "metrics", "reused_from", "error_kind")
"""Columns of a trial that a repeat of its run has in common with it; times and messages may differ."""
BATCH = 1_000
"""Rows that are inserted at once."""
MAX_NAMED = 3


class Source(Protocol):
    """Where runs are taken from: a store, or a file of JSON lines."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def runs(self) -> Sequence[tuple[Row, Row | None]]:
        """The rows of the runs, the oldest first, and of their last sessions."""

    def trials(self, run: str) -> Iterator[tuple[Row, Sequence[Row]]]:
        """The rows of the trials of a run, by number, and those of their curves."""

    def retrainings(self) -> Iterator[Row]:
        """The rows of the retrainings, without their ids, in their order."""


@dataclass
class Taken:
    """What happened to the runs of a source.

    Args:
        added, extended, same: Names of runs that were new, had new trials, or had nothing new.
        renamed: Name -> the name under which it was added.
        refused: Name -> why nothing was taken of it.
        trials, retrainings: Numbers of what was taken.
    """

    added: list[str] = field(default_factory=list)
    extended: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    trials: int = 0
    retrainings: int = 0


@dataclass(frozen=True)
class StoreSource:
    """A store of the present version, read in one transaction."""

    name: str
    connection: sa.Connection

    def runs(self) -> Sequence[tuple[Row, Row | None]]:
        sessions = {row["run"]: row for row in self._rows(sa.select(schema.sessions))}
        runs = self._rows(sa.select(schema.runs).order_by(schema.runs.c.created, schema.runs.c.name))
        return [(row, sessions.get(row["name"])) for row in runs]

    def trials(self, run: str) -> Iterator[tuple[Row, Sequence[Row]]]:
        curves = schema.curves
        trials = sa.select(schema.trials).where(schema.trials.c.run == run).order_by(schema.trials.c.number)
        with_curve = set(
            self.connection.execute(sa.select(curves.c.trial).where(curves.c.run == run).distinct()).scalars()
        )
        last = -1
        while True:  # in blocks, since the curves of each are read on the same connection
            block = list(self._rows(trials.where(schema.trials.c.number > last).limit(BATCH)))
            if not block:
                return
            first, last = block[0]["number"], block[-1]["number"]
            points: dict[int, list[Row]] = {}
            if any(row["number"] in with_curve for row in block):
                of_block = (curves.c.run == run) & curves.c.trial.between(first, last)
                for point in self._rows(sa.select(curves).where(of_block).order_by(curves.c.trial, curves.c.epoch)):
                    points.setdefault(point["trial"], []).append(point)
            for row in block:
                yield row, points.get(row["number"], [])

    def retrainings(self) -> Iterator[Row]:
        for row in self._rows(sa.select(schema.retrainings).order_by(schema.retrainings.c.id)):
            yield {key: value for key, value in row.items() if key != "id"}

    def _rows(self, query: sa.Select[Any]) -> Iterator[Row]:
        for row in self.connection.execute(query):
            yield dict(row._mapping)


@contextmanager
def source_of(store: SQLStore) -> Iterator[StoreSource]:
    """A store to take runs from; one of an earlier version is upgraded in a temporary copy."""
    with store.reading() as connection:
        version = connection.execute(sa.select(schema.meta.c.value).where(schema.meta.c.key == "schema")).scalar_one()
        if int(version) == schema.VERSION:
            yield StoreSource(store.shown, connection)
            return
    with (
        tempfile.TemporaryDirectory() as folder,
        upgraded_copy(store, Path(folder) / "copy.db").reading() as connection,
    ):
        yield StoreSource(store.shown, connection)


def take(store: SQLStore, source: Source, rename: str | None = None) -> Taken:
    """Take the runs and retrainings of a source into a store.

    A run that the store has with the same trials is left as it is. One of which the source has further trials is
    extended. Runs of one name that differ are refused before anything is changed, or taken under another name.

    Args:
        store: Store to change.
        source: Where the runs come from.
        rename: Text appended to the name of a run that differs from the store's run of that name; None: it is refused.

    Raises:
        UsageError: Runs of one name differ, and `rename` is None; nothing was changed.
        UserError: The store cannot be written; the runs before that are complete, nothing of the others was taken.
    """
    engine, taken = store.writer(), Taken()
    with store.errors_in_one_sentence():
        targets, differing = _targets(engine, source, rename)
        if differing:
            listed = "; ".join(f"run {name!r}: {reason}" for name, reason in list(differing.items())[:MAX_NAMED])
            more = f"; and {len(differing) - MAX_NAMED} more" if len(differing) > MAX_NAMED else ""
            raise UsageError(
                f"{source.name} has other runs of the same names: {listed}{more}. Set rename=SUFFIX to take them under "
                "other names; nothing was changed"
            )
    for row, session in source.runs():
        name, target = row["name"], targets[row["name"]]
        try:
            with (
                store.lock(target),
                store.errors_in_one_sentence(),
                store.connect(engine, target) as connection,
                connection.begin(),
            ):
                _take_run(connection, source, (row, session), target, taken)
        except UsageError as error:
            taken.refused[name] = str(error)
    with store.errors_in_one_sentence(), engine.begin() as connection:
        _take_retrainings(connection, source, targets, taken)
    return taken


def _targets(engine: sa.Engine, source: Source, rename: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """The name that each run of a source gets, and the differences of those that cannot keep theirs."""
    targets, differing = {}, {}
    with engine.connect() as connection:
        for row, _ in source.runs():
            name = targets[row["name"]] = row["name"]
            reason = _relation(connection, source, row, name)[1]
            if reason is not None and rename is not None:
                targets[name] = f"{name}{rename}"
                check_run_name(targets[name])
                reason = _relation(connection, source, row, targets[name])[1]
            if reason is not None:
                differing[targets[name]] = reason
    return targets, differing


Relation: TypeAlias = Literal["new", "same", "longer", "other"]


def _relation(connection: sa.Connection, source: Source, row: Row, target: str) -> tuple[Relation, str | None]:
    """How a run of a source relates to the store's run of a name, and how they differ."""
    stored = connection.execute(sa.select(schema.runs).where(schema.runs.c.name == target)).first()
    if stored is None:
        return "new", None
    here, there = _identity(Run(*(stored._mapping[key] for key in RUN_COLUMNS))), _identity(_run(row))
    changed, digests = differences(here, there, is_free), _digests(connection, target)
    if changed:  # a run without trials does not reserve its name
        return ("other", "; ".join(changed[:MAX_NAMED])) if digests else ("new", None)
    further, common = False, 0
    for trial, _ in source.trials(row["name"]):
        digest = digests.get(trial["number"])
        further, common = further or digest is None, common + (digest is not None)
        if digest is not None and digest != _digest(trial):
            return "other", f"trial {trial['number']} has other results"
    if further and common < len(digests):
        return "other", f"both have trials that the other lacks ({len(digests)} here)"
    return ("longer" if further else "same"), None


def _identity(run: Run) -> dict[str, Any]:
    return {**run.config, "seed": run.seed, "protocol": run.protocol}


def _run(row: Mapping[str, Any]) -> Run:
    return Run(*(row[key] for key in RUN_COLUMNS))


def _digests(connection: sa.Connection, run: str) -> dict[int, bytes]:
    columns = [schema.trials.c[name] for name in ("number", *SAME_IN_REPEATS)]
    rows = connection.execute(sa.select(*columns).where(schema.trials.c.run == run).execution_options(yield_per=BATCH))
    return {row.number: _digest(dict(row._mapping)) for row in rows}


def _digest(trial: Mapping[str, Any]) -> bytes:
    same = [trial[name] for name in SAME_IN_REPEATS]
    return hashlib.blake2b(json.dumps(same, sort_keys=True).encode(), digest_size=16).digest()


def _take_run(
    connection: sa.Connection, source: Source, found: tuple[Row, Row | None], target: str, taken: Taken
) -> None:
    """Take one run and its session within the caller's transaction."""
    row, session = found
    relation, reason = _relation(connection, source, row, target)
    if reason is not None:
        raise UsageError(f"it differs since the merge began: {reason}")
    if relation == "same":
        taken.same.append(target)
        return
    stored: set[int] = set()
    connection.execute(schema.sessions.delete().where(schema.sessions.c.run == target))
    if relation == "new":
        connection.execute(schema.runs.delete().where(schema.runs.c.name == target))
        connection.execute(schema.runs.insert(), row | {"name": target})
    else:
        numbers = connection.execute(sa.select(schema.trials.c.number).where(schema.trials.c.run == target))
        stored = set(numbers.scalars())
    if session is not None:
        connection.execute(schema.sessions.insert(), session | {"run": target})
    further = (item for item in source.trials(row["name"]) if item[0]["number"] not in stored)
    count = 0
    while batch := list(islice(further, BATCH)):
        connection.execute(schema.trials.insert(), [trial | {"run": target} for trial, _ in batch])
        points = [point | {"run": target} for _, curve in batch for point in curve]
        if points:
            connection.execute(schema.curves.insert(), points)
        count += len(batch)
    taken.trials += count
    (taken.added if relation == "new" else taken.extended).append(target)
    if target != row["name"]:
        taken.renamed[row["name"]] = target


def _take_retrainings(connection: sa.Connection, source: Source, targets: Mapping[str, str], taken: Taken) -> None:
    """Take the retrainings that the store does not have, except those of refused runs."""
    table = schema.retrainings
    stored = {_retraining_key(dict(row._mapping)) for row in connection.execute(sa.select(table))}
    for row in source.retrainings():
        if row["run"] in taken.refused:
            continue
        new = row | {"run": targets.get(row["run"], row["run"])}
        if _retraining_key(new) not in stored:
            connection.execute(table.insert(), new)
            stored.add(_retraining_key(new))
            taken.retrainings += 1


def _retraining_key(row: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in row.items() if key != "id"}, sort_keys=True)
