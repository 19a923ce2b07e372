"""Copies of SQLite stores: while they are in use, and of what is readable in a damaged one."""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nas.errors import UsageError, UserError
from nas.store.sql import SQLStore
from nas.store.sqlite import SQLiteStore
from nas.store.unstored import sync_folder

MAX_GAP = 2**24
"""Largest number of successive rows that a damaged part may hide."""


@dataclass
class Salvaged:
    """What was read of a damaged store.

    Args:
        rows: Table -> number of its readable rows.
        trials: Run -> number of its readable trials.
        expected: Run -> number of its trials by their index; without a run whose part of the index is damaged.
    """

    rows: dict[str, int] = field(default_factory=dict)
    trials: dict[str, int] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)


def check_new(out: str) -> Path:
    """The path of a file to create.

    Raises:
        UsageError: It exists, or its folder does not.
    """
    path = Path(out).expanduser().absolute()
    if os.path.lexists(path):
        raise UsageError(f"out={out} exists and was left unchanged; set out= to a new file")
    if not path.parent.is_dir():
        raise UsageError(f"out={out}: there is no folder {path.parent}; create it, or set out= to another file")
    return path


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path beside a new file, which becomes the file once it is whole and on the disk.

    Raises:
        UserError: It cannot be written; nothing is left of it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"out={path} cannot be written ({reason}); free some space or set out= to another disk"
        ) from None
    finally:
        for leftover in (
            temporary,
            *(temporary.with_name(f"{temporary.name}{end}") for end in ("-wal", "-shm", "-journal")),
        ):
            leftover.unlink(missing_ok=True)


def back_up(store: SQLiteStore, path: Path) -> None:
    """Copy a store as it is at one moment, while others may write it, and check the copy.

    Args:
        store: Store to copy.
        path: New file.

    Raises:
        UserError: The store is damaged, or the file cannot be written; it does not exist then.
    """
    with store.reading():  # refuses what is not a store
        pass
    with new_file(path) as temporary:
        with closing(opened_to_read(store.path)) as source, closing(sqlite3.connect(temporary)) as target:
            source.backup(target)  # in one step: a writer is not kept from writing, and cannot change what is copied
            target.execute("PRAGMA journal_mode=DELETE")  # one file, until a writer opens it
            problems = [row[0] for row in target.execute("PRAGMA quick_check(1)")]
        if problems != ["ok"]:
            raise UserError(
                f"store {store.shown} is damaged ({' '.join(problems[0].split())}), so no copy was kept; nas store "
                "check out=FILE saves what can still be read"
            )


def upgraded_copy(store: SQLStore, path: Path) -> SQLiteStore:
    """A copy of a store of an earlier version, upgraded to the present one."""
    assert isinstance(store, SQLiteStore)  # no earlier version has another kind
    back_up(store, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the copy is upgraded concerns nobody
        copy = SQLiteStore(f"sqlite:///{path}")
        copy.prepare()
    return copy


def opened_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot change a file."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=60)


def salvage(store: SQLiteStore, path: Path | None) -> Salvaged:
    """Read what can be read of a damaged store, row by row where it must be.

    Args:
        store: The store.
        path: New file for what is readable, a store of the same version; None: only count.

    Raises:
        UserError: Its list of tables is damaged too, so nothing can be read.
    """
    if path is None:
        return _salvage(store, None)
    with new_file(path) as temporary, closing(sqlite3.connect(temporary)) as target:
        found = _salvage(store, target)
        target.commit()
    return found


def _salvage(store: SQLiteStore, target: sqlite3.Connection | None) -> Salvaged:
    found = Salvaged()
    with closing(opened_to_read(store.path)) as source:
        try:
            statements = source.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        except sqlite3.Error as error:
            raise UserError(
                f"store {store.shown} is damaged where it lists its tables ({error}), so nothing can be read of it; "
                "restore a backup"
            ) from None
        tables = [name for kind, name, _ in statements if kind == "table" and not name.startswith("sqlite_")]
        if target is not None:
            for _, name, sql in sorted(statements, key=lambda row: row[0] != "table"):
                if not name.startswith("sqlite_"):
                    target.execute(sql)
        for table in tables:
            _copy_rows(source, target, table, found)
        with suppress(sqlite3.Error):
            query = "SELECT run, COUNT(*) FROM trials INDEXED BY trials_by_score GROUP BY run"
            found.expected = dict(source.execute(query).fetchall())
    return found


def _copy_rows(source: sqlite3.Connection, target: sqlite3.Connection | None, table: str, found: Salvaged) -> None:
    columns = [row[1] for row in source.execute(f"PRAGMA table_info({table})")]
    run = columns.index("run") if table == "trials" else None
    insert = (
        f"INSERT OR IGNORE INTO {table} (rowid, {', '.join(columns)}) VALUES ({', '.join('?' * (len(columns) + 1))})"
    )
    found.rows[table] = 0
    for row in _readable(source, table):
        found.rows[table] += 1
        if run is not None:
            found.trials[row[run + 1]] = found.trials.get(row[run + 1], 0) + 1
        if target is not None:
            target.execute(insert, row)


def _readable(source: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """The readable rows of a table, each after its rowid."""
    position: int | None = -(2**62)
    while position is not None:
        try:
            for row in source.execute(f"SELECT rowid, * FROM {table} WHERE rowid > ? ORDER BY rowid", (position,)):
                position = row[0]
                yield row
            return
        except sqlite3.Error:
            position = _after_damage(source, table, max(position, 0))


def _after_damage(source: sqlite3.Connection, table: str, position: int) -> int | None:
    """The last position that is followed by a readable row, beyond rows that are not readable; None: there is none."""

    def is_readable(start: int) -> bool | None:
        """Whether the row after a position can be read; None: there is no further row."""
        try:
            row = source.execute(f"SELECT * FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT 1", (start,)).fetchone()
        except sqlite3.Error:
            return False
        return None if row is None else True

    step = 1
    while (readable := is_readable(position + step)) is False and step < MAX_GAP:
        step *= 2
    if readable is False:
        return None
    low, high = position + step // 2, position + step  # the first readable position is above low and at most high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_readable(middle) is False else (low, middle)
    return high
