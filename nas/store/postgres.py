"""The store in a PostgreSQL database, which several machines may share.

The owner of a run holds an advisory lock of the session that writes: a dead owner loses both at once, and no other
process can write the run as long as it has them.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import cast
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from nas.errors import UsageError
from nas.store import schema, unstored
from nas.store.base import NoStore
from nas.store.rows import from_json, to_json
from nas.store.sql import SQLStore
from nas.store.urls import PATIENCE, POSTGRESQL, unknown_url, without_password

LOCK_SECONDS = 1.0
"""Longest time that a run waits for its lock: the server may not have noticed yet that the last owner has ended."""
CONNECT_SECONDS = 10
SESSION = (
    "SET synchronous_commit = on",  # a trial is on the server's disk before `add` returns
    "SET tcp_keepalives_idle = 30",  # the server notices within a minute that the machine of an owner has gone
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 3",
)
PASSING = ("08", "25006", "40", "53", "55", "57", "58")
"""First characters of the codes of errors that may be gone at the next try: lost connections, a server that starts,
stops, or is only a copy for the moment, deadlocks, full disks."""


class PostgresStore(SQLStore):
    """A store in a database of a server.

    Args:
        url: `postgresql+psycopg://USER@HOST:PORT/DATABASE`; libpq also reads a password from `PGPASSWORD` or
            `~/.pgpass`.
        patience: Seconds for which a result that could not be stored is tried again.
        unstored: Folder of the results that could not be stored in that time, in that of their run.

    Raises:
        UsageError: Another kind of URL, or the driver is not installed.
    """

    hints = {
        "password authentication failed": "check the user and the password of store.url, PGPASSWORD or ~/.pgpass",
        "no password supplied": "set PGPASSWORD, or write the password to ~/.pgpass",
        "does not exist": "create it (createdb), or check store.url",
        "permission denied": "let this user create tables there (GRANT CREATE ON SCHEMA), or set store.url",
        "too many": "raise max_connections of the server, or run fewer searches at a time",
        "out of range": "choose a smaller number",
        "No space left": "free some space on the server and run the same command again to resume",
        "refused": "check host and port of store.url, and that the server runs",
        "failed to resolve": "check the host of store.url",
        "timeout": "check host and port of store.url, and that the server runs",
        "connection": "check that the server runs, and run the same command again to resume",
    }

    def __init__(self, url: str, patience: float = PATIENCE, unstored: str = "runs") -> None:
        try:
            parsed = sa.make_url(url).set(drivername=POSTGRESQL.partition(":")[0])
        except (sa.exc.ArgumentError, ValueError):
            raise unknown_url(url) from None
        if not parsed.database:
            raise unknown_url(url)
        super().__init__(url, without_password(url), patience)
        self._parsed = parsed
        self._folder = Path(unstored).expanduser().absolute()
        self._engine = self._new_engine()

    def _new_engine(self) -> sa.Engine:
        try:
            engine = sa.create_engine(
                self._parsed,
                poolclass=sa.pool.NullPool,
                json_serializer=to_json,
                json_deserializer=from_json,
                connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "cellnas"},
            )
        except ModuleNotFoundError:
            raise UsageError(
                f"store.url={self.shown} needs the driver psycopg; install it with pip install 'cellnas[postgres]'"
            ) from None

        @sa.event.listens_for(engine, "connect")
        def connect(connection: object, _record: object) -> None:
            with connection.cursor() as cursor:  # type: ignore[attr-defined]
                for statement in SESSION:
                    cursor.execute(statement)
            connection.commit()  # type: ignore[attr-defined]

        return engine

    # Writing

    def writer(self) -> sa.Engine:
        with self.errors_in_one_sentence(), self._engine.begin() as connection:
            if not self.check_version(connection):
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_key(connection, "tables"))))
                schema.metadata.create_all(connection)
                values = {"key": "schema", "value": str(schema.VERSION)}
                connection.execute(insert(schema.meta).on_conflict_do_nothing(), values)
        return self._engine

    def lock(self, run: str) -> nullcontext[None]:
        return nullcontext()

    def connect(self, engine: sa.Engine, run: str, lost: object = None) -> sa.Connection:
        connection = engine.connect()
        try:
            self._own(connection, run, lost)
        except BaseException:
            connection.close()
            raise
        return connection

    def _own(self, connection: sa.Connection, run: str, lost: object) -> None:
        """Take the lock of a run for a session; raises `UsageError` if another one has it."""
        key, end = _key(connection, f"run {run}"), time.monotonic() + LOCK_SECONDS
        while not connection.execute(sa.select(sa.func.pg_try_advisory_lock(key))).scalar_one():
            if lost is not None:  # the server may not know yet that our own connection was lost
                ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE (pid, backend_start) = (:p, :s)"
                connection.execute(sa.text(ended), dict(zip("ps", cast("tuple[int, object]", lost), strict=True)))
            connection.commit()
            if time.monotonic() > end:
                raise self.is_written_by_another(run)
            time.sleep(0.05)
        connection.commit()

    def session(self, connection: sa.Connection) -> object:
        own = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        with connection.begin():
            return tuple(connection.execute(sa.text(own)).one())

    def running(self, connection: sa.Connection, runs: Iterable[str]) -> Collection[str]:
        held = connection.execute(
            sa.text(
                "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )
        keys = set(held.scalars())
        return {run for run in runs if _key(connection, f"run {run}") in keys} if keys else set()

    def is_passing(self, error: sa.exc.DBAPIError) -> bool:
        code = getattr(error.orig, "sqlstate", None)
        if code is None:  # the connection itself failed
            return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
        return str(code).startswith(PASSING)

    def unstored_file(self, run: str) -> Path:
        return self._folder / quote(run, safe=" +=,@()[]~!")[:180] / unstored.file_name(self.shown, run)

    # Reading

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        with self.errors_in_one_sentence(), self._engine.connect() as connection:
            # all statements see the same trials
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            if not self.check_version(connection):
                raise NoStore(
                    f"store {self.shown} is empty; run nas search first, or set store.url to another database"
                )
            yield connection

    def foreign_tables(self, tables: set[str]) -> set[str]:
        """Other programs may have tables of other names in the database."""
        return tables & schema.metadata.tables.keys()

    def reason(self, error: sa.exc.StatementError) -> str:
        diagnosis = getattr(error.orig, "diag", None)  # the other lines show the statement
        said = getattr(diagnosis, "message_primary", None) or str(error.orig)
        said = re.sub(r"\n\t.*", "", said)  # libpq explains its errors in lines of their own
        reason = " ".join(said.removeprefix("connection failed: ").split())
        return reason.replace(password, "***") if (password := self._parsed.password) else reason


def _key(connection: sa.Connection, name: str) -> int:
    """The number of a lock, 64 bits with a sign. Locks belong to a database, of which several schemas may be stores."""
    schema_name = connection.dialect.default_schema_name or ""
    digest = hashlib.blake2b(f"cellnas {schema_name} {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
