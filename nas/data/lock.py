"""The lock on the test set: while a search runs, test images cannot be read.

A score that was chosen by looking at the test set is not a test score. `search()` holds the lock, and only retraining
and reporting run outside of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_holders = 0


class TestSetLocked(Exception):
    """Search code asked for test images: a mistake in the program, not in its use."""

    __test__ = False  # not a pytest class


@contextmanager
def locked_test_set() -> Iterator[None]:
    """While this context is open, `DataSet.read_test` raises `TestSetLocked`."""
    global _holders  # noqa: PLW0603 (the lock is the process's own state)
    _holders += 1
    try:
        yield
    finally:
        _holders -= 1


def check_unlocked(name: str) -> None:
    if _holders:
        raise TestSetLocked(f"the test images of {name} are locked while a search runs; only retraining reads them")
