"""Results that a store did not take: a file beside the run, from which the next start of the run takes them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nas.errors import UserError
from nas.store.base import Run
from nas.store.rows import from_json, run_row, to_json


def file_name(store: str, run: str) -> str:
    """Name of the file, which no other run and no other store shares."""
    return f"unstored-{hashlib.blake2b(f'{store} {run}'.encode(), digest_size=4).hexdigest()}.jsonl"


def keep(path: Path, run: Run, entry: Mapping[str, Any]) -> None:
    """Add a result to the file of its run, durably.

    Args:
        path: The file; it need not exist.
        run: The run as it is stored.
        entry: `trial` (its columns), `curve` (rows) and `elapsed` (seconds), JSON-safe.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else [to_json(run_row(run))]
    write_durably(path, [*lines, to_json(entry)])


def read(path: Path) -> tuple[Run, list[dict[str, Any]]]:
    """The run and the results of a file.

    Raises:
        UserError: It cannot be read.
    """
    try:
        head, *entries = map(from_json, path.read_text().splitlines())
        return Run(**head), entries
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} holds results that could not be stored, and it cannot be read ({error}); repair it, or remove it "
            "to run these trials again"
        ) from None


def write_durably(path: Path, lines: Iterable[str]) -> None:
    """Replace a text file such that it is whole after a power failure, either the earlier one or this."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Write the names of a folder to the disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
