"""Which store a URL names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nas.errors import UsageError

if TYPE_CHECKING:
    from nas.store.sql import SQLStore

SQLITE = "sqlite:///"
POSTGRESQL = "postgresql+psycopg://"
PATIENCE = 600.0
"""Default of `store.patience`, in seconds."""


def store_at(url: str = "sqlite:///nas.db", patience: float = PATIENCE, unstored: str = "runs") -> SQLStore:
    """The store of a URL.

    Args:
        url: `sqlite:///FILE`, or `postgresql+psycopg://USER@HOST/DATABASE`.
        patience: Seconds, at least 0, for which a result that could not be stored is tried again.
        unstored: Folder of the results that a server has not taken in that time.

    Raises:
        UsageError: Another kind of URL, or PostgreSQL without its driver.
    """
    if isinstance(url, str) and url.startswith((POSTGRESQL, "postgresql://")):
        from nas.store.postgres import PostgresStore

        return PostgresStore(url, patience, unstored)
    from nas.store.sqlite import SQLiteStore

    return SQLiteStore(url, patience)


def unknown_url(url: object) -> UsageError:
    """The error about a URL of another kind."""
    given = repr(without_password(url)) if isinstance(url, str) else repr(url)
    return UsageError(
        f"store.url must be {SQLITE}FILE (four slashes for an absolute path) or {POSTGRESQL}USER@HOST/DATABASE, got "
        f"{given}"
    )


def without_password(url: str) -> str:
    """A URL, or a setting that ends with one, without its password: `PGPASSWORD` or `~/.pgpass` may give it."""
    url = re.sub(r"(\w://[^:/@?]*):.*@", r"\1@", url)
    return re.sub(r"(?<=[?&])(\w*password=[^&]*)(&|$)", "", url).rstrip("?&") if "password=" in url else url
