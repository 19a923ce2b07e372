"""The durable store: one SQLite file in write-ahead mode, written through SQLAlchemy Core.

Every trial is its own transaction, synchronised to the disk before `add` returns. Several processes may write different
runs of one store at the same time. A run has one writer at a time, by a lock that the operating system releases when
the process ends.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy.schema import CreateTable

from nas.core import Proposal, Trial
from nas.errors import UsageError, UserError
from nas.store import schema
from nas.store.base import NoStore, Retraining, Run, RunRecord, check_same_run, owner

PREFIX = "sqlite:///"
BUSY_SECONDS = 60
"""Longest time that a write waits for the transaction of another process."""


class SQLiteStore:
    """A store in one file.

    Args:
        url: `sqlite:///relative/path.db` or `sqlite:////absolute/path.db`. The first write creates the file.

    Raises:
        UsageError: Another kind of URL.
    """

    def __init__(self, url: str = "sqlite:///nas.db") -> None:
        if not isinstance(url, str) or not url.startswith(PREFIX) or url[len(PREFIX) :] in ("", ":memory:"):
            raise UsageError(f"store.url must be sqlite:///FILE (four slashes for an absolute path), got {url!r}")
        self.url = url
        self.shown = Path(url[len(PREFIX) :]).expanduser()
        self.path = self.shown.absolute()  # resolved once, since an evaluator may change the current folder

    # --- writing -------------------------------------------------------------------------------------------------

    @contextmanager
    def open(self, run: Run, planned: int | None = None) -> Iterator[RunRecord]:
        engine = self._writer()
        with self._lock(run.name), engine.connect() as connection:
            with self._errors_in_one_sentence():
                named = schema.runs.c.name == run.name
                stored = connection.execute(sa.select(schema.runs).where(named)).first()
                trials = _trials(connection, run.name, schema.trials.c.finish_order)
                of_run = schema.sessions.c.run == run.name
                elapsed = connection.execute(sa.select(schema.sessions.c.seconds).where(of_run)).scalar()
                if stored is None or not trials:  # a run without trials does not reserve its name
                    connection.execute(schema.sessions.delete().where(of_run))
                    elapsed = None
                    connection.execute(schema.runs.delete().where(named))
                    row = {key: getattr(run, key) for key in ("name", "seed", "config", "protocol", "environment")}
                    connection.execute(schema.runs.insert().values(**row, created=_now()))
                else:
                    check_same_run(_run(stored), run)
                    run = _run(stored)
                session = {"owner": owner(), "started": _now(), "updated": _now(), "ended": None, "planned": planned}
                connection.execute(schema.sessions.delete().where(of_run))
                connection.execute(schema.sessions.insert().values(run=run.name, seconds=elapsed, **session))
                connection.commit()
            yield _Record(self, connection, run, trials, elapsed)

    def prepare(self) -> None:
        self._writer()

    def add_retraining(self, retraining: Retraining) -> None:
        with self._errors_in_one_sentence(), self._writer().begin() as connection:
            row = {key: getattr(retraining, key) for key in retraining.__dataclass_fields__}
            connection.execute(schema.retrainings.insert().values(**row, finished=_now()))

    def _writer(self) -> sa.Engine:
        """An engine that may write; creates the file and its tables if they are missing."""
        self._check_file()
        if self.path.exists():
            with (
                self._read_only() as connection
            ):  # refuses the database of another program before write-ahead mode changes it
                self._check_version(connection)
        if self.path.exists() and not self._is_writable():
            raise UsageError(
                f"store file {self.shown} is read-only; make it writable (chmod u+w) or set store.url to another file"
            )
        with self._errors_in_one_sentence():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            engine = self._engine(str(self.path))
            with engine.connect() as connection:
                empty = not sa.inspect(connection).has_table(schema.meta.name)
                for table in schema.metadata.sorted_tables if empty else ():
                    connection.execute(CreateTable(table, if_not_exists=True))
                if empty:
                    schema.by_score.create(connection)
                insert = schema.meta.insert().prefix_with("OR IGNORE")
                connection.execute(insert.values(key="schema", value=str(schema.VERSION)))
                version = int(
                    connection.execute(sa.select(schema.meta.c.value).where(schema.meta.c.key == "schema")).scalar_one()
                )
                if version < schema.VERSION:
                    schema.upgrade(connection, version)
                connection.commit()
        return engine

    @contextmanager
    def _lock(self, run: str) -> Iterator[None]:
        digest = hashlib.blake2b(run.encode(), digest_size=4).hexdigest()
        path = self.path.resolve()  # the same lock, even if the store is reached by a link
        path = path.with_name(f"{path.name}-{digest}.lock")
        lock = FileLock(path)
        with self._errors_in_one_sentence():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise UsageError(
                    f"run {run!r} of store {self.shown} is being written by another process; "
                    "wait until it ends or choose another run="
                ) from None
        try:
            yield
        finally:
            lock.release()

    # --- reading -------------------------------------------------------------------------------------------------

    def runs(self) -> list[Run]:
        with self.reading() as connection:
            return [_run(row) for row in connection.execute(sa.select(schema.runs).order_by(schema.runs.c.created))]

    def trials(self, run: str) -> list[Trial]:
        with self.reading() as connection:
            return _trials(connection, run)

    def retrainings(self) -> list[Retraining]:
        with self.reading() as connection:
            rows = connection.execute(sa.select(schema.retrainings).order_by(schema.retrainings.c.id))
            fields = Retraining.__dataclass_fields__
            return [Retraining(**{key: value for key, value in row._mapping.items() if key in fields}) for row in rows]

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to an existing store that cannot change it, not even by opening it."""
        self._check_file()
        if not self.path.exists():
            raise NoStore(f"there is no store {self.shown}; run nas search first, or set store.url to an existing file")
        with self._read_only() as connection:
            if not self._check_version(connection):
                raise UsageError(f"store {self.shown} is empty; run nas search first, or set store.url to another file")
            yield connection

    @contextmanager
    def _read_only(self) -> Iterator[sa.Connection]:
        with self._errors_in_one_sentence():
            # Only a connection that may write removes SQLite's log and shared memory when it is the last to close;
            # `query_only` prevents any change
            removes_log = self._is_writable() and os.access(self.path.parent, os.W_OK)
            address = f"file:{quote(str(self.path))}?mode={'rw' if removes_log else 'ro'}"
            log = self.path.with_name(f"{self.path.name}-wal")
            try:
                with self._engine(address).connect() as connection:
                    connection.execute(sa.text("SELECT 1 FROM sqlite_master"))
            except sa.exc.OperationalError:
                # SQLite cannot create its shared memory in a read-only folder. No process writes there, so the file may
                # be read as it is, unless its log still holds trials.
                if os.access(self.path.parent, os.W_OK) or (log.exists() and log.stat().st_size):
                    raise
                address += "&immutable=1"
            with self._engine(address).connect() as connection:
                yield connection

    # --- both ----------------------------------------------------------------------------------------------------

    def _engine(self, address: str) -> sa.Engine:
        writing = not address.startswith("file:")

        def connect() -> sqlite3.Connection:
            # isolation_level=None, since the driver's own transactions do not cover the creation of tables
            connection = sqlite3.connect(address, timeout=BUSY_SECONDS, uri=not writing, isolation_level=None)
            if writing:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
            else:
                connection.execute("PRAGMA query_only=ON")
            return connection

        engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.NullPool)

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            # A writer that starts as a reader could be refused half-way, if another process has written meanwhile
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

        return engine

    def _is_writable(self) -> bool:
        """Whether the file may be written; its mode counts too, since root may write anything."""
        return bool(self.path.stat().st_mode & 0o222) and os.access(self.path, os.W_OK)

    def _check_file(self) -> None:
        """Raise `UsageError` if the path exists and is not an SQLite file."""
        if self.path.is_dir():
            raise UsageError(f"store.url={self.url} is a folder; expected the path of an SQLite file")
        if not self.path.exists():
            return
        try:
            with self.path.open("rb") as file:
                head = file.read(16)
        except OSError as error:
            raise UsageError(f"store file {self.shown} cannot be read ({error.strerror}); set store.url") from None
        if head and head != b"SQLite format 3\0":
            raise UsageError(
                f"store file {self.shown} is not an SQLite database; it was left unchanged, set store.url to another "
                "file"
            )

    def _check_version(self, connection: sa.Connection) -> bool:
        """Whether the store has tables; raises `UsageError` if they belong to another program or a newer version."""
        tables = set(connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars())
        if not tables:
            return False
        if schema.meta.name not in tables:
            raise UsageError(
                f"store file {self.shown} is an SQLite database of another program (tables "
                f"{', '.join(sorted(tables)[:3])}); it was left unchanged, set store.url to another file"
            )
        version = connection.execute(sa.select(schema.meta.c.value).where(schema.meta.c.key == "schema")).scalar()
        if version is None:
            raise UsageError(f"store file {self.shown} is damaged (no schema version); set store.url to another file")
        if int(version) > schema.VERSION:
            raise UsageError(
                f"store file {self.shown} was made by a newer version of cellnas (schema {version}, this one reads up "
                f"to {schema.VERSION}); upgrade cellnas or set store.url to another file"
            )
        return True

    @contextmanager
    def _errors_in_one_sentence(self) -> Iterator[None]:
        """Raise errors of the database and the disk as `UserError`, in one sentence."""
        try:
            yield
        except sa.exc.StatementError as error:  # errors of the database, and values that it cannot store
            reason = str(error.orig)
            hint = next((hint for word, hint in HINTS.items() if word in reason), "see store.url")
            raise UserError(f"store {self.shown}: {reason}; {hint}") from None
        except (OSError, OverflowError, UnicodeError) as error:
            raise UserError(
                f"store {self.shown}: {getattr(error, 'strerror', None) or error}; set store.url to another file"
            ) from None


