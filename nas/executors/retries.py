"""Which failed tasks run again: those whose failure says nothing about the task itself.

A task whose worker died or whose node was lost runs again in another worker, up to `retries` times. One that ran out of
memory runs once more, alone: it may have shared the device with others. Every other failure is final, and so is the
last of a task that fails each time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nas.executors.base import Jobs, WorkerDied

ELSEWHERE = ("worker_died", "node_lost")
"""Kinds of failure after which a task runs again in another worker."""
MAX_RETRIES = 100
ALONE = "out_of_memory"
"""Kind of failure after which a task runs once more while no other task does."""


def kind_of(result: Any) -> str | None:
    """Kind of failure of a task's result; None: not a failure, or a final one."""
    return result.kind if isinstance(result, WorkerDied) else None


def counted(result: Any, retries: int) -> Any:
    """A result with the number of retries it took, if it has room for it."""
    return replace(result, retries=retries) if isinstance(result, WorkerDied) else result


class Retrying:
    """`Jobs` that run a failed task again under its own key before they return its result.

    Args:
        jobs: Jobs of an opened executor.
        workers: Its number of workers.
        retries: How often a task runs again after its worker died.
        kind: Returns the kind of failure of a result, as `kind_of`.
        count: Returns a result with its number of retries, as `counted`.
    """

    def __init__(
        self,
        jobs: Jobs,
        workers: int,
        retries: int,
        kind: Callable[[Any], str | None] = kind_of,
        count: Callable[[Any, int], Any] = counted,
    ) -> None:
        self._jobs = jobs
        self._workers = workers
        self._retries = retries
        self._kind = kind
        self._count = count
        self._running: dict[int, Any] = {}  # key -> task
        self._tried: dict[int, list[str]] = {}  # key -> kinds of its failures so far
        self._for_alone: deque[tuple[int, Any]] = deque()
        self._alone: int | None = None
        self._held: deque[tuple[int, Any]] = deque()  # until a task that runs alone has finished

    def submit(self, key: int, task: Any) -> None:
        if self._for_alone or self._alone is not None:
            self._held.append((key, task))
        else:
            self._start(key, task)

    def wait(self) -> list[tuple[int, Any]]:
        done: list[tuple[int, Any]] = []
        while not done:
            for key, result in self._jobs.wait():
                task, kind = self._running.pop(key), self._kind(result)
                self._alone = None if self._alone == key else self._alone
                tried = self._tried.setdefault(key, [])
                if kind in ELSEWHERE and sum(earlier in ELSEWHERE for earlier in tried) < self._retries:
                    tried.append(kind)
                    self._held.append((key, task))
                elif kind == ALONE and ALONE not in tried and self._workers > 1:
                    tried.append(kind)
                    self._for_alone.append((key, task))
                else:
                    del self._tried[key]
                    done.append((key, self._count(result, len(tried)) if tried else result))
            self._continue()
        return done

    def _continue(self) -> None:
        """Start what waits: everything, or nothing but a task that runs alone."""
        if self._alone is not None:
            return
        if self._for_alone:
            if not self._running:
                key, task = self._for_alone.popleft()
                self._alone = key
                self._start(key, task)
            return
        while self._held:
            self._start(*self._held.popleft())

    def _start(self, key: int, task: Any) -> None:
        self._running[key] = task
        self._jobs.submit(key, task)
