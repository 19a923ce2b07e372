"""Archives from the network: one process downloads, the others wait, and a folder is complete or absent."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from nas.errors import UserError

CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = 30
"""Longest silence of a server: a dead connection must block neither this process nor those that wait for it."""


@dataclass(frozen=True)
class Archive:
    """A compressed tar archive.

    Args:
        name: Name of its content, for messages.
        address: URL.
        md5: MD5 sum of the archive, hexadecimal.
        folder: Folder that it is unpacked to.
        disk_bytes: Free space needed for the archive and its unpacked files.
    """

    name: str
    address: str
    md5: str
    folder: str
    disk_bytes: int


def reachable(address: str) -> str | None:
    """None if the server answers, otherwise the reason why it does not."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=10):
            return None
    except (OSError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__


def download(archive: Archive, target: Path, advice: str) -> None:
    """Download and unpack an archive into a folder in `target`, unless another process has done so meanwhile.

    Args:
        archive: Archive to download.
        target: Folder to unpack into.
        advice: Sentence that ends an error message.

    Raises:
        UserError: The network is unreachable, the disk is full, or the archive is damaged.
    """

    def unpack(partial: Path) -> None:
        file = partial / "archive"
        _fetch(archive, file)
        with tarfile.open(file) as opened:
            opened.extractall(partial, filter="data")

    complete_folder(archive.name, archive.folder, archive.disk_bytes, target, advice=advice, fill=unpack)


def complete_folder(
    name: str, folder: str, disk_bytes: int, target: Path, *, advice: str, fill: Callable[[Path], None]
) -> None:
    """Fill a folder in `target` from the network, unless another process has done so meanwhile.

    Leftovers of killed downloads are removed.

    Args:
        name: Name of its content, for messages.
        folder: Name of the folder.
        disk_bytes: Free space that is needed.
        target: Folder that it will be in.
        advice: Sentence that ends an error message.
        fill: Creates the folder with all its files inside of a temporary one.

    Raises:
        UserError: The network is unreachable, the disk is full, or what was downloaded is damaged.
    """
    partial = target / f".{folder}.partial"
    lock = FileLock(target / f".{folder}.lock")
    try:
        target.mkdir(parents=True, exist_ok=True)
        _acquire(lock, name, target)
        try:
            if (target / folder).exists():
                return
            _remove_leftovers(target, folder)
            _check_space(target, disk_bytes)
            partial.mkdir()
            fill(partial)
            (partial / folder).rename(target / folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            lock.release()
    except (OSError, EOFError, RuntimeError, http.client.HTTPException, tarfile.TarError, zlib.error) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = f"{reason}; it needs {disk_bytes / 1e6:.0f} MB"
        text = " ".join(str(reason).split()) or type(error).__name__
        raise UserError(f"downloading {name} to {target} failed ({text}). {advice}") from None


def _acquire(lock: FileLock, name: str, target: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        warnings.warn(f"another process is downloading {name} to {target}; waiting for it", stacklevel=2)
        lock.acquire()


def _remove_leftovers(target: Path, folder: str) -> None:
    """Remove unfinished folders of processes that have ended; version 0.1.0 named them by the process."""
    for left in target.glob(f".{folder}.*"):
        owner = left.suffix.removeprefix(".")
        if owner == "partial" or (owner.isdigit() and not _is_running(int(owner))):
            shutil.rmtree(left, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _check_space(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{free / 1e6:.0f} MB is free")


def _fetch(archive: Archive, file: Path) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(archive.address, timeout=TIMEOUT_SECONDS) as response, file.open("wb") as out:
        silent = sys.stderr is None or not sys.stderr.isatty()
        with tqdm(total=response.length, unit="B", unit_scale=True, desc=archive.name, disable=silent) as bar:
            while chunk := response.read(CHUNK_BYTES):
                out.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
        if response.length:  # bytes that were announced and not sent
            raise OSError(f"the connection broke off {response.length:,} bytes before the end")
    if digest.hexdigest() != archive.md5:
        raise OSError(
            f"{file.stat().st_size:,} bytes were read from {archive.address}, and their MD5 sum is not {archive.md5}"
        )
