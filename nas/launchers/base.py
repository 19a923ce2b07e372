"""The interface of launchers, and the job that each of them runs in a process of its own.

A job is one command `nas …`. Its process holds a lock for as long as it lives, so a job that outlived its launcher is
waited for and never runs twice at the same time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from nas.errors import UserError
from nas.files import atomic_write
from nas.runtime import parent

COMMAND = (sys.executable, "-m", "nas")
"""The program of every job."""
INTERRUPTED_CODES = (130, 138, 143, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a command that a signal ended cleanly, or before it could; the same command resumes it."""
LOCK_SECONDS = 120
"""Time that a job waits for an earlier process of the same job to end."""
STOP_SECONDS = 60
"""Time that an interrupted job has to end by itself."""
MAX_OUTPUT = 1_000_000
"""Characters of a job's output and log that are sent from another machine, counted from the end."""
LOG, OUTPUT, RESULT, LOCK = "log.txt", "output.txt", "result.json", "lock"
"""Files of a job: its messages, its result on stdout, how it ended, and the lock."""


@dataclass(frozen=True)
class Job:
    """A command to run.

    Args:
        name: Name within its sweep.
        words: Arguments after `nas`.
        folder: Folder of its files, absolute; created when the job starts.
        cwd: Current folder of the command, absolute.
        environment: Variables that its process gets besides those of its machine, such as a password.
    """

    name: str
    words: Sequence[str]
    folder: Path
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class JobResult:
    """How a job ended.

    Args:
        name: Name of the job.
        words: Arguments that it ran with.
        code: Exit code of its command; negative: number of the signal that killed it.
        seconds: Wall time of its last session.
        reason: Last message of the command if it failed, else None.
        output: What it printed on stdout; only its end if it is long.
    """

    name: str
    words: Sequence[str]
    code: int
    seconds: float
    reason: str | None = None
    output: str = ""

    @property
    def done(self) -> bool:
        return self.code == 0

    @property
    def interrupted(self) -> bool:
        """Whether the same command resumes it."""
        return self.code in INTERRUPTED_CODES


class Launcher(Protocol):
    """Runs the jobs of a sweep."""

    def check(self) -> None:
        """Check that jobs can run.

        Raises:
            UsageError: A program, a library or a cluster is missing; says which.
        """

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Run all jobs; a job that fails ends no other one.

        Args:
            jobs: Jobs with different names.

        Yields:
            How each job ended, as soon as it has.

        Closing the iterator, or an exception such as `KeyboardInterrupt`, ends the jobs that run.
        """


class RunningJob:
    """The process of one job.

    Args:
        job: Job to start.
        environment: Variables that its process gets besides those of this one.

    Raises:
        UserError: Its folder cannot be written, or another process still runs it.
    """

    def __init__(self, job: Job, environment: Mapping[str, str] | None = None) -> None:
        self.job = job
        self._started = time.monotonic()
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(job)
            with (job.folder / LOG).open("ab") as log, (job.folder / OUTPUT).open("wb") as output:
                self._log_start = log.tell()
                self.process = subprocess.Popen(
                    [*COMMAND, *job.words],
                    cwd=job.cwd,
                    env={**os.environ, **(environment or {}), **job.environment, parent.VARIABLE: str(os.getpid())},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=log,
                    pass_fds=(self._lock.fileno(),),  # the process holds the lock too, even if this one is killed
                )
        except OSError as error:
            raise UserError(f"{error.filename or job.folder}: job {job.name} cannot start ({error.strerror})") from None

    def poll(self) -> JobResult | None:
        """How the job ended; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        self._lock.close()
        failed = code != 0
        return JobResult(
            self.job.name,
            tuple(self.job.words),
            code,
            time.monotonic() - self._started,
            _last_message(self.job.folder / LOG, self._log_start, code) if failed else None,
            _end_of(self.job.folder / OUTPUT),
        )

    def wait(self, check: Callable[[], None]) -> JobResult:
        """Wait until the job ends.

        Args:
            check: Called a few times a second; an exception that it raises stops the job.
        """
        try:
            while (result := self.poll()) is None:
                check()
                time.sleep(0.1)
        except BaseException:
            self.stop()
            raise
        return result

    def stop(self) -> None:
        """End the job cleanly; kill it if it has not ended after `STOP_SECONDS`."""
        end_all([self])


def end_all(running: Sequence[RunningJob]) -> None:
    """End jobs cleanly, at the same time."""
    for one in running:
        with suppress(ProcessLookupError):
            one.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for one in running:
        try:
            one.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
        one._lock.close()


def save(job: Job, result: JobResult) -> None:
    """Write how a job ended into its folder, for the next start of its sweep.

    Raises:
        UserError: The folder cannot be written.
    """
    facts: dict[str, Any] = asdict(result)
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        output = job.folder / OUTPUT
        if not output.exists():  # it ran on a machine with another file system
            output.write_text(result.output, encoding="utf-8")
        with atomic_write(job.folder / RESULT) as temporary:
            del facts["output"]
            temporary.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{error.filename or job.folder} cannot be written ({error.strerror}); free some space"
        ) from None


def saved(job: Job) -> JobResult | None:
    """How a job ended the last time it ran with the same arguments; None if it did not, or the file is damaged."""
    try:
        facts = json.loads((job.folder / RESULT).read_text(encoding="utf-8"))
        output = _end_of(job.folder / OUTPUT)
        result = JobResult(**{**facts, "words": tuple(facts["words"])}, output=output)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return result if result.words == tuple(job.words) else None


def _locked(job: Job) -> IO[bytes]:
    """The open lock file of a job, which its process inherits."""
    import fcntl  # not on Windows

    file = (job.folder / LOCK).open("wb")
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                raise UserError(
                    f"job {job.name} is still being run by another process; wait until it ends, and run the same "
                    "command again"
                ) from None
            time.sleep(0.2)
        else:
            return file


def _end_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[-MAX_OUTPUT:]
    except OSError:
        return ""


def _last_message(log: Path, start: int, code: int) -> str:
    """The last message of a command in its log, without the program's name."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        lines = []
    messages = [line.removeprefix("nas: ") for line in lines if line.startswith("nas: ")]
    messages = [line for line in messages if not line.startswith("warning: ")]
    if messages:
        return messages[-1]
    if code < 0:
        names = {known.value: known.name for known in signal.Signals}
        return f"killed by {names.get(-code, f'signal {-code}')}"
    return next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
