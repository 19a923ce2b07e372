"""The launcher that runs jobs as an array of SLURM jobs, through submitit.

A job that is preempted, signalled or near its time limit ends cleanly, is requeued under the same number, and resumes.
The launcher itself may be killed: the same command attaches to the jobs that still wait or run.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nas.errors import UsageError, UserError, located
from nas.files import atomic_write
from nas.launchers.base import RESULT, Job, JobResult, RunningJob, save, saved
from nas.runtime import interrupt
from nas.validation import as_written, number_in, whole_number

PROGRAMS = ("sbatch", "squeue", "scancel", "srun")
WARNING_SIGNAL = "USR1"
"""Signal before the time limit and at preemption. It reaches every process of the job, and a command knows it."""
SIGNAL_VARIABLE = "SUBMITIT_PREEMPT_SIGNAL"
RECORD = "slurm.json"
"""File of a job with its number in SLURM."""
REFUSED_KEYS = "change the setting that this is about (launcher.partition, minutes, memory_gb, cpus, gpus or more)"
POLL_SECONDS = 2.0
MISSING_POLLS = 15
"""How often in a row a job may be missing from the queue without a result before it counts as lost."""


class SLURMLauncher:
    """Runs jobs as one array of SLURM jobs.

    Args:
        partition: Partition; None: the cluster's default.
        minutes: Time limit of a job, after which it is requeued.
        memory_gb: Memory of a job; None: the cluster's default.
        cpus: CPU cores of a job.
        gpus: GPUs of a job.
        jobs: Number of jobs of the array at a time.
        timeouts: How often a job may reach its time limit.
        warning_seconds: Time between the warning and the limit.
        setup: Shell lines before each job.
        more: Further options of sbatch.
    """

    def __init__(  # noqa: PLR0917 (settings, given by name)
        self,
        partition: str | None = None,
        minutes: int = 60,
        memory_gb: float | None = None,
        cpus: int = 1,
        gpus: int = 0,
        jobs: int = 256,
        timeouts: int = 20,
        warning_seconds: int = 120,
        setup: Sequence[str] = (),
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        for key, value, least in (
            ("minutes", minutes, 1),
            ("cpus", cpus, 1),
            ("gpus", gpus, 0),
            ("jobs", jobs, 1),
            ("timeouts", timeouts, 0),
            ("warning_seconds", warning_seconds, 1),
        ):
            whole_number(f"launcher.{key}", value, least=least)
        number_in("launcher.memory_gb", memory_gb, 0, float("inf"), above=True, null=True)
        _check_texts(partition, setup, more)
        if warning_seconds >= 60 * minutes:
            raise UsageError(
                f"launcher.warning_seconds must be less than launcher.minutes, which is {60 * minutes} seconds, got "
                f"{warning_seconds}"
            )
        self.timeouts = timeouts
        self.parameters: dict[str, Any] = {
            "job_name": "nas",
            "partition": partition,
            "time": minutes,
            "mem": None if memory_gb is None else f"{round(memory_gb * 1024)}M",
            "cpus_per_task": cpus,
            "gpus_per_node": gpus or None,
            "array_parallelism": jobs,
            "signal_delay_s": warning_seconds,
            "setup": list(setup),
            "additional_parameters": {"requeue": True, **more},
        }

    def check(self) -> None:
        _submitit()
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if missing:
            raise UsageError(
                f"launcher=slurm needs {', '.join(missing)}, which this machine does not have; run the command where "
                "SLURM's programs are, or choose launcher=local"
            )

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        self.check()
        numbers = {job.name: number for job in jobs if (number := _recorded(job)) is not None}
        queued = _queue(list(numbers.values()))
        waiting = {job.name: job for job in jobs}
        numbers = {name: number for name, number in numbers.items() if number in queued}
        fresh = [job for job in jobs if job.name not in numbers]
        missing = dict.fromkeys(waiting, 0)
        try:
            numbers |= self._submit(fresh)
            while waiting:
                interrupt.check()
                queued = _queue([numbers[name] for name in waiting])
                for name, job in list(waiting.items()):
                    missing[name] = 0 if numbers[name] in queued else missing[name] + 1
                    result = saved(job)
                    if result is None and missing[name] >= MISSING_POLLS:
                        reason = f"SLURM job {numbers[name]} was cancelled or lost; run the same command again"
                        result = JobResult(name, tuple(job.words), 143, 0.0, reason)
                    if result is not None:
                        del waiting[name]
                        yield result
                if waiting:
                    time.sleep(POLL_SECONDS)
        finally:
            if running := [numbers[name] for name in waiting if name in numbers]:
                with suppress(OSError, subprocess.SubprocessError):
                    subprocess.run(["scancel", *running], check=False, capture_output=True, timeout=60)

    def _submit(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Submit jobs as one array; name of each -> its number in SLURM."""
        if not jobs:
            return {}
        submitit = _submitit()
        for job in jobs:  # how it ended an earlier time
            (job.folder / RESULT).unlink(missing_ok=True)
        executor = submitit.SlurmExecutor(jobs[0].folder.parent / "slurm", max_num_timeout=self.timeouts)
        executor.update_parameters(**{key: value for key, value in self.parameters.items() if value is not None})
        for job in jobs:  # sbatch hands its environment on; submitit would write a password into a file
            os.environ.update(job.environment)
        try:
            with redirect_stderr(io.StringIO()), executor.batch():  # submitit prints what sbatch says, and raises it
                submitted = [executor.submit(NodeJob(replace(job, environment={}))) for job in jobs]
        except Exception as error:  # noqa: BLE001 (submitit and sbatch fail in many ways)
            raise UserError(f"SLURM refused the jobs: {_reason(error)}; {REFUSED_KEYS}") from None
        numbers = {job.name: str(one.job_id) for job, one in zip(jobs, submitted, strict=True)}
        for job in jobs:
            job.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(job.folder / RECORD) as temporary:
                temporary.write_text(json.dumps({"number": numbers[job.name]}), encoding="utf-8")
        return numbers


