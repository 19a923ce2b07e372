"""A run of a database that is open for writing."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from nas.core import Trial
from nas.errors import UserError
from nas.runtime import interrupt
from nas.store import schema, unstored
from nas.store.base import Run, now, storable
from nas.store.database import Database
from nas.store.rows import curve_rows, trial_row

FIRST_WAIT = 0.1
LONGEST_WAIT = 15.0
"""Seconds before the first further try, and at most between two; each wait is twice as long as the one before."""


def insert_missing(connection: sa.Connection, table: sa.Table) -> Any:
    """An `INSERT` that passes over rows that exist, and counts those that it stores."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        statement: Any = sqlite_insert(table)
    else:  # readers of a file need not import it
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        statement = postgresql_insert(table)
    return statement.on_conflict_do_nothing().execution_options(preserve_rowcount=True)


class SQLRecord:
    """See `nas.store.base.RunRecord`.

    Args:
        store: Its store.
        connection: Connection that may write the run.
        run: The run as it is stored.
        trials: Its stored trials, as they finished.
        elapsed: Seconds of its earlier sessions.
    """

    def __init__(
        self, store: Database, connection: sa.Connection, run: Run, trials: list[Trial], elapsed: float | None
    ) -> None:
        self.run = run
        self.trials = trials
        self.elapsed = elapsed
        self.connection = connection
        self._store = store
        self._engine = connection.engine
        self._finished = len(trials)
        self._identity = store.identity()
        self._session = store.session(connection)
        self._patience = store.patience
        self._trial = insert_missing(connection, schema.trials)
        self._curve = schema.curves.insert()
        self._clock = schema.sessions.update().where(schema.sessions.c.run == run.name)

    def end_session(self, seconds: float, ended: str) -> None:
        with suppress(sa.exc.SQLAlchemyError, UserError):
            self._check_connection()
            with self.connection.begin():
                self.connection.execute(self._clock, {"seconds": seconds, "updated": now(), "ended": ended})

    def add(self, trial: Trial, elapsed: float = 0.0) -> None:
        if self._store.identity() != self._identity:
            raise UserError(
                f"store {self._store.shown} was removed or replaced during run {self.run.name!r}: trial "
                f"{trial.number} cannot be stored, and the {self._finished} before it are lost with the file; run the "
                "same command again to start over"
            )
        trial = storable(trial)
        row, points = trial_row(self.run, trial, self._finished), curve_rows(self.run, trial)

        def write() -> None:
            self._check_connection()
            with self.connection.begin():
                if self.connection.execute(self._trial, row).rowcount:
                    self.connection.execute(self._clock, {"seconds": elapsed, "updated": row["finished"]})
                    if points:
                        self.connection.execute(self._curve, points)
                else:
                    self._check_equal(row)

        with self._store.errors_in_one_sentence():
            try:
                write()
            except sa.exc.DBAPIError as error:
                if not self._store.is_passing(error):
                    raise
                self._insist(write, error, {"trial": row, "curve": points, "elapsed": elapsed})
        self._finished += 1

    def _check_equal(self, row: dict[str, Any]) -> None:
        """Raise `UserError` unless the stored trial of this number is this one, whose acknowledgement was lost."""
        table = schema.trials.c
        select = sa.select(table.text, table.seed, table.finished, table.finish_order)
        found = self.connection.execute(select.where(table.run == row["run"], table.number == row["number"])).one()
        if any(getattr(found, key) != row[key] for key in ("text", "seed", "finished", "finish_order")):
            raise UserError(
                f"run {self.run.name!r} of store {self._store.shown} already has another trial {row['number']}: "
                "another process has written it; run the same command again to resume"
            )

    def _insist(self, write: Callable[[], None], error: sa.exc.DBAPIError, entry: dict[str, Any]) -> None:
        """Try again until the patience ends; keep the result in a file then, and raise `UserError`."""
        number = entry["trial"]["number"]
        if self._patience:
            warnings.warn(
                f"trial {number} could not be stored, trying again for {self._patience:g} s: "
                f"store {self._store.shown}: {self._store.reason(error)}",
                stacklevel=4,
            )
        deadline, wait = time.monotonic() + self._patience, FIRST_WAIT
        try:
            while time.monotonic() < deadline:
                self._sleep(min(wait, deadline - time.monotonic()))
                wait = min(2 * wait, LONGEST_WAIT)
                try:
                    write()
                    return
                except sa.exc.DBAPIError as again:
                    if not self._store.is_passing(again):
                        raise
                    error = again
        except KeyboardInterrupt:
            self._keep(entry)
            raise
        self._patience = 0.0  # the results that other workers still have are kept at once
        path = self._keep(entry)
        raise UserError(
            f"{self._store.sentence(error)} (trial {number} is kept in {path}, from which the same command takes it)"
        )

    def _keep(self, entry: dict[str, Any]) -> str:
        path = self._store.unstored_file(self.run.name)
        unstored.keep(path, self.run, entry)
        return str(path)

    @staticmethod
    def _sleep(seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            interrupt.check()
            time.sleep(min(left, 0.5))

    def _check_connection(self) -> None:
        """Replace the connection if it was lost; raises `UserError` if another process owns the run meanwhile.

        SQLAlchemy would replace it too, but not take the run's lock with it.
        """
        if self.connection.invalidated:
            self.connection.close()
        if self.connection.closed:
            self.connection = self._store.connect(self._engine, self.run.name, self._session)
            self._session = self._store.session(self.connection)
