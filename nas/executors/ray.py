"""Worker processes on the nodes of a Ray cluster, which are started once and stay warm.

This process proposes, stores and decides; a worker is an actor that does one task after another. Nothing of Ray
restarts or retries: a task of a dead worker comes back as `WorkerDied`, and the retry policy gives it to another one.

No files are sent to the nodes. A worker gets the import path, the current folder and the `OMP_NUM_THREADS` of this
process, as a spawned process does, so a space or an evaluator must lie in a folder that every node has, or be installed
there. Each worker prepares its evaluator once: the images are read once for each worker, from a file that its node
keeps in memory after the first.

With equal numbers of workers, results are those of `executor=processes` bit for bit if the threads are equal too, since
sums round differently with another number. A worker has `cpus_per_worker` threads, unless OMP_NUM_THREADS is set or the
recipe names `trainer.threads`.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import spawn
from pathlib import Path
from typing import Any, Literal

from nas.errors import UsageError, UserError
from nas.executors.base import Function, Jobs, WorkerDied
from nas.executors.messages import ERROR_TYPES, NOT_STARTED, dumps, unsendable
from nas.executors.processes import MAX_WORKERS, THREAD_VARIABLES, cores
from nas.executors.ray_address import check_address
from nas.executors.ray_cluster import PATIENCE_SECONDS, Cluster, connect
from nas.executors.ray_worker import Setup, worker_class
from nas.executors.retries import MAX_RETRIES
from nas.validation import number_in, one_of, whole_number

WATCH_SECONDS = 1.0
"""Time between two checks of time limits and of the cluster's room."""
NOTICE_SECONDS = 10.0
"""Time without a place for any worker, after which a message says so."""


