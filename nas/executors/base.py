"""The interface of executors, which searches, comparisons and tabulations share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

Function: TypeAlias = Callable[[Any], Any]
"""Does one task and returns its result; created once in each worker."""


@dataclass(frozen=True)
class WorkerDied:
    """The result of a task whose worker process ended too early.

    Args:
        reason: Signal, exit code or time limit, as a sentence without its full stop.
        kind: `worker_died`; `node_lost` if its whole machine did; `time_limit` if the worker was killed because the
            task took too long.
        seconds: Wall time of the task until then.
        retries: How often the task had run again before.
    """

    reason: str
    kind: str = "worker_died"
    seconds: float = field(default=0.0, compare=False)
    retries: int = field(default=0, compare=False)


class Jobs(Protocol):
    """The tasks of an opened executor."""

    def submit(self, key: int, task: Any) -> None:
        """Submit a task; at most `workers` may be unfinished at a time.

        Args:
            key: Identifies the task in what `wait` returns.
            task: Argument of the function.
        """

    def wait(self) -> list[tuple[int, Any]]:
        """Block until a task has finished.

        Returns:
            Key and result, or `WorkerDied`, of every task that has finished.

        Raises:
            UserError: A task raised it.
            Exception: A task raised another error.
        """


class Executor(Protocol):
    """Runs tasks."""

    workers: int
    """Number of tasks that run at the same time."""

    order: Literal["ordered", "async"]
    """`ordered`: a search proposes trial n from exactly the results of the trials before n - workers + 1, so it does
    not depend on which trial finishes first; `async`: it knows every finished trial, and all workers stay busy."""

    def open(self, make: Callable[[], Function], seconds: float | None = None) -> AbstractContextManager[Jobs]:
        """Start the workers.

        Args:
            make: Returns the function that does the tasks; each worker calls it once.
            seconds: Wall time after which a task is killed and its result is `WorkerDied`; None: no limit.

        Raises:
            UsageError: `make` cannot be sent to another process, or this executor cannot kill a task.
        """