class NodeJob:
    """A job on a node of the cluster, as submitit runs it.

    Args:
        job: Job to run.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._running: RunningJob | None = None

    def __call__(self) -> None:
        """Run the job and write how it ended; a job that was interrupted is requeued."""
        try:
            self._running = RunningJob(self.job)
            result = self._running.wait(lambda: None)
        except Exception as error:  # noqa: BLE001 (the launcher waits for a result)
            reason = str(error) if isinstance(error, UserError) else located(error)
            result = JobResult(self.job.name, tuple(self.job.words), 1, 0.0, reason)
        if result.interrupted:
            # nothing is written: the job runs again, or the launcher sees that it has left the queue
            _requeue()
            sys.exit(-1)  # as submitit ends a job that it has requeued
        save(self.job, result)

    def checkpoint(self) -> Any:
        """What submitit calls after the warning signal: end the command cleanly, to be run again."""
        submitit = _submitit()
        if self._running is not None:
            self._running.stop()
        return submitit.helpers.DelayedSubmission(NodeJob(self.job))


def _check_texts(partition: object, setup: object, more: object) -> None:
    """Raise `UsageError` unless sbatch could read these settings."""
    if partition is not None and not (isinstance(partition, str) and partition.strip()):
        raise UsageError(f"launcher.partition must be the name of a partition or null, got {as_written(partition)}")
    if not isinstance(setup, list | tuple) or not all(isinstance(line, str) for line in setup):
        raise UsageError(f"launcher.setup must be a list of shell lines, got {as_written(setup)}")
    for key, value in more.items() if isinstance(more, Mapping) else [("", more)]:
        if not isinstance(value, str | int | float) or not str(key):
            raise UsageError(f"launcher.more must have a text or a number for each option, got {as_written(more)}")


def _submitit() -> Any:
    """The library; it reads the warning signal when it is imported."""
    os.environ.setdefault(SIGNAL_VARIABLE, WARNING_SIGNAL)
    try:
        import submitit
    except ImportError:
        raise UsageError("launcher=slurm needs the extra slurm: pip install 'cellnas[slurm]'") from None
    return submitit


def _reason(error: Exception) -> str:
    """What sbatch or submitit says, as one line."""
    lines = [re.sub(r"^sbatch: (error|fatal): ", "", line.strip()).rstrip(".") for line in str(error).splitlines()]
    return "; ".join(filter(None, lines)) or "sbatch failed without a message"


def _requeue() -> None:
    """Ask SLURM to run this job again; it refuses if the job is cancelled, or is being requeued already."""
    number = _submitit().JobEnvironment().job_id
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(["scontrol", "requeue", number], check=False, capture_output=True, timeout=60)


def _recorded(job: Job) -> str | None:
    """Number in SLURM of a job that an earlier launcher submitted."""
    try:
        return str(json.loads(Path(job.folder / RECORD).read_text(encoding="utf-8"))["number"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _queue(numbers: Sequence[str]) -> set[str]:
    """Those jobs that wait or run."""
    if not numbers:
        return set()
    command = ["squeue", "--noheader", "--array", "--format=%i", "--me"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return set(numbers)  # the controller does not answer at the moment
    return {number for number in numbers if number in listed}
