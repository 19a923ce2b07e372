"""What an executor offers to a search, a comparison and a tabulation alike."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from nas.runtime import interrupt

Task = TypeVar("Task")

Function: TypeAlias = Callable[[Any], Any]
"""Does one task; made once in each worker."""


@dataclass(frozen=True)
class Died:
    """In place of a result: the worker process ended before it gave one.

    Args:
        reason: Signal, exit code or time limit, in words.
        kind: `worker_died`, or `time_limit` where it was ended for taking too long.
        seconds: Wall time of the task until then.
    """

    reason: str
    kind: str = "worker_died"
    seconds: float = field(default=0.0, compare=False)


class Jobs(Protocol):
    """Tasks in the hands of an opened executor."""

    def submit(self, key: int, task: Any) -> None:
        """Hand over one task; no more than `workers` may be unfinished at a time."""

    def wait(self) -> list[tuple[int, Any]]:
        """Block until a task has finished; key and result, or `Died`, of each that has.

        Raises:
            UserError: a task raised it.
            Exception: whatever else a task raised.
        """


class Executor(Protocol):
    """Runs tasks."""

    workers: int
    """How many tasks run at a time."""

    order: Literal["ordered", "async"]
    """`ordered`: a search proposes trial n knowing exactly the trials before n - workers + 1, so that its course does
    not depend on who finishes first; `async`: it knows all that has finished, and no worker waits."""

    def open(self, make: Callable[[], Function], seconds: float | None = None) -> AbstractContextManager[Jobs]:
        """Start the workers; each calls `make` once and then does its tasks with what that returned.

        Args:
            make: Returns the function that does the tasks; called once in each worker.
            seconds: Wall time after which a task is ended and its result is `Died`; None: never.

        Raises:
            UsageError: `make` cannot be sent to another process, or this executor cannot end a task.
        """


def each(executor: Executor, make: Callable[[], Function], tasks: deque[Task]) -> Iterator[list[tuple[Task, Any]]]:
    """Do all tasks; `tasks` is emptied on the way.

    Yields:
        Those that have finished since the last time, each with its result or `Died`.
    """
    if not tasks:
        return
    with executor.open(make) as jobs:
        running: dict[int, Task] = {}
        number = 0
        while tasks or running:
            interrupt.check()
            while tasks and len(running) < executor.workers:
                number += 1
                running[number] = tasks.popleft()
                jobs.submit(number, running[number])
            yield [(running.pop(key), result) for key, result in jobs.wait()]