class RayWorkers:
    """Runs tasks in workers on a Ray cluster.

    Args:
        workers: Number of workers, 1 to 1024; None: one per core of this machine, without an address only.
        order: `ordered` or `async`, see `Executor`.
        address: `auto`, or `host:port` of the head node; None: start a cluster on this machine, which ends with the
            search.
        cpus_per_worker: CPUs that a worker reserves, which is also its number of threads (at least 1); None: 1, or
            without an address the share of `Processes`.
        gpus_per_worker: GPUs that a worker reserves; it sees no others. Workers share a GPU with 0.25 each.
        retries: How often a task whose worker died or whose node was lost runs again in another one, 0 to 100.
    """

    def __init__(
        self,
        workers: int | None = None,
        order: Literal["ordered", "async"] = "ordered",
        address: str | None = None,
        cpus_per_worker: float | None = None,
        gpus_per_worker: float = 0.0,
        *,
        retries: int = 3,
    ) -> None:
        if workers is not None:
            whole_number("workers", workers, most=MAX_WORKERS)
        elif address is not None:
            raise UsageError(
                f"executor.address={address} needs workers=N: a search depends on the number of its workers, so "
                "it cannot be that of the nodes that the cluster has now"
            )
        one_of("executor.order", order, ("ordered", "async"))
        check_address(address, "executor.address")
        number_in("executor.cpus_per_worker", cpus_per_worker, 0, 1024, above=True, null=True)
        number_in("executor.gpus_per_worker", gpus_per_worker, 0, 64)
        whole_number("executor.retries", retries, least=0, most=MAX_RETRIES)
        self.workers = workers or cores()
        self.order = order
        self.address = address
        share = 1 if address is not None else max(1, cores() // self.workers)
        self.cpus_per_worker = float(share if cpus_per_worker is None else cpus_per_worker)
        self.gpus_per_worker = float(gpus_per_worker)
        self.retries = retries

    @contextmanager
    def open(self, make: Callable[[], Function], seconds: float | None = None) -> Iterator[Jobs]:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise SystemExit(1)  # a worker that imports a script without a guard
        try:
            pickled = dumps(make)
        except Exception as error:  # noqa: BLE001 (pickling may raise any exception of the object)
            raise unsendable(error, "ray") from None
        with connect(self.address, cpus=max(cores(), self.workers * self.cpus_per_worker)) as cluster:
            self._check_room(cluster)
            jobs = _Jobs(self, cluster, pickled, seconds)
            try:
                yield jobs
            finally:
                jobs.close()

    def _check_room(self, cluster: Cluster) -> None:
        cluster.check_gpus("executor.gpus_per_worker", self.gpus_per_worker)
        room = cluster.room(self.cpus_per_worker, self.gpus_per_worker)
        if room < self.workers:
            raise UserError(
                f"workers={self.workers} do not fit: with executor.cpus_per_worker={self.cpus_per_worker:g} and "
                f"executor.gpus_per_worker={self.gpus_per_worker:g}, {cluster.name} has room for {room}; add nodes, or "
                "set fewer workers or smaller shares of one"
            )


@dataclass
class _Worker:
    actor: Any
    reference: Any  # to the answer that it owes
    state: Literal["placing", "preparing", "idle", "busy"] = "placing"
    node: str = ""
    address: str = ""
    key: int = -1
    since: float = 0.0  # when it got its task, in seconds of the monotonic clock


class _Jobs:
    def __init__(self, executor: RayWorkers, cluster: Cluster, make: bytes, seconds: float | None) -> None:
        import ray

        self._executor = executor
        self._cluster = cluster
        self._limit = seconds
        self._make = make
        self._setup = _setup(executor.cpus_per_worker, with_main=b"__main__" in make)
        self._class: Any = ray.remote(
            num_cpus=executor.cpus_per_worker,
            num_gpus=executor.gpus_per_worker,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )(worker_class())
        self._queue: deque[tuple[int, bytes]] = deque()
        self._workers: list[_Worker] = []
        self._error: BaseException | None = None
        self._waiting_since: float | None = None  # without any placed worker
        self._next_start = 0.0  # when the next worker may start, in seconds of the monotonic clock
        self._failed_start = ""  # why the last worker did not start
        self._noticed: set[bool] = set()  # whether a start had failed when a message said so

    def submit(self, key: int, task: Any) -> None:
        try:
            self._queue.append((key, dumps(task)))
        except Exception as error:  # noqa: BLE001 (pickling may raise any exception of the object)
            raise unsendable(error, "ray") from None
        self._dispatch()

    def wait(self) -> list[tuple[int, Any]]:
        import ray

        done: list[tuple[int, Any]] = []
        while not done:
            if self._error is not None:
                raise self._error
            self._cluster.check()
            self._dispatch()
            owed = {worker.reference: worker for worker in self._workers if worker.state != "idle"}
            assert owed or self._queue, "no task was submitted"
            if not owed:  # no worker could start
                time.sleep(max(0.0, self._next_start - time.monotonic()))
            elif ready := ray.wait(list(owed), timeout=self._seconds_to_next_check())[0]:  # at most one
                self._receive(owed[ready[0]], done)
            self._stop_late_tasks(done)
            self._check_places()
        return done  # finished tasks are returned before an error, which the next call raises

    def _dispatch(self) -> None:
        """Give tasks to idle workers, and start as many as the others need."""
        for worker in self._workers:
            if worker.state == "idle" and self._queue:
                worker.key, task = self._queue.popleft()
                worker.state, worker.since = "busy", time.monotonic()
                worker.reference = worker.actor.run.remote(task)
        if time.monotonic() < self._next_start:
            return
        starting = sum(worker.state in ("placing", "preparing") for worker in self._workers)
        for _ in range(min(len(self._queue) - starting, self._executor.workers - len(self._workers))):
            actor = self._class.remote()
            self._workers.append(_Worker(actor, actor.place.remote(self._setup)))

    def _receive(self, worker: _Worker, done: list[tuple[int, Any]]) -> None:
        import ray

        try:
            value = ray.get(worker.reference)
        except ray.exceptions.RayTaskError as error:  # of the worker's own code, which catches those of tasks
            self._error = UserError(f"a worker on {self._cluster.name} cannot start ({_last_line(error)})")
        except ray.exceptions.RayError as error:
            self._handle_death(worker, error, done)
        else:
            if worker.state == "placing":
                worker.node, worker.address = value
                self._failed_start = ""
                worker.state, worker.reference = "preparing", worker.actor.prepare.remote(self._make)
            else:
                self._take(worker, value, done)

    def _take(self, worker: _Worker, value: tuple[bytes, list[str]], done: list[tuple[int, Any]]) -> None:
        """Take the answer of a worker that has prepared itself or done a task."""
        was, worker.state = worker.state, "idle"
        answer, messages = value
        for message in messages:
            warnings.warn(message, stacklevel=2)
        kind, result = pickle.loads(answer)
        if kind == "import":
            self._error = UserError(
                f"node {worker.address} cannot import the space or the evaluator ({result}); install its package on "
                "every node, or keep it in a folder that every node has, as the current folder or on PYTHONPATH"
            )
        elif kind == "unguarded":
            self._error = UserError(NOT_STARTED.format("RayWorkers"))
        elif kind != "result":
            self._error = ERROR_TYPES[kind](result)
        elif was == "busy":
            done.append((worker.key, result))

    def _handle_death(self, worker: _Worker, error: Exception, done: list[tuple[int, Any]]) -> None:
        """Replace the result of a worker that is dead or out of reach with `WorkerDied`."""
        spent = time.monotonic() - worker.since
        self._remove(worker)
        lost = self._is_lost(worker, error)
        if worker.state == "placing":  # a cluster that refuses workers does so at once
            self._next_start, self._failed_start = time.monotonic() + WATCH_SECONDS, _last_line(error)
        elif worker.state == "busy":
            done.append((worker.key, _death(worker, error, spent, lost=lost)))
        elif worker.state == "preparing" and not lost and self._queue:  # the task counts it, so that it ends some day
            done.append((self._queue.popleft()[0], _death(worker, error, 0.0, lost=False)))

    def _is_lost(self, worker: _Worker, error: Exception) -> bool:
        """Whether the whole node is gone, and not just the worker's process."""
        import ray

        alive = {node["NodeID"] for node in self._cluster.nodes()}
        return isinstance(error, ray.exceptions.ActorUnavailableError) or worker.node not in alive

    def _seconds_to_next_check(self) -> float:
        starts = [worker.since for worker in self._workers if worker.state == "busy"]
        if self._limit is None or not starts:
            return WATCH_SECONDS
        return min(WATCH_SECONDS, max(0.0, min(starts) + self._limit - time.monotonic()))

    def _stop_late_tasks(self, done: list[tuple[int, Any]]) -> None:
        """Kill the workers whose tasks take too long."""
        import ray

        if self._limit is None:
            return
        for worker in list(self._workers):
            spent = time.monotonic() - worker.since
            late = worker.state == "busy" and spent >= self._limit
            if late and not ray.wait([worker.reference], timeout=0)[0]:
                self._remove(worker)
                reason = f"it took longer than budget.trial_seconds={self._limit:g} and was stopped"
                done.append((worker.key, WorkerDied(reason, "time_limit", spent)))

    def _check_places(self) -> None:
        """Say that workers wait for a place on the cluster, and end if no node could give them one."""
        if not (self._workers or self._queue) or any(worker.state != "placing" for worker in self._workers):
            self._waiting_since = None
            return
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        waited = now - self._waiting_since
        if waited >= NOTICE_SECONDS and bool(self._failed_start) not in self._noticed:
            self._noticed.add(bool(self._failed_start))
            found = "has no free place for a worker; waiting for one"
            if self._failed_start:
                found = f"cannot start a worker ({self._failed_start}); trying again"
            warnings.warn(f"{self._cluster.name} {found}", stacklevel=2)
        if waited >= PATIENCE_SECONDS:
            self._error = self._impatience()

    def _impatience(self) -> UserError | None:
        """Why waiting for a place makes no sense; None if the cluster is only full."""
        room = self._cluster.room(self._executor.cpus_per_worker, self._executor.gpus_per_worker)
        if room and not self._failed_start:
            return None
        found, back = f"has started no worker for {PATIENCE_SECONDS:g} s ({self._failed_start})", "it works again"
        if not room:
            found, back = f"has had no node for a worker for {PATIENCE_SECONDS:g} s", "its nodes are back"
        return UserError(
            f"{self._cluster.name} {found}; everything finished is stored, so run the same command again when {back}"
        )

    def _remove(self, worker: _Worker) -> None:
        import ray

        self._workers.remove(worker)
        with suppress(ray.exceptions.RayError, ValueError):
            ray.kill(worker.actor)

    def close(self) -> None:
        for worker in list(self._workers):
            self._remove(worker)  # nothing is lost: its results were received or will be computed again


def _setup(cpus: float, *, with_main: bool) -> Setup:
    """What a worker takes over from this process."""
    main: dict[str, Any] = {}
    if with_main:  # the script of the user defines a part
        main = {key: value for key, value in spawn.get_preparation_data("").items() if key.startswith("init_main")}
        if not Path(main.get("init_main_from_path", __file__)).is_file():
            raise UserError(NOT_STARTED.format("RayWorkers"))
    variables = {name: os.environ.get(name) or str(max(1, int(cpus))) for name in THREAD_VARIABLES}
    with suppress(FileNotFoundError):
        return Setup(tuple(sys.path), str(Path.cwd()), variables, main)
    return Setup(tuple(sys.path), "", variables, main)


def _death(worker: _Worker, error: Exception, seconds: float, *, lost: bool) -> WorkerDied:
    if lost:
        return WorkerDied(f"node {worker.address} of the Ray cluster was lost", "node_lost", seconds)
    memory = "low on memory" in str(error)
    reason = "Ray stopped it because its node ran low on memory" if memory else "its worker process has died"
    return WorkerDied(f"{reason} on node {worker.address}", seconds=seconds)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip().rstrip(".")
