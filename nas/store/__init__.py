"""Storage of runs, trials and retrainings."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.store.base import Retraining as Retraining
    from nas.store.base import Run as Run
    from nas.store.base import Store as Store
    from nas.store.by_url import store_at as store_at
    from nas.store.memory import MemoryStore as MemoryStore
    from nas.store.postgres import PostgresStore as PostgresStore
    from nas.store.sqlite import SQLiteStore as SQLiteStore

__getattr__ = lazy_attributes(
    __name__,
    {
        "base": ("Retraining", "Run", "Store"),
        "by_url": ("store_at",),
        "memory": ("MemoryStore",),
        "postgres": ("PostgresStore",),
        "sqlite": ("SQLiteStore",),
    },
)