HINTS: Mapping[str, str] = {
    "full": "free some space and run the same command again to resume; trials stored before are safe",
    "readonly": "make the file and its folder writable, or set store.url to another file",
    "locked": "another process is using it; run the same command again to resume",
    "malformed": "the file is damaged; restore a copy, or set store.url to another file",
    "unable to open": "make its folder writable, or set store.url to another file",
}


class _Record:
    def __init__(
        self, store: SQLiteStore, connection: sa.Connection, run: Run, trials: list[Trial], elapsed: float | None
    ) -> None:
        self.run = run
        self.trials = trials
        self.elapsed = elapsed
        self._store = store
        self.connection = connection
        self._trial = schema.trials.insert()
        self._curve = schema.curves.insert()
        self._clock = schema.sessions.update().where(schema.sessions.c.run == run.name)
        self._finished = len(trials)
        self._file = self._inode()

    def _inode(self) -> tuple[int, int] | None:
        """The identity of the file, which another file of the same name does not share; None if it does not exist."""
        try:
            status = self._store.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def end_session(self, seconds: float, ended: str) -> None:
        with suppress(sa.exc.SQLAlchemyError), self.connection.begin():
            self.connection.execute(self._clock, {"seconds": seconds, "updated": _now(), "ended": ended})

    def add(self, trial: Trial, elapsed: float = 0.0) -> None:
        if self._inode() != self._file:
            raise UserError(
                f"store {self._store.shown} was removed or replaced during run {self.run.name!r}: trial "
                f"{trial.number} cannot be stored, and the {self._finished} before it are lost with the file; run the "
                "same command again to start over"
            )
        proposal = trial.proposal
        row = {
            "run": self.run.name,
            "number": trial.number,
            "architecture": proposal.architecture,
            "text": trial.text,
            "canonical": trial.canonical,
            "fidelity": proposal.fidelity,
            "info": proposal.info,
            "seed": trial.seed,
            "status": trial.status,
            "metrics": trial.metrics,
            "seconds": trial.seconds,
            "cost": trial.cost,
            "reused_from": trial.reused_from,
            "error_kind": trial.error_kind,
            "error": trial.error,
            "finished": _now(),
            "told_before": trial.told_before,
            "finish_order": self._finished,
            "score": self.run.objective.score(trial) if trial.completed else None,
            "traceback": trial.traceback,
        }
        self._finished += 1
        points = [
            {"run": self.run.name, "trial": trial.number, "epoch": epoch, "metrics": metrics}
            for epoch, metrics in enumerate(trial.curve, start=1)
        ]
        with self._store._errors_in_one_sentence(), self.connection.begin():
            self.connection.execute(self._trial, row)
            self.connection.execute(self._clock, {"seconds": elapsed, "updated": row["finished"]})
            if points:
                self.connection.execute(self._curve, points)


