"""The integrity of a store, in words."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from nas.core import Objective
from nas.errors import UserError
from nas.formatting import plural
from nas.store import schema
from nas.store.backup import Salvaged, opened_to_read, salvage
from nas.store.base import Run
from nas.store.rows import CHUNK, from_json
from nas.store.sql import SQLStore
from nas.store.sqlite import SQLiteStore

MAX_LISTED = 5
"""Problems of one kind that are listed."""
DOCUMENTS = ("architecture", "info", "metrics", "cost")
"""Columns of the trials that are JSON."""


@dataclass
class Report:
    """What is known of a store.

    Args:
        problems: What is wrong, one sentence each.
        notes: What is worth knowing, one sentence each.
        damaged: What can still be read, if the file itself is damaged.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    damaged: Salvaged | None = None


def check(store: SQLStore) -> Report:
    """Check a store; it is only read.

    Raises:
        UserError: There is no store, it is another program's or a newer version's, or nothing of it can be read.
    """
    report = Report()
    if isinstance(store, SQLiteStore):
        with store.reading():  # refuses what is not a store
            pass
        report.problems += _damage(store)
        if report.problems:
            report.damaged = salvage(store, None)
            return report
    try:
        with store.reading() as connection:
            _check_contents(store, connection, report)
    except UserError as error:
        report.problems.append(str(error))
    return report


def _damage(store: SQLiteStore) -> list[str]:
    """Problems of the file and its indices, from SQLite's own check."""
    try:
        with closing(opened_to_read(store.path)) as connection:
            rows = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({MAX_LISTED})")]
    except sqlite3.Error as error:
        rows = [str(error)]
    lines = [" ".join(line.split()) for row in rows for line in row.splitlines() if line.strip()]
    return [] if lines == ["ok"] else [f"the file is damaged: {line}" for line in lines[:MAX_LISTED]]


def _check_contents(store: SQLStore, connection: sa.Connection, report: Report) -> None:
    version = int(connection.execute(sa.select(schema.meta.c.value).where(schema.meta.c.key == "schema")).scalar_one())
    if isinstance(store, SQLiteStore):
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        log = "with a write-ahead log" if mode == "wal" else f"without a write-ahead log (journal_mode={mode})"
        report.notes.append(f"SQLite file {log}, schema {version}")
    else:
        report.notes.append(f"PostgreSQL database, schema {version}")
    if version < schema.VERSION:
        report.notes.append(
            f"schema {version} is an earlier one; the next search in it upgrades it to {schema.VERSION} after a backup"
        )
    runs = _runs(connection, report)
    for query, text in ORPHANS:
        names = [str(name) for name in connection.execute(sa.text(query)).scalars()]
        report.problems += [f"{text} run {name!r}, which the store does not have" for name in names[:MAX_LISTED]]
    total = 0
    for run in runs:
        total += _check_run(connection, run, report, with_scores=version >= 4)
    count = connection.execute(sa.select(sa.func.count()).select_from(schema.retrainings)).scalar_one()
    report.notes.append(f"{plural(len(runs), 'run')}, {plural(total, 'trial')}, {plural(count, 'retraining')}")


ORPHANS = (
    ("SELECT DISTINCT run FROM trials WHERE run NOT IN (SELECT name FROM runs)", "trials belong to"),
    ("SELECT DISTINCT run FROM curves WHERE run NOT IN (SELECT name FROM runs)", "curves belong to"),
    ("SELECT DISTINCT run FROM curves WHERE NOT EXISTS (SELECT 1 FROM trials WHERE trials.run = curves.run AND "
     "trials.number = curves.trial)", "curves belong to missing trials of"),
)  # fmt: skip


def _runs(connection: sa.Connection, report: Report) -> list[Run]:
    """The runs whose settings can be read."""
    columns = [schema.runs.c.name, schema.runs.c.seed]
    documents = [sa.cast(schema.runs.c[name], sa.Text) for name in ("config", "protocol", "environment")]
    runs = []
    for name, seed, *texts in connection.execute(sa.select(*columns, *documents).order_by(schema.runs.c.created)):
        try:
            runs.append(Run(name, seed, *(from_json(text) for text in texts)))
            Objective.from_config(runs[-1].config)
        except (ValueError, TypeError, AttributeError) as error:
            report.problems.append(f"the settings of run {name!r} cannot be read ({error})")
    return runs


def _check_run(connection: sa.Connection, run: Run, report: Report, *, with_scores: bool) -> int:
    """Check the trials of a run; returns their number."""
    table, found = schema.trials, _Listed(report, run.name)
    columns: list[Any] = [table.c.number, table.c.status, table.c.score if with_scores else sa.null()]
    columns += [sa.cast(table.c[name], sa.Text) for name in DOCUMENTS]
    query = sa.select(*columns).where(table.c.run == run.name).order_by(table.c.number)
    count, expected = 0, 0
    missing: list[int] = []
    for number, status, score, *texts in connection.execute(query.execution_options(yield_per=CHUNK)):
        count += 1
        missing += range(expected, min(number, expected + MAX_LISTED)) if len(missing) < MAX_LISTED else ()
        expected = number + 1
        documents = {}
        for name, text in zip(DOCUMENTS, texts, strict=True):
            try:
                documents[name] = from_json(text)
            except (ValueError, TypeError) as error:
                found.add(f"{name} of trial {number} cannot be read ({error})")
        if with_scores and "metrics" in documents and not _is_score(run, status, score, documents["metrics"]):
            found.add(f"the score of trial {number} ({score}) is not what its metrics say")
    found.close()
    if missing:
        numbers = ", ".join(map(str, missing[:MAX_LISTED]))
        more = "" if expected - count <= len(missing) else ", …"
        report.notes.append(
            f"run {run.name!r} lacks {plural(expected - count, 'trial')} ({numbers}{more}), which were in progress "
            "when it was stopped; the same command makes them up"
        )
    return count


def _is_score(run: Run, status: str, score: float | None, metrics: Any) -> bool:
    if status != "completed":
        return score is None
    value = metrics.get(run.objective.metric) if isinstance(metrics, dict) else None
    if value is None or math.isnan(value):
        return value is not None and (score is None or math.isnan(score))
    return bool(score == (value if run.objective.direction == "maximize" else -value))


class _Listed:
    """Problems of one run, of which the first are listed and the others counted."""

    def __init__(self, report: Report, run: str) -> None:
        self.report = report
        self.run = run
        self.count = 0

    def add(self, problem: str) -> None:
        self.count += 1
        if self.count <= MAX_LISTED:
            self.report.problems.append(f"run {self.run!r}: {problem}")

    def close(self) -> None:
        if self.count > MAX_LISTED:
            self.report.problems.append(
                f"run {self.run!r}: {plural(self.count - MAX_LISTED, 'further problem')} of this kind"
            )
