"""Storage of runs, trials and retrainings."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.store.base import Retraining as Retraining
    from nas.store.base import Run as Run
    from nas.store.base import Store as Store
    from nas.store.memory import MemoryStore as MemoryStore
    from nas.store.sqlite import SQLiteStore as SQLiteStore

__getattr__ = lazy_attributes(
    __name__,
    {
        "base": ("Retraining", "Run", "Store"),
        "memory": ("MemoryStore",),
        "sqlite": ("SQLiteStore",),
    },
)
