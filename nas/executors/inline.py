"""The executor that runs tasks one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from nas.errors import UsageError, UserError, located
from nas.executors.base import Function, Jobs


class Inline:
    """Runs tasks one after another in this process."""

    workers = 1
    order: Literal["ordered", "async"] = "ordered"

    @contextmanager
    def open(self, make: Callable[[], Function], seconds: float | None = None) -> Iterator[Jobs]:
        check_time_limit(seconds)
        yield _Jobs(make)


def check_time_limit(seconds: float | None) -> None:
    """Raise `UsageError` if tasks have a time limit, since this process cannot kill itself."""
    if seconds is not None:
        raise UsageError(
            f"budget.trial_seconds={seconds:g} needs a worker process that can be killed; set executor=processes "
            "(workers=1 is enough)"
        )


class _Jobs:
    def __init__(self, make: Callable[[], Function]) -> None:
        self._make = make
        self._function: Function | None = None
        self._task: tuple[int, Any] | None = None

    def submit(self, key: int, task: Any) -> None:
        self._task = key, task

    def wait(self) -> list[tuple[int, Any]]:
        assert self._task is not None, "no task was submitted"
        (key, task), self._task = self._task, None
        if self._function is None:
            self._function = self._make()
        try:
            return [(key, self._function(task))]
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 (such as SystemExit, which ends without a message)
            raise UserError(f"the task ended with {located(error)}") from None
