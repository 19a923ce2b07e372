"""One task after another, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from nas.errors import UsageError, UserError, located
from nas.executors.base import Function, Jobs


class Inline:
    """The executor of a search without workers."""

    workers = 1
    order: Literal["ordered", "async"] = "ordered"

    @contextmanager
    def open(self, make: Callable[[], Function], seconds: float | None = None) -> Iterator[Jobs]:
        check_endless(seconds)
        yield _Jobs(make)


def check_endless(seconds: float | None) -> None:
    """Raise `UsageError` unless tasks may take as long as they like: this process cannot end itself."""
    if seconds is not None:
        raise UsageError(
            f"budget.trial_seconds={seconds:g} needs a worker process that can be ended; set executor=processes "
            "(workers=1 will do)"
        )


class _Jobs:
    def __init__(self, make: Callable[[], Function]) -> None:
        self._make = make
        self._function: Function | None = None
        self._task: tuple[int, Any] | None = None

    def submit(self, key: int, task: Any) -> None:
        self._task = key, task

    def wait(self) -> list[tuple[int, Any]]:
        assert self._task is not None, "nothing was submitted"
        (key, task), self._task = self._task, None
        if self._function is None:
            self._function = self._make()
        try:
            return [(key, self._function(task))]
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 (such as SystemExit, which ends without a word)
            raise UserError(f"the work was ended by {located(error)}") from None
