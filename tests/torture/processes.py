"""Processes that are started, watched and killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

MARKER = "NAS_TORTURE"
"""Environment variable that all descendants of a started process inherit."""
ORPHAN_SECONDS = 15.0
"""Time in which the descendants of a killed process must end."""
START_SECONDS = 120.0


@dataclass
class Started:
    """A Python process in a folder.

    Args:
        arguments: Its command line after `python`.
        folder: Its current folder, which gets a file `stderr`.
        import_path: Folder whose modules it can import besides its own.
    """

    arguments: Sequence[str]
    folder: Path
    import_path: str = ""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.errors = self.folder / "stderr"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *self.arguments], cwd=self.folder,
                env={**os.environ, MARKER: self.token, "PYTHONPATH": self.import_path},
                stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
            )  # fmt: skip

    def wait_for(self, line: str, seconds: float = START_SECONDS) -> bool:
        """Wait until the process prints a line or ends; whether it did so in time."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return bool(ready) and self.process.stdout.readline().decode().strip() in (line, "")

    def ended_within(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is not None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def orphans(self, seconds: float = ORPHAN_SECONDS) -> list[str]:
        """Kill what still runs after this time, and return its command lines."""
        deadline = time.monotonic() + seconds
        while (left := with_marker(self.token)) and time.monotonic() < deadline:
            time.sleep(0.02)
        lines = []
        for pid in left:
            with suppress(OSError):
                lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:200])
                os.kill(pid, signal.SIGKILL)
        return lines

    def close(self) -> None:
        """End the process and its descendants."""
        if self.process.poll() is None:
            self.kill()
        self.orphans(0.0)
        assert self.process.stdout is not None
        self.process.stdout.close()


def with_marker(token: str) -> list[int]:
    """The running processes that a process started with this marker, zombies left out."""
    wanted = f"{MARKER}={token}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX" and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
