"""Runs a list of independent tasks with any executor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from nas.executors.base import Executor, Function
from nas.executors.retries import Retrying
from nas.runtime import interrupt

T = TypeVar("T")


def each(executor: Executor, make: Callable[[], Function], tasks: deque[T]) -> Iterator[list[tuple[T, Any]]]:
    """Run all tasks; one whose worker died runs again, up to the executor's `retries` times if it has that setting.

    Args:
        executor: Executor to open.
        make: Returns the function that does a task.
        tasks: Tasks to run; empty at the end.

    Yields:
        The tasks that have finished since the last time, each with its result or `WorkerDied`.
    """
    if not tasks:
        return
    with executor.open(make) as opened:
        jobs = Retrying(opened, executor.workers, getattr(executor, "retries", 0))
        running: dict[int, T] = {}
        number = 0
        while tasks or running:
            interrupt.check()
            while tasks and len(running) < executor.workers:
                number += 1
                running[number] = tasks.popleft()
                jobs.submit(number, running[number])
            yield [(running.pop(key), result) for key, result in jobs.wait()]
