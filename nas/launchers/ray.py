"""The launcher that runs each job as a task of a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nas.errors import UserError
from nas.executors.ray_address import check_address
from nas.executors.ray_cluster import PATIENCE_SECONDS, Cluster, check_installed, connect
from nas.launchers.base import Job, JobResult, RunningJob
from nas.runtime import interrupt
from nas.validation import number_in, whole_number

POLL_SECONDS = 0.5
ROOM_SECONDS = 10.0
"""Time between two looks for a node that could run a job."""
STOP_SECONDS = 70
"""Time that cancelled tasks have to end their jobs cleanly."""


class RayLauncher:
    """Runs jobs as tasks of a Ray cluster, as many at a time as fit.

    The folders of the sweep and of the runs, and the store, must be those of every node: a shared file system, and
    PostgreSQL for the store. On a cluster of one machine, any folder and SQLite will do.

    Args:
        address: `auto`, `host:port`, or None for a cluster of this machine only.
        cpus: CPU cores of a job.
        gpus: GPUs of a job; a fraction shares one.
        retries: How often a job is started again elsewhere because its node was lost.
    """

    def __init__(self, address: str | None = None, cpus: float = 1, gpus: float = 0, retries: int = 3) -> None:
        check_address(address, "launcher.address")
        number_in("launcher.cpus", cpus, 0, 1e6, above=True)
        number_in("launcher.gpus", gpus, 0, 1e6)
        whole_number("launcher.retries", retries, least=0)
        self.address = address
        self.cpus = cpus
        self.gpus = gpus
        self.retries = retries
        self._next_look = 0.0  # for room, in seconds of the monotonic clock
        self._had_room = 0.0

    def check(self) -> None:
        if self.address is None:  # started with the jobs
            check_installed("launcher")
            return
        with connect(self.address, "launcher.address") as cluster:
            self._check_room(cluster)

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        with connect(self.address, "launcher.address") as cluster:
            self._check_room(cluster)
            yield from self._run(jobs, cluster)

    def _check_room(self, cluster: Cluster) -> None:
        cluster.check_gpus("launcher.gpus", self.gpus)
        if cluster.room(self.cpus, self.gpus) == 0:
            raise UserError(
                f"no node of {cluster.name} has room for a job with launcher.cpus={self.cpus:g} and "
                f"launcher.gpus={self.gpus:g}; lower them"
            )

    def _run(self, jobs: Sequence[Job], cluster: Cluster) -> Iterator[JobResult]:
        import ray

        task: Any = ray.remote(run_on_node)
        task = task.options(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries)
        self._had_room = time.monotonic()
        running: dict[Any, Job] = {task.remote(job): job for job in jobs}
        try:
            while running:
                interrupt.check()
                self._check_nodes(cluster)
                ready, _ = ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)
                for ref in ready:
                    job = running.pop(ref)
                    yield _result(ref, job, cluster)
        except UserError:  # the cluster is lost, and with it the jobs
            running.clear()
            raise
        finally:
            for ref in running:
                ray.cancel(ref)  # raises KeyboardInterrupt in the task, which ends its job
            if running:
                ray.wait(list(running), num_returns=len(running), timeout=STOP_SECONDS)

    def _check_nodes(self, cluster: Cluster) -> None:
        cluster.check()
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + ROOM_SECONDS
        if cluster.room(self.cpus, self.gpus):
            self._had_room = now
        elif now - self._had_room > PATIENCE_SECONDS:
            raise UserError(
                f"{cluster.name} has had no node for a job for {PATIENCE_SECONDS:g} s; everything finished is stored, "
                "so run the same command again when its nodes are back"
            )


def run_on_node(job: Job) -> JobResult:
    """Run a job in a process of this node.

    Returns:
        How it ended; a job that cannot start has failed.
    """
    if not Path(job.cwd).is_dir():
        reason = f"the node has no folder {job.cwd}; run the command in a folder that all nodes share"
        return JobResult(job.name, tuple(job.words), 1, 0.0, reason)
    started = time.monotonic()
    try:
        return RunningJob(job).wait(lambda: None)
    except UserError as error:
        return JobResult(job.name, tuple(job.words), 1, time.monotonic() - started, str(error))


def _result(ref: Any, job: Job, cluster: Cluster) -> JobResult:
    import ray

    try:
        result: JobResult = ray.get(ref)
    except (
        ray.exceptions.TaskCancelledError,
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
    ) as error:
        reason = f"its node of {cluster.name} was lost too often ({type(error).__name__}); run the same command again"
        return JobResult(job.name, tuple(job.words), 143, 0.0, reason)
    except ray.exceptions.RayError as error:
        reason = f"{cluster.name} could not run it: {' '.join(str(error).split())[:300]}"
        return JobResult(job.name, tuple(job.words), 1, 0.0, reason)
    return result
