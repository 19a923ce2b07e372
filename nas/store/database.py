"""What each kind of database does in its own way, and what their messages share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import sqlalchemy as sa

from nas.errors import UsageError, UserError, text_of
from nas.store import schema
from nas.validation import number_in


class Database(ABC):
    """A database with the tables of a store.

    Args:
        url: URL of the database.
        shown: Its name in messages, without a password.
        patience: Seconds for which a result that could not be stored is tried again.

    Raises:
        UsageError: The patience is not a number of at least 0.
    """

    file = ""
    """Word for the store in messages, before `shown`."""
    hints: Mapping[str, str] = {}
    """Part of a database's message -> what to do about it."""

    def __init__(self, url: str, shown: str, patience: float) -> None:
        self.url = url
        self.shown = shown
        number_in("store.patience", patience, 0, 1e9)
        self.patience = patience

    @abstractmethod
    def writer(self) -> sa.Engine:
        """An engine that may write; the tables exist, in the present version."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A connection to an existing store that cannot change it."""

    @abstractmethod
    def lock(self, run: str) -> AbstractContextManager[None]:
        """The exclusive right to write a run, where connections do not have it."""

    @abstractmethod
    def connect(self, engine: sa.Engine, run: str, lost: object = None) -> sa.Connection:
        """A connection that may write a run.

        Args:
            engine: Result of `writer`.
            run: Name of the run.
            lost: The `session` of the connection that this one replaces; None: it replaces none.

        Raises:
            UsageError: Another process owns the run.
        """

    def session(self, connection: sa.Connection) -> object:
        """What identifies a connection at the server, after it was lost too; None for a file."""
        return None

    @abstractmethod
    def running(self, connection: sa.Connection, runs: Iterable[str]) -> Collection[str]:
        """Those of some runs that a living process is writing."""

    @abstractmethod
    def is_passing(self, error: sa.exc.DBAPIError) -> bool:
        """Whether an error may be gone at the next try, such as a lost connection."""

    @abstractmethod
    def unstored_file(self, run: str) -> Path:
        """File for the results of a run that could not be stored."""

    def identity(self) -> object:
        """What a store that was replaced does not share with the one before."""
        return None

    def check_version(self, connection: sa.Connection) -> bool:
        """Whether the store has tables; raises `UsageError` if they belong to another program or a newer version."""
        tables = set(sa.inspect(connection).get_table_names())
        if schema.meta.name not in tables:
            foreign = self.foreign_tables(tables)
            if foreign:
                raise UsageError(
                    f"store {self.file}{self.shown} is a database of another program (tables "
                    f"{', '.join(sorted(foreign)[:3])}); it was left unchanged, set store.url to another one"
                )
            return False
        version = connection.execute(sa.select(schema.meta.c.value).where(schema.meta.c.key == "schema")).scalar()
        if version is None:
            raise UsageError(
                f"store {self.file}{self.shown} is damaged (no schema version); set store.url to another one"
            )
        if int(version) > schema.VERSION:
            raise UsageError(
                f"store {self.file}{self.shown} was made by a newer version of cellnas (schema {version}, this one "
                f"reads up to {schema.VERSION}); upgrade cellnas or set store.url to another one"
            )
        return True

    def foreign_tables(self, tables: set[str]) -> set[str]:
        """The tables that another program must have made, if the store has none of its own."""
        return tables

    def is_written_by_another(self, run: str) -> UsageError:
        """The error about a run that has an owner."""
        return UsageError(
            f"run {run!r} of store {self.shown} is being written by another process; wait until it ends or choose "
            "another run="
        )

    @contextmanager
    def errors_in_one_sentence(self) -> Iterator[None]:
        """Raise errors of the database and the disk as `UserError`, in one sentence."""
        try:
            yield
        except sa.exc.StatementError as error:  # errors of the database, and values that it cannot store
            raise UserError(self.sentence(error)) from None
        except (OSError, OverflowError, UnicodeError) as error:
            raise UserError(
                f"store {self.shown}: {getattr(error, 'strerror', None) or error}; set store.url to another one"
            ) from None

    @contextmanager
    def damage_in_one_sentence(self) -> Iterator[None]:
        """Raise the error about a value that no cellnas has written as `UserError`, in one sentence."""
        try:
            yield
        except UserError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise UserError(
                f"store {self.shown} holds a value that cannot be read ({type(error).__name__}: {text_of(error)}); "
                "nas store check lists what is damaged, restore a copy or set store.url to another one"
            ) from None

    def sentence(self, error: sa.exc.StatementError) -> str:
        """An error of the database in one sentence."""
        reason = self.reason(error)
        hint = next((hint for word, hint in self.hints.items() if word in reason), "see store.url")
        return f"store {self.shown}: {reason}; {hint}"

    def reason(self, error: sa.exc.StatementError) -> str:
        """What the database says about an error, on one line."""
        return " ".join(str(error.orig).split())
