"""A process that cleans up after a Ray cluster of this machine, however the process that started it ends.

Ray's server processes end with their parent, but its agents and workers wait up to a minute for the servers to come
back. This file runs as a script of its own, with nothing but the standard library.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROUNDS, ROUND_SECONDS = 50, 0.1
"""How often the guard looks for processes that are left: one may start another before it is killed."""


@contextmanager
def guarded(folder: str) -> Iterator[None]:
    """Watch a cluster until the end of the block, or of this process; nothing of it is left then, and no folder.

    Args:
        folder: Temporary folder of the cluster, where each of its processes writes a log.
    """
    command = [sys.executable, "-I", "-S", __file__, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):  # its end closes the pipe, and waits
        yield


def main(folder: str) -> None:
    """Wait until standard input closes, and then kill every other process that has a file of the folder open."""
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # which a cluster sends to all processes of a job
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for _ in range(ROUNDS):
        left = [process for process in _with_files_in(folder) if process != parent]
        for process in left:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        if not left:
            break
        time.sleep(ROUND_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def _with_files_in(folder: str) -> Iterator[int]:
    """The processes that have a file of a folder open; none where there is no /proc."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # of another user, or it has ended
            if any(_target(file).startswith(f"{folder}/") for file in (process / "fd").iterdir()):
                yield int(process.name)


def _target(file: Path) -> str:
    with suppress(OSError):
        return str(file.readlink())
    return ""


if __name__ == "__main__":
    main(sys.argv[1])
