"""Worker processes of this machine, started once and kept warm.

Each worker has a pipe of its own, so it is known which task a dead worker took with it: that task alone is lost, and
another worker takes the dead one's place.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Literal

from nas import streams
from nas.core import UsageError, UserError, located, one_of, whole_number
from nas.executors.base import Died, Function, Jobs

_METHOD = multiprocessing.get_context("spawn")  # a fork would copy the locks of OpenMP and CUDA in whatever state
ERRORS: dict[str, type[Exception]] = {"usage": UsageError, "user": UserError, "unexpected": RuntimeError}
"""What a worker says went wrong -> what is raised for it here; only its text travels."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
SAFE_PATH = "PYTHONSAFEPATH"
"""Keeps a `queue.py` in the current folder from replacing the library's; `sys.path` comes from the parent a moment
later."""


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
    def open(self, make: Callable[[], Function]) -> Iterator[Jobs]:
        try:
            sent = pickle.dumps(make)
        except Exception as error:  # noqa: BLE001 (pickling raises whatever the object at hand raises)
            raise _unsendable(error) from None
        jobs = _Jobs(sent, self.workers)
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


class _Jobs:
    def __init__(self, make: bytes, workers: int) -> None:
        self._make = make
        self._threads = max(1, cores() // workers)
        self._most = workers
        self._workers: list[_Worker] = []
        self._error: BaseException | None = None

    def submit(self, key: int, task: Any) -> None:
        worker = next((worker for worker in self._workers if not worker.busy), None)
        if worker is None:
            assert len(self._workers) < self._most, "more tasks than workers"
            worker = self._start()
        worker.key, worker.busy = key, True
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
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                self._receive(busy[pipe], done)
        return done  # what others have finished comes before an error, which the next call raises

    def _receive(self, worker: _Worker, done: list[tuple[int, Any]]) -> None:
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            self._workers.remove(worker)
            if worker.started:
                done.append((worker.key, Died(_ending(worker.process.exitcode))))
            else:
                self._error = UserError(
                    "worker processes cannot start: a script that uses executor Processes must do its work under "
                    "if __name__ == '__main__', and cannot be read from standard input"
                )
            return
        if kind == "started":
            worker.started = True
            return
        worker.busy = False
        if kind == "result":
            done.append((worker.key, value))
        else:
            self._error = ERRORS[kind](value)

    def close(self) -> None:
        for worker in self._workers:
            worker.pipe.close()
            worker.process.kill()  # a worker has nothing to lose: what it has finished was received or will be redone
        for worker in self._workers:
            worker.process.join()

    def _start(self) -> _Worker:
        ours, theirs = _METHOD.Pipe()
        process = _METHOD.Process(target=_work, args=(theirs, self._make, SAFE_PATH in os.environ), daemon=True)
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


def _work(pipe: Connection, make: bytes, safe_path: bool) -> None:
    """The life of a worker: one task after another until its parent closes the pipe or ends.

    Args:
        safe_path: whether the user's own environment has `PYTHONSAFEPATH`; processes that a task starts get it then.
    """
    streams.prepare(live=True)
    if not safe_path:
        os.environ.pop(SAFE_PATH, None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function: Function | None = None
    with suppress(EOFError, ConnectionError):  # nobody waits for it any more
        pipe.send(("started", None))
        while True:
            task = pipe.recv()
            try:
                if function is None:
                    function = pickle.loads(make)()
                answer = ForkingPickler.dumps(("result", function(task)))
            except UsageError as error:
                answer = ForkingPickler.dumps(("usage", str(error)))
            except UserError as error:
                answer = ForkingPickler.dumps(("user", str(error)))
            except Exception as error:  # noqa: BLE001 (told to the parent, whose business it is)
                answer = ForkingPickler.dumps(("unexpected", f"in a worker process: {located(error)}"))
            pipe.send_bytes(answer)


def _end_with_parent() -> None:
    """A parent that was killed cannot close anything, and a training of hours must not outlive it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        names = {one.value: one.name for one in signal.Signals}
        return f"its worker process was ended by {names.get(-code, f'signal {-code}')}"
    return f"its worker process ended with exit code {code}"


def _unsendable(error: Exception) -> UsageError:
    return UsageError(
        f"executor=processes cannot send this work to another process ({error}); define evaluator and space at the top "
        "of a module, or use executor=inline"
    )
