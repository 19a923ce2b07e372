"""The promises of an executor."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from nas.errors import UserError
from nas.executors.base import Executor
from nas.executors.each import each
from nas.testing.promises import Promise


def executor_promises(executor: Executor) -> list[Promise]:
    """An executor runs every task once, returns each result with its task, and raises what a task raised.

    Several workers are processes, since trainings draw from the random generators of their process.
    """

    def describes_itself() -> None:
        assert executor.workers >= 1, f"workers must be at least 1, got {executor.workers}"
        assert executor.order in ("ordered", "async"), f"order must be ordered or async, got {executor.order!r}"

    def runs_each_task_once() -> None:
        tasks = deque(range(2 * executor.workers + 1))
        results = sorted(pair for batch in each(executor, _task_function, tasks) for pair in batch)
        expected = [(task, task + 1) for task in range(2 * executor.workers + 1)]
        assert results == expected, f"the tasks came back as {results}, expected {expected}"

    def passes_errors_on() -> None:
        raised = ""
        try:
            list(each(executor, _task_function, deque([-1])))
        except UserError as error:
            raised = str(error)
        assert raised == "made to fail", "a task raised UserError, which did not reach the caller"

    def uses_processes() -> None:
        tasks = deque(range(2 * executor.workers))
        processes = {result for batch in each(executor, _process_function, tasks) for _, result in batch}
        assert executor.workers == 1 or os.getpid() not in processes, (
            "a task ran in the calling process, where trainings would share torch's random generators; "
            "start a process for each worker"
        )

    own = type(executor)
    return [
        Promise("it states its workers and its order", describes_itself, own, needed=True),
        Promise("every task is run once and gives its own result", runs_each_task_once, own),
        Promise("several workers are processes of their own", uses_processes, own),
        Promise("what a task raises reaches the caller", passes_errors_on, own),
    ]


def _task_function() -> Callable[[int], int]:
    return _task


def _process_function() -> Callable[[int], int]:
    return _process


def _process(_number: int) -> int:
    return os.getpid()


def _task(number: int) -> int:
    if number < 0:
        raise UserError("made to fail")
    return number + 1
