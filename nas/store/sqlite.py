"""The store in one SQLite file, in write-ahead mode. Its lock files are released by the system when a process ends."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy.schema import CreateTable

from nas.errors import UsageError, UserError
from nas.store import schema, unstored
from nas.store.base import NoStore
from nas.store.mounts import network_file_system
from nas.store.rows import from_json, to_json
from nas.store.sql import SQLStore
from nas.store.urls import DEFAULT_URL, PATIENCE, SQLITE, unknown_url

BUSY_SECONDS = 60
"""Longest time that a write waits for the transaction of another process."""
LOCK_SECONDS = 0.5
"""Longest time that a run waits for its lock: another process may hold it for a moment, to see if the run is alive."""
HEADER_BYTES = 100
"""Size of the header of an SQLite file; a smaller one is none, unless it is empty."""


class SQLiteStore(SQLStore):
    """A store in one file.

    Args:
        url: `sqlite:///relative/path.db` or `sqlite:////absolute/path.db`. The first write creates the file.
        patience: Seconds for which a result is tried again while other processes keep the file locked.

    Raises:
        UsageError: Another kind of URL.
    """

    file = "file "
    hints = {
        "full": "free some space and run the same command again to resume; trials stored before are safe",
        "readonly": "make the file and its folder writable, or set store.url to another file",
        "locked": "another process is using it; run the same command again to resume",
        "malformed": "the file is damaged; restore a copy, or set store.url to another file",
        "decode": "the file is damaged; restore a copy, or set store.url to another file",
        "unable to open": "make its folder writable, or set store.url to another file",
    }

    def __init__(self, url: str = DEFAULT_URL, patience: float = PATIENCE) -> None:
        if not isinstance(url, str) or not url.startswith(SQLITE) or url[len(SQLITE) :] in ("", ":memory:"):
            raise unknown_url(url)
        given = Path(url[len(SQLITE) :]).expanduser()
        super().__init__(url, str(given), patience)
        self.path = given.absolute()  # resolved once, since an evaluator may change the current folder

    # Writing

    def writer(self) -> sa.Engine:
        self._check_file()
        if kind := network_file_system(self.path):
            raise UsageError(
                f"store file {self.shown} is on a network file system ({kind}), where SQLite may lose data; set "
                "store.url to a file on a local disk, or to a PostgreSQL server (postgresql+psycopg://USER@HOST/"
                "DATABASE), which several machines may share"
            )
        if self.path.exists():
            # refuses other databases before write-ahead mode changes them
            with self._read_only() as connection, self.damage_in_one_sentence():
                self.check_version(connection)
        if self.path.exists() and not self._is_writable():
            raise UsageError(
                f"store file {self.shown} is read-only; make it writable (chmod u+w) or set store.url to another file"
            )
        with self.errors_in_one_sentence():
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
                    self._back_up(version)
                    schema.upgrade(connection, version)
                connection.commit()
        return engine

    def _back_up(self, version: int) -> None:
        """Copy the file before its tables are upgraded; the caller's transaction keeps other writers out."""
        copy = self.path.with_name(f"{self.path.name}.schema{version}.bak")
        temporary = copy.with_name(f".{copy.name}.{os.getpid()}")
        try:
            with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(temporary)) as target:
                source.backup(target)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(copy)
            unstored.sync_folder(copy.parent)
        except (OSError, sqlite3.Error) as error:
            raise UserError(
                f"store file {self.shown} has to be upgraded from schema {version} to {schema.VERSION}, and no copy of "
                f"it could be saved as {copy.name} ({error}); free some space, nothing was changed"
            ) from None
        finally:
            temporary.unlink(missing_ok=True)
        warnings.warn(
            f"store file {self.shown} is upgraded from schema {version} to {schema.VERSION}; the file as it was is "
            f"kept as {copy.name}",
            stacklevel=2,
        )

    def _lock_file(self, run: str) -> Path:
        digest = hashlib.blake2b(run.encode(), digest_size=4).hexdigest()
        path = self.path.resolve()  # the same lock, even if the store is reached by a link
        return path.with_name(f"{path.name}-{digest}.lock")

    @contextmanager
    def lock(self, run: str) -> Iterator[None]:
        lock = FileLock(self._lock_file(run))
        with self.errors_in_one_sentence():
            try:
                lock.acquire(timeout=LOCK_SECONDS)
            except Timeout:
                raise self.is_written_by_another(run) from None
        try:
            yield
        finally:
            lock.release()

    def connect(self, engine: sa.Engine, run: str, lost: object = None) -> sa.Connection:
        return engine.connect()

    def running(self, connection: sa.Connection, runs: Iterable[str]) -> Collection[str]:
        return {run for run in runs if _is_locked(self._lock_file(run))}

    def is_passing(self, error: sa.exc.DBAPIError) -> bool:
        return "locked" in str(error.orig) or "busy" in str(error.orig)

    def unstored_file(self, run: str) -> Path:
        return self.path.with_name(f"{self.path.name}-{unstored.file_name('', run)}")

    def identity(self) -> tuple[int, int] | None:
        """The identity of the file, which another file of the same name does not share; None if it does not exist."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    # Reading

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        self._check_file()
        if not self.path.exists():
            raise NoStore(f"there is no store {self.shown}; run nas search first, or set store.url to an existing file")
        with self._read_only() as connection, self.damage_in_one_sentence():
            if not self.check_version(connection):
                raise NoStore(f"store {self.shown} is empty; run nas search first, or set store.url to another file")
            yield connection

    @contextmanager
    def _read_only(self) -> Iterator[sa.Connection]:
        with self.errors_in_one_sentence():
            # Only a connection that may write removes SQLite's log and shared memory when it is the last to close;
            # `query_only` prevents any change
            removes_log = self._is_writable() and os.access(self.path.parent, os.W_OK)
            address = f"file:{quote(str(self.path))}?mode={'rw' if removes_log else 'ro'}"
            log = self.path.with_name(f"{self.path.name}-wal")
            try:
                with self._engine(address).connect() as connection:
                    connection.execute(sa.text("SELECT 1 FROM sqlite_master"))
            except sa.exc.DatabaseError as error:
                if "not a database" in str(error.orig):
                    raise self._is_no_database() from None
                if not isinstance(error, sa.exc.OperationalError):
                    raise
                # SQLite cannot create its shared memory in a read-only folder. No process writes there, so the file may
                # be read as it is, unless its log still holds trials.
                if os.access(self.path.parent, os.W_OK) or (log.exists() and log.stat().st_size):
                    raise
                address += "&immutable=1"
            with self._engine(address).connect() as connection:
                yield connection

    # Both

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

        engine = sa.create_engine(
            "sqlite://",
            creator=connect,
            poolclass=sa.pool.NullPool,
            json_serializer=to_json,
            json_deserializer=from_json,
        )

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            # A writer that starts as a reader could be refused half-way, if another process has written meanwhile
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

        return engine

    def _is_writable(self) -> bool:
        """Whether the file may be written; its mode counts too, since root may write anything."""
        return bool(self.path.stat().st_mode & 0o222) and os.access(self.path, os.W_OK)

    def _check_file(self) -> None:
        """Raise `UsageError` if the path exists and is certainly not an SQLite file.

        The file is not opened here: when a process closes any descriptor of a file, the system drops all locks that the
        process holds on it, SQLite's too. Another process would then remove the log that this one still writes.
        """
        if self.path.is_dir():
            raise UsageError(f"store.url={self.url} is a folder; expected the path of an SQLite file")
        if not self.path.exists():
            return
        if not os.access(self.path, os.R_OK):
            raise UsageError(f"store file {self.shown} cannot be read (Permission denied); set store.url")
        if 0 < self.path.stat().st_size < HEADER_BYTES:
            raise self._is_no_database()

    def _is_no_database(self) -> UsageError:
        return UsageError(
            f"store file {self.shown} is not an SQLite database; it was left unchanged, set store.url to another file"
        )


def _is_locked(path: Path) -> bool:
    """Whether a process holds a lock file."""
    if not path.exists():
        return False
    if sys.platform == "win32":
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False
    import fcntl

    with path.open("rb") as file:  # a reader may have no right to write
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
