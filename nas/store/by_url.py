"""The store that a URL names."""

from __future__ import annotations

from nas.store.sql import SQLStore
from nas.store.urls import DEFAULT_URL, PATIENCE, POSTGRESQL


def store_at(url: str = DEFAULT_URL, patience: float = PATIENCE, unstored: str = "runs") -> SQLStore:
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
