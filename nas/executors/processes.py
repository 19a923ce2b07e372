"""Worker processes of this machine, started once and kept warm.

Each worker has a pipe of its own, so it is known which task a dead worker took with it: only that task is lost, and
another worker takes the dead one's place. Workers may have children of their own, such as those of a `DataLoader`. A
worker and its children are a process group, which never outlives its parent.
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
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from types import MappingProxyType
from typing import Any, Literal

from nas.errors import UsageError, UserError, located
from nas.executors.base import Died, Function, Jobs
from nas.runtime import streams
from nas.validation import one_of, whole_number

_METHOD = multiprocessing.get_context("spawn")  # a fork would copy the locks of OpenMP and CUDA in whatever state
ERRORS: dict[str, type[Exception]] = {"usage": UsageError, "user": UserError, "unexpected": RuntimeError}
"""What a worker says went wrong -> what is raised for it here; only its text travels."""
WATCH_SECONDS = 1.0
"""Time between two looks at whether the workers are alive: the pipe of a dead one stays open in its children."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
SAFE_PATH = "PYTHONSAFEPATH"
"""Keeps a `queue.py` in the current folder from replacing the library's; `sys.path` comes from the parent a moment
later."""


def _frozen(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


ForkingPickler.register(MappingProxyType, lambda proxy: (_frozen, (dict(proxy),)))  # pickle itself cannot


class Processes:
    """As many workers as asked for.

    Args:
        workers: processes; None: one a core.
        order: `ordered` or `async`, see `Executor`.
    """

    def __init__(self, workers: int | None = None, order: Literal["ordered", "async"] = "ordered") -> None:
        if workers is not None:
            whole_number("workers", workers, most=1024)
        one_of("executor.order", order, ("ordered", "async"))
        self.workers = workers or cores()
        self.order = order

    @contextmanager
    def open(self, make: Callable[[], Function], seconds: float | None = None) -> Iterator[Jobs]:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise SystemExit(1)  # a worker that reads a script without a guard; its parent says so
        try:
            sent = bytes(ForkingPickler.dumps(make))
        except Exception as error:  # noqa: BLE001 (pickling raises whatever the object at hand raises)
            raise _unsendable(error) from None
        jobs = _Jobs(sent, self.workers, seconds)
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
    ready: bool = False  # has made what does its tasks
    submitted: float = 0.0  # when it was given its task, seconds of the monotonic clock
    begun: float | None = None  # when it began to work on it


class _Jobs:
    def __init__(self, make: bytes, workers: int, seconds: float | None) -> None:
        self._make = make
        self._limit = seconds
        self._threads = max(1, cores() // workers)
        self._most = workers
        self._workers: list[_Worker] = []
        self._error: BaseException | None = None

    def submit(self, key: int, task: Any) -> None:
        worker = next((worker for worker in self._workers if not worker.busy), None)
        if worker is None:
            assert len(self._workers) < self._most, "more tasks than workers"
            worker = self._start()
        worker.key, worker.busy, worker.submitted = key, True, time.monotonic()
        worker.begun = worker.submitted if worker.ready else None
        try:
            worker.pipe.send(task)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has just died; `wait` says so
        except Exception as error:  # noqa: BLE001 (pickling raises whatever the object at hand raises)
            raise _unsendable(error) from None

    def wait(self) -> list[tuple[int, Any]]:
        done: list[tuple[int, Any]] = []
        while not done:
            if self._error is not None:
                raise self._error
            busy = {worker.pipe: worker for worker in self._workers if worker.busy}
            assert busy, "nothing was submitted"
            for pipe in wait(list(busy), timeout=self._patience()):
                assert isinstance(pipe, Connection)
                self._receive(busy[pipe], done)
            for worker in busy.values():
                if worker.busy and worker in self._workers:
                    self._look_after(worker, done)
        return done  # what others have finished comes before an error, which the next call raises

    def _patience(self) -> float:
        """Seconds until the next look at the workers."""
        if self._limit is None:
            return WATCH_SECONDS
        begun = [worker.begun for worker in self._workers if worker.busy and worker.begun is not None]
        return min([WATCH_SECONDS, *(max(0.0, since + self._limit - time.monotonic()) for since in begun)])

    def _look_after(self, worker: _Worker, done: list[tuple[int, Any]]) -> None:
        """End a worker whose task takes too long; notice a dead one whose pipe its children hold open."""
        if self._limit is not None and worker.begun is not None:
            spent = time.monotonic() - worker.begun
            if spent >= self._limit and not worker.pipe.poll():
                self._remove(worker)
                reason = f"it took longer than budget.trial_seconds={self._limit:g} and was ended"
                done.append((worker.key, Died(reason, "time_limit", spent)))
                return
        if worker.process.exitcode is not None and not worker.pipe.poll():
            self._lose(worker, done)

    def _receive(self, worker: _Worker, done: list[tuple[int, Any]]) -> None:
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError):  # also in the middle of a message
            self._lose(worker, done)
            return
        if kind == "started":
            worker.started = True
            return
        if kind == "ready":
            worker.ready, worker.begun = True, time.monotonic()
            return
        worker.busy = False
        if kind == "result":
            done.append((worker.key, value))
        else:
            self._error = ERRORS[kind](value)

    def _lose(self, worker: _Worker, done: list[tuple[int, Any]]) -> None:
        """A worker has died by itself."""
        spent = time.monotonic() - worker.submitted
        worker.process.join()
        self._remove(worker)
        if worker.started:
            done.append((worker.key, Died(_ending(worker.process.exitcode), seconds=spent)))
        else:
            self._error = UserError(
                "worker processes cannot start: a script that uses executor Processes must do its work under "
                "if __name__ == '__main__', and cannot be read from standard input"
            )

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.pipe.close()
        _kill(worker.process)
        worker.process.join()

    def close(self) -> None:
        for worker in self._workers:
            worker.pipe.close()
            _kill(worker.process)  # it has nothing to lose: what it has finished was received or will be redone
        for worker in self._workers:
            worker.process.join()

    def _start(self) -> _Worker:
        ours, theirs = _METHOD.Pipe()
        plain = warnings.showwarning is streams.show_warning
        words = (theirs, self._make, SAFE_PATH in os.environ, plain)
        process = _METHOD.Process(target=_work, args=words, daemon=False)  # may have children
        before = {name: os.environ.get(name) for name in (*THREADS, SAFE_PATH)}
        try:
            # Read when torch is loaded; workers that each take all cores would only wait for one another
            os.environ.update({name: before[name] or str(self._threads) for name in THREADS} | {SAFE_PATH: "1"})
            process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker


def _work(pipe: Connection, make: bytes, safe_path: bool, plain: bool) -> None:
    """The life of a worker: one task after another until its parent closes the pipe or ends.

    Args:
        safe_path: whether the user's own environment has `PYTHONSAFEPATH`; processes that a task starts get it then.
        plain: whether warnings are shown as a command shows them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches whoever has not left the group yet
    with suppress(OSError):
        os.setpgid(0, 0)  # so that its children can be ended with it
    streams.prepare(live=True)
    if plain:
        warnings.showwarning = streams.show_warning
    if not safe_path:
        os.environ.pop(SAFE_PATH, None)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function: Function | None = None
    with suppress(EOFError, ConnectionError):  # nobody waits for it any more
        pipe.send(("started", None))
        while True:
            task = pipe.recv()
            try:
                if function is None:
                    function = pickle.loads(make)()
                    pipe.send(("ready", None))
                answer = ForkingPickler.dumps(("result", function(task)))
            except UsageError as error:
                answer = ForkingPickler.dumps(("usage", str(error)))
            except UserError as error:
                answer = ForkingPickler.dumps(("user", str(error)))
            except KeyboardInterrupt:
                raise  # of the task itself, since the signal is ignored: the worker dies with it
            except BaseException as error:  # noqa: BLE001 (told to the parent, whose business it is)
                answer = ForkingPickler.dumps(("unexpected", f"in a worker process: {located(error)}"))
            pipe.send_bytes(answer)


def _end_with_parent() -> None:
    """A parent that was killed cannot close anything, and a training of hours must not outlive it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)  # its children too
        os._exit(1)


def _kill(process: SpawnProcess) -> None:
    """End a worker and its children at once."""
    with suppress(ProcessLookupError, PermissionError):
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)  # none of this number where it has not come to `setpgid`
    process.kill()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        names = {one.value: one.name for one in signal.Signals}
        return f"its worker process was ended by {names.get(-code, f'signal {-code}')}"
    return f"its worker process ended with exit code {code}"


def _unsendable(error: Exception) -> UsageError:
    reason = " ".join(str(error).split())
    local = any(
        word in reason for word in ("local object", "local class", "lambda", "not found as", "not the same object")
    )
    advice = (
        "define evaluator and space at the top of a module"
        if local
        else "an object that evaluator or space hold must be left out of what is sent (__getstate__)"
    )
    return UsageError(
        f"executor=processes cannot send this work to another process ({reason}); {advice}, or use executor=inline"
    )