def trials_at(connection: sa.Connection, run: str, numbers: Sequence[int]) -> list[Trial]:
    """Some trials of a run, by number."""
    return _trials(connection, run, numbers=numbers)


def _trials(
    connection: sa.Connection,
    run: str,
    order: sa.Column[Any] = schema.trials.c.number,
    numbers: Sequence[int] | None = None,
) -> list[Trial]:
    table, curves = schema.trials, schema.curves
    ours, of_ours = table.c.run == run, curves.c.run == run
    if numbers is not None:
        ours, of_ours = ours & table.c.number.in_(numbers), of_ours & curves.c.trial.in_(numbers)
    points: dict[int, list[Mapping[str, float]]] = {}
    query = sa.select(curves.c.trial, curves.c.metrics).where(of_ours)
    for number, metrics in connection.execute(query.order_by(curves.c.trial, curves.c.epoch)):
        points.setdefault(number, []).append(metrics)
    # only a writer upgrades a store, so a reader may meet an earlier version
    present = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
    earlier = schema.NAMES_OF_VERSION_2
    wanted: list[sa.ColumnElement[Any]] = [column for column in table.c if column.name in present]
    wanted += [sa.literal_column(old).label(new) for new, old in earlier.items() if old in present]
    rows = connection.execute(sa.select(*wanted).select_from(table).where(ours).order_by(order))
    return [
        Trial(
            number=row.number,
            proposal=Proposal(tuple(row.architecture), row.fidelity, row.info),
            text=row.text,
            canonical=row.canonical,
            seed=row.seed,
            status=row.status,
            metrics=row.metrics,
            seconds=row.seconds,
            cost=row.cost,
            reused_from=row.reused_from,
            error_kind=row.error_kind,
            error=row.error,
            curve=tuple(points.get(row.number, ())),
            told_before=getattr(row, "told_before", row.number),
            traceback=getattr(row, "traceback", None),
        )
        for row in rows
    ]


def _run(row: sa.Row[Any]) -> Run:
    return Run(row.name, row.seed, row.config, row.protocol, row.environment)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
