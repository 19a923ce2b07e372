"""What every store in a database shares: the same tables, read and written through SQLAlchemy Core.

Every trial is its own transaction, which is durable before `add` returns. Several processes may write different runs of
one store at the same time. A run has one writer at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from nas.core import Trial
from nas.errors import UsageError
from nas.store import schema, unstored
from nas.store.base import Retraining, Run, RunRecord, RunStatus, check_same_run, now, owner
from nas.store.database import Database
from nas.store.record import SQLRecord, insert_missing
from nas.store.rows import read_trials, run_of, run_row
from nas.store.status import read_statuses


class SQLStore(Database):
    """A store in a database; `Database` has the arguments."""

    @contextmanager
    def open(self, run: Run, planned: int | None = None) -> Iterator[RunRecord]:
        engine = self.writer()
        with self.lock(run.name):
            with self.errors_in_one_sentence():
                connection = self.connect(engine, run.name)
            record = None
            try:
                with self.errors_in_one_sentence(), self.damage_in_one_sentence():
                    self._take_unstored(connection, run)
                    run, elapsed = self._start(connection, run, planned)
                with self.reading() as reader:
                    trials = read_trials(reader, run.name, as_finished=True)
                record = SQLRecord(self, connection, run, trials, elapsed)
                yield record
            finally:
                (connection if record is None else record.connection).close()

    def _start(self, connection: sa.Connection, run: Run, planned: int | None) -> tuple[Run, float | None]:
        """Start a session of a run; returns the run as it is stored, and the seconds of its earlier sessions."""
        named, of_run = schema.runs.c.name == run.name, schema.sessions.c.run == run.name
        elapsed = None
        with connection.begin():
            stored = connection.execute(sa.select(schema.runs).where(named)).first()
            if stored is not None and self._has_trials(connection, run.name):
                check_same_run(run_of(stored), run)
                run = run_of(stored)
                elapsed = connection.execute(sa.select(schema.sessions.c.seconds).where(of_run)).scalar()
                connection.execute(schema.sessions.delete().where(of_run))
            else:
                self._replace(connection, run)
            session = {"owner": owner(), "started": now(), "updated": now(), "ended": None, "planned": planned}
            connection.execute(schema.sessions.insert().values(run=run.name, seconds=elapsed, **session))
        return run, elapsed

    @staticmethod
    def _has_trials(connection: sa.Connection, run: str) -> bool:
        select = sa.select(schema.trials.c.number).where(schema.trials.c.run == run).limit(1)
        return connection.execute(select).first() is not None

    @staticmethod
    def _replace(connection: sa.Connection, run: Run) -> None:
        """Store a run in place of one without trials, which does not reserve its name."""
        connection.execute(schema.sessions.delete().where(schema.sessions.c.run == run.name))
        connection.execute(schema.runs.delete().where(schema.runs.c.name == run.name))
        connection.execute(schema.runs.insert().values(**run_row(run), created=now()))

    def _take_unstored(self, connection: sa.Connection, run: Run) -> None:
        """Store the results that an earlier session of a run had to leave in a file."""
        path = self.unstored_file(run.name)
        if not path.exists():
            return
        stored, entries = unstored.read(path)
        check_same_run(stored, run)
        insert = insert_missing(connection, schema.trials)
        with connection.begin():
            if not self._has_trials(connection, run.name):
                self._replace(connection, stored)
                connection.execute(schema.sessions.insert().values(run=run.name))
            for entry in entries:
                count = sa.select(sa.func.count()).where(schema.trials.c.run == run.name)
                row = entry["trial"] | {"finish_order": connection.execute(count).scalar_one()}
                added = connection.execute(insert, row).rowcount
                if added and entry["curve"]:
                    connection.execute(schema.curves.insert(), entry["curve"])
                elapsed = schema.sessions.update().where(schema.sessions.c.run == run.name)
                connection.execute(elapsed.values(seconds=entry["elapsed"]))
        path.unlink()
        unstored.sync_folder(path.parent)

    def prepare(self) -> None:
        self.writer()

    def add_retraining(self, retraining: Retraining) -> None:
        with self.errors_in_one_sentence(), self.writer().begin() as connection:
            row = {key: getattr(retraining, key) for key in retraining.__dataclass_fields__}
            connection.execute(schema.retrainings.insert().values(**row, finished=now()))

    def runs(self) -> list[Run]:
        with self.reading() as connection:
            select = sa.select(schema.runs).order_by(schema.runs.c.created, schema.runs.c.name)
            return [run_of(row) for row in connection.execute(select)]

    def status(self, run: str) -> RunStatus:
        with self.reading() as connection:
            found = read_statuses(connection, lambda runs: self.running(connection, runs), run)
        if not found:
            raise UsageError(f"there is no run {run!r} in store {self.shown}; nas runs lists them")
        return found[0]

    def statuses(self) -> list[RunStatus]:
        with self.reading() as connection:
            return read_statuses(connection, lambda runs: self.running(connection, runs))

    def trials(self, run: str) -> list[Trial]:
        with self.reading() as connection:
            return read_trials(connection, run)

    def trial(self, run: str, number: int) -> Trial | None:
        with self.reading() as connection:
            return next(iter(read_trials(connection, run, [number])), None)

    def retrainings(self) -> list[Retraining]:
        with self.reading() as connection:
            rows = connection.execute(sa.select(schema.retrainings).order_by(schema.retrainings.c.id))
            fields = Retraining.__dataclass_fields__
            return [Retraining(**{key: value for key, value in row._mapping.items() if key in fields}) for row in rows]
