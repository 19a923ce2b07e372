"""Atomic file and directory writes."""

from __future__ import annotations

import filecmp
import glob
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import UsageError, UserError


def cache_folder() -> Path:
    """Where downloads and decoded pictures go: `$XDG_CACHE_HOME/cellnas`, else `~/.cache/cellnas`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cellnas"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside a file. At the end it replaces the file; after an error it is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(target: Path, key: str = "out") -> None:
    """Check, before long work, that a folder can be created.

    Args:
        target: Folder.
        key: Setting that names it, for messages.

    Raises:
        UsageError: The folder is not empty.
        UserError: Nothing can be written there.
    """
    _check_empty(target, key)
    try:
        created = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder in (_beside(target), *created):
            folder.rmdir()
    except OSError as error:
        raise _unwritable(target, error, key) from None


@contextmanager
def atomic_folder(target: Path, key: str = "out") -> Iterator[Path]:
    """A temporary folder beside the target. At the end it becomes the target; after an error it is removed.

    A target that already holds the same files is left unchanged.

    Args:
        target: Folder.
        key: Setting that names it, for messages.

    Raises:
        UsageError: The target holds other files.
        UserError: The target cannot be written.
    """
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(target)
        yield temporary
        if not _holds_same_files(temporary, target):
            _check_empty(target, key)
            if target.exists():
                target.rmdir()
            for path in (temporary, *temporary.iterdir()):  # only the owner can read what tempfile creates
                path.chmod(0o755 if path.is_dir() else 0o644)
            temporary.rename(target)
    except OSError as error:
        raise _unwritable(target, error, key) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _holds_same_files(new: Path, existing: Path) -> bool:
    names = sorted(path.name for path in new.iterdir())
    if not existing.is_dir() or names != sorted(path.name for path in existing.iterdir()):
        return False
    return filecmp.cmpfiles(new, existing, names, shallow=False)[0] == names


def _beside(target: Path) -> Path:
    """A new folder. Folders that killed processes of this machine left are removed."""
    prefix = f".{target.name}.{platform.node()}-"
    for leftover in target.parent.glob(f"{glob.escape(prefix)}*"):
        owner = leftover.name.removeprefix(prefix).partition(".")[0]
        if owner.isdigit() and not _is_running(int(owner)):
            shutil.rmtree(leftover, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}.", dir=target.parent))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _check_empty(target: Path, key: str) -> None:
    try:
        free = not target.is_symlink() and (not target.exists() or (target.is_dir() and not any(target.iterdir())))
    except OSError as error:
        raise _unwritable(target, error, key) from None
    if not free:
        raise UsageError(f"{target} is not an empty folder and was left unchanged; set {key}= to a new or an empty one")


def _unwritable(target: Path, error: OSError, key: str) -> UserError:
    return UserError(f"{target} cannot be written ({error.strerror or error}); free up disk space, or set {key}=")
