"""Worker processes on this machine, which are started once and stay warm.

Each worker has its own pipe, which shows the task of a dead worker: only that task is lost, and another worker is
started. Workers may have child processes, such as those of a `DataLoader`. A worker and its children are a process
group, which never outlives its parent.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from types import MappingProxyType
from typing import Any, Literal

from nas.errors import UserError
from nas.executors.base import Function, Jobs, WorkerDied
from nas.executors.messages import ERROR_TYPES, NOT_STARTED, answer, reduce_proxy, unsendable
from nas.executors.retries import MAX_RETRIES
from nas.runtime import interrupt, streams
from nas.validation import one_of, whole_number

_METHOD = multiprocessing.get_context("spawn")  # a fork would copy the locks of OpenMP and CUDA in any state
WATCH_SECONDS = 1.0
"""Time between two checks that the workers are alive: the pipe of a dead one stays open in its children."""
BLOCKED = (signal.SIGTERM, signal.SIGUSR1)
"""Signals that a cluster sends to each process of a job; a new worker starts with them blocked, until it catches them
(`interrupt.catch_in_worker`)."""
MAX_WORKERS = 1024
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
SAFE_PATH = "PYTHONSAFEPATH"
"""Environment variable that keeps a `queue.py` in the current folder from replacing the library's, until the worker
receives the `sys.path` of its parent."""

ForkingPickler.register(MappingProxyType, reduce_proxy)


class Processes:
    """Runs tasks in worker processes.

    Args:
        workers: Number of processes, 1 to 1024; None: one per core.
        order: `ordered` or `async`, see `Executor`.
        retries: How often a task whose worker died runs again in another one, 0 to 100.
    """

    def __init__(
        self, workers: int | None = None, order: Literal["ordered", "async"] = "ordered", retries: int = 1
    ) -> None:
        if workers is not None:
            whole_number("workers", workers, most=MAX_WORKERS)
        one_of("executor.order", order, ("ordered", "async"))
        whole_number("executor.retries", retries, least=0, most=MAX_RETRIES)
        self.workers = workers or cores()
        self.order = order
        self.retries = retries

    @contextmanager
    def open(self, make: Callable[[], Function], seconds: float | None = None) -> Iterator[Jobs]:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise SystemExit(1)  # a worker that imports a script without a guard; its parent reports it
        try:
            pickled = bytes(ForkingPickler.dumps(make))
        except Exception as error:  # noqa: BLE001 (pickling may raise any exception of the object)
            raise unsendable(error, "processes") from None
        jobs = _Jobs(pickled, self.workers, seconds)
        try:
            yield jobs
        finally:
            jobs.close()


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    key: int = -1
    busy: bool = False
    started: bool = False
    ready: bool = False  # has created the function that does its tasks
    submitted: float = 0.0  # when its task was submitted, in seconds of the monotonic clock
    task_started: float | None = None  # when it started its task


class _Jobs:
    def __init__(self, make: bytes, workers: int, seconds: float | None) -> None:
        self._make = make
        self._limit = seconds
        self._threads = max(1, cores() // workers)
        self._max_workers = workers
        self._workers: list[_Worker] = []
        self._error: BaseException | None = None

    def submit(self, key: int, task: Any) -> None:
        worker = next((worker for worker in self._workers if not worker.busy), None)
        if worker is None:
            assert len(self._workers) < self._max_workers, "more tasks than workers"
            worker = self._start()
        worker.key, worker.busy, worker.submitted = key, True, time.monotonic()
        worker.task_started = worker.submitted if worker.ready else None
        try:
            worker.pipe.send(task)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has just died, which `wait` reports
        except Exception as error:  # noqa: BLE001 (pickling may raise any exception of the object)
            raise unsendable(error, "processes") from None

    def wait(self) -> list[tuple[int, Any]]:
        done: list[tuple[int, Any]] = []
        while not done:
            if self._error is not None:
                raise self._error
            busy = {worker.pipe: worker for worker in self._workers if worker.busy}
            assert busy, "no task was submitted"
            for pipe in wait(list(busy), timeout=self._seconds_to_next_check()):
                assert isinstance(pipe, Connection)
                self._receive(busy[pipe], done)
            for worker in busy.values():
                if worker.busy and worker in self._workers:
                    self._check_worker(worker, done)
        return done  # finished tasks are returned before an error, which the next call raises

    def _seconds_to_next_check(self) -> float:
        """Seconds until the next check of the workers."""
        if self._limit is None:
            return WATCH_SECONDS
        starts = [worker.task_started for worker in self._workers if worker.busy and worker.task_started is not None]
        return min([WATCH_SECONDS, *(max(0.0, start + self._limit - time.monotonic()) for start in starts)])

    def _check_worker(self, worker: _Worker, done: list[tuple[int, Any]]) -> None:
        """Kill a worker whose task takes too long; detect a dead one whose children hold its pipe open."""
        if self._limit is not None and worker.task_started is not None:
            spent = time.monotonic() - worker.task_started
            if spent >= self._limit and not worker.pipe.poll():
                self._remove(worker)
                reason = f"it took longer than budget.trial_seconds={self._limit:g} and was stopped"
                done.append((worker.key, WorkerDied(reason, "time_limit", spent)))
                return
        if worker.process.exitcode is not None and not worker.pipe.poll():
            self._handle_death(worker, done)

    def _receive(self, worker: _Worker, done: list[tuple[int, Any]]) -> None:
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError):  # also in the middle of a message
            self._handle_death(worker, done)
            return
        if kind == "started":
            worker.started = True
            return
        if kind == "ready":
            worker.ready, worker.task_started = True, time.monotonic()
            return
        worker.busy = False
        if kind == "result":
            done.append((worker.key, value))
        else:
            self._error = ERROR_TYPES[kind](value)

    def _handle_death(self, worker: _Worker, done: list[tuple[int, Any]]) -> None:
        """Replace the result of a worker that has died on its own with `WorkerDied`."""
        spent = time.monotonic() - worker.submitted
        worker.process.join()
        self._remove(worker)
        if worker.started:
            done.append((worker.key, WorkerDied(_ending(worker.process.exitcode), seconds=spent)))
        else:
            self._error = UserError(NOT_STARTED.format("Processes"))

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.pipe.close()
        _kill(worker.process)
        worker.process.join()

    def close(self) -> None:
        for worker in self._workers:
            worker.pipe.close()
            _kill(worker.process)  # nothing is lost: its results were received or will be computed again
        for worker in self._workers:
            worker.process.join()

    def _start(self) -> _Worker:
        ours, theirs = _METHOD.Pipe()
        one_line = warnings.showwarning is streams.show_warning
        arguments = (theirs, self._make, SAFE_PATH in os.environ, one_line)
        process = _METHOD.Process(target=_work, args=arguments, daemon=False)  # may have children
        before = {name: os.environ.get(name) for name in (*THREAD_VARIABLES, SAFE_PATH)}
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            # torch reads them when it is imported; workers that each use all cores would only wait for each other
            os.environ.update(
                {name: before[name] or str(self._threads) for name in THREAD_VARIABLES} | {SAFE_PATH: "1"}
            )
            resource_tracker.ensure_running()  # it unblocks the signals
            signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker


def _work(pipe: Connection, make: bytes, safe_path: bool, one_line: bool) -> None:
    """Run as a worker: one task after another until the parent closes the pipe or ends.

    Args:
        pipe: Connection to the parent.
        make: Pickled function that returns the function for the tasks.
        safe_path: Whether the user's environment has `PYTHONSAFEPATH`, which processes that a task starts then inherit.
        one_line: Whether a warning is shown as one line, as commands do.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches a worker until it has left the group
    interrupt.catch_in_worker()
    with suppress(OSError):
        os.setpgid(0, 0)  # so that its children can be killed with it
    streams.prepare(live=True)
    if one_line:
        warnings.showwarning = streams.show_warning
    if not safe_path:
        os.environ.pop(SAFE_PATH, None)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function: Function | None = None

    def run(task: Any) -> Any:
        nonlocal function
        if function is None:
            function = pickle.loads(make)()
            pipe.send(("ready", None))
        return function(task)

    with suppress(EOFError, ConnectionError):  # the parent no longer waits
        pipe.send(("started", None))
        while True:
            task = pipe.recv()
            pipe.send_bytes(answer(partial(run, task), ForkingPickler.dumps))


def _end_with_parent() -> None:
    """End this worker when its parent ends: a killed parent closes nothing, and a training must not outlive it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)  # its children too
        os._exit(1)


def _kill(process: SpawnProcess) -> None:
    """Kill a worker and its children."""
    with suppress(ProcessLookupError, PermissionError):
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)  # no such group if it was killed before `setpgid`
    process.kill()


def _ending(code: int | None) -> str:
    """How a process ended, from its exit code."""
    if code is not None and code < 0:
        names = {known.value: known.name for known in signal.Signals}
        return f"its worker process was killed by {names.get(-code, f'signal {-code}')}"
    return f"its worker process ended with exit code {code}"
