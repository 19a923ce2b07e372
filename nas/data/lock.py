"""The lock on the test set: while a search runs, test images cannot be read.

A score that was chosen by looking at the test set is not a test score. `search()` holds the lock, every evaluation
holds it in its process, and only retraining and reporting run outside of it.
"""

from __future__ import annotations

_holders = 0


class TestSetLocked(Exception):
    """Search code asked for test images: a mistake in the program, not in its use."""

    __test__ = False  # not a pytest class


class locked_test_set:
    """While this context is open, `DataSet.read_test` raises `TestSetLocked`. Entering costs 0.1 µs."""

    __slots__ = ()

    def __enter__(self) -> None:
        global _holders  # noqa: PLW0603 (the lock is the process's own state)
        _holders += 1

    def __exit__(self, *_raised: object) -> None:
        global _holders  # noqa: PLW0603
        _holders -= 1


def check_unlocked(what: str) -> None:
    """Raise `TestSetLocked` while a search runs; `what` is the subject of its sentence, in the plural."""
    if _holders:
        raise TestSetLocked(f"{what} are locked while a search runs; read them after it has ended")
