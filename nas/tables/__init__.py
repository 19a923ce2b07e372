"""Benchmark tables: reading and writing them."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.tables.table import Table as Table

__getattr__ = lazy_attributes(
    __name__,
    {
        "table": ("Table",),
    },
)
