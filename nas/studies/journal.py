"""A journal: one JSON line for each finished piece of a long job, so a killed job resumes where it stopped.

The first line identifies the job; a journal of another job is refused. Every line is synchronised to the disk before
the job continues.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nas.errors import UsageError, UserError
from nas.identity import differences


@dataclass(frozen=True)
class Journal:
    """An open journal; no other process can write to it meanwhile.

    Args:
        path: Path of the file.
        head: First line.
        lines: Lines that it had when it was opened, without the head.
    """

    path: Path
    head: Mapping[str, Any]
    lines: Sequence[dict[str, Any]]

    def append(self, line: Mapping[str, Any]) -> None:
        """Write a line to the disk.

        Raises:
            UserError: It could not be written; the lines before it are intact.
        """
        _append(self.path, line)


@contextmanager
def journal(
    path: Path, identity: Mapping[str, Any], remarks: Mapping[str, Any], needed: Sequence[str]
) -> Iterator[Journal]:
    """Start a journal, or resume the existing one.

    Args:
        path: Path of the file.
        identity: Settings that must be equal for the job to resume; JSON-safe.
        remarks: Facts that are stored in the first line of a new journal and never compared.
        needed: Keys that every line has.

    Raises:
        UsageError: The journal is of another job, or another process is writing it.
        UserError: It is damaged, or cannot be written.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"{path} is being written by another process; wait until it ends or choose another out="
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        identity = json.loads(json.dumps(identity))
        lines = _repaired(path, needed)
        if not lines:
            _append(path, {**identity, **remarks})
            lines = _repaired(path, needed)
        head, *rest = lines
        differing = differences(head, {**head, **identity})
        if differing:
            raise UsageError(
                f"{path} was started with {'; with '.join(differing)}. Choose another out= or restore the old value; "
                "nothing was changed."
            )
        yield Journal(path, head, rest)
    finally:
        lock.release()


def read(path: Path, needed: Sequence[str], advice: str = "restore it") -> list[dict[str, Any]]:
    """The complete lines of a journal, the head first; a last line that is being written is left out.

    Args:
        path: Path of the file; without a file, there are no lines.
        needed: Keys that every line but the head has.
        advice: Advice about a damaged file, for the message.

    Raises:
        UserError: It is damaged.
        OSError: It cannot be read.
    """
    raw = path.read_bytes() if path.exists() else b""
    try:
        lines = [json.loads(line) for line in raw[: raw.rfind(b"\n") + 1].splitlines()]
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {advice}") from None
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict) or (number > 1 and not set(needed) <= line.keys()):
            raise UserError(f"{path} is damaged (line {number}); {advice}")
    return lines


def _repaired(path: Path, needed: Sequence[str]) -> list[dict[str, Any]]:
    """The lines; a line that was being written when the process died is removed, and its work is done again."""
    try:
        lines = read(path, needed, "restore it or choose another out=")
        raw = path.read_bytes() if path.exists() else b""
        if not raw.endswith(b"\n") and raw:
            os.truncate(path, raw.rfind(b"\n") + 1)
    except OSError as error:
        raise _unwritable(path, error) from None
    return lines


def _append(path: Path, line: Mapping[str, Any]) -> None:
    try:
        with path.open("ab") as file:
            file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path} cannot be written ({error.strerror or error}); free up disk space, or choose another out="
    )
