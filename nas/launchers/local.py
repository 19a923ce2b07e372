"""The launcher that runs jobs on this machine, a given number at a time."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence

from nas.errors import UserError
from nas.executors.processes import THREAD_VARIABLES, cores
from nas.launchers.base import Job, JobResult, RunningJob, end_all
from nas.runtime import interrupt
from nas.validation import whole_number

POLL_SECONDS = 0.05


class LocalLauncher:
    """Runs jobs as processes on this machine.

    Args:
        jobs: Number of jobs at a time. Jobs that run together share the CPU cores evenly, unless `OMP_NUM_THREADS` is
            set. Sums may round differently with another number of threads; `trainer.threads` sets it for good.
    """

    def __init__(self, jobs: int = 1) -> None:
        whole_number("launcher.jobs", jobs, most=1024)
        self.jobs = jobs

    def check(self) -> None:
        """This machine is always there."""

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        waiting, running = deque(jobs), list[RunningJob]()
        try:
            while waiting or running:
                interrupt.check()
                while waiting and len(running) < self.jobs:
                    job = waiting.popleft()
                    try:
                        running.append(RunningJob(job, self._environment()))
                    except UserError as error:
                        yield JobResult(job.name, tuple(job.words), 1, 0.0, str(error))
                ended = [(one, result) for one in running if (result := one.poll()) is not None]
                for one, result in ended:
                    running.remove(one)
                    yield result
                if not ended:
                    time.sleep(POLL_SECONDS)
        finally:
            end_all(running)

    def _environment(self) -> dict[str, str]:
        if self.jobs == 1:
            return {}
        return {name: os.environ.get(name) or str(max(1, cores() // self.jobs)) for name in THREAD_VARIABLES}
