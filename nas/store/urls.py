"""URLs of stores, and how messages show them."""

from __future__ import annotations

import re
from pathlib import Path

from nas.errors import UsageError

SQLITE = "sqlite:///"
DEFAULT_URL = "sqlite:///nas.db"
POSTGRESQL = "postgresql+psycopg://"
PASSWORD_VARIABLE = "PGPASSWORD"
"""Environment variable that gives the password to PostgreSQL's client."""
PATIENCE = 600.0
"""Default of `store.patience`, in seconds."""


def unknown_url(url: object) -> UsageError:
    """The error about a URL of another kind."""
    given = repr(without_password(url)) if isinstance(url, str) else repr(url)
    return UsageError(
        f"store.url must be {SQLITE}FILE (four slashes for an absolute path) or {POSTGRESQL}USER@HOST:PORT/DATABASE, "
        f"got {given}"
    )


def without_password(url: str) -> str:
    """A URL, or a setting that ends with one, without its password: `PGPASSWORD` or `~/.pgpass` may give it."""
    url = re.sub(r"(\w://[^:/@?]*):.*@", r"\1@", url)
    return re.sub(r"(?<=[?&])(\w*password=[^&]*)(&|$)", "", url).rstrip("?&") if "password=" in url else url


def password_of(url: str) -> str | None:
    """The password of a server's URL; None if it has none, or is none."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if not url.startswith(POSTGRESQL):
        return None
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None
    password = parsed.password or parsed.query.get("password")
    return password if isinstance(password, str) else None


def is_same_store(one: str, other: str) -> bool:
    """Whether two URLs name the same store, as far as they say: a file may be written as two paths."""
    if one.startswith(SQLITE) and other.startswith(SQLITE):
        first, second = (Path(url.removeprefix(SQLITE)).expanduser().resolve() for url in (one, other))
        return first == second
    return one == other
