"""Files and folders that are there whole or not at all."""

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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside a file to write to; at the end it takes the file's place, after an error it is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(target: Path) -> None:
    """Refuse a folder that could not be filled, before work is done for it.

    Raises:
        UsageError: it holds something.
        UserError: nothing can be written there.
    """
    _check_empty(target)
    try:
        made = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder in (_beside(target), *made):
            folder.rmdir()
    except OSError as error:
        raise _unwritable(target, error) from None


@contextmanager
def filling(target: Path) -> Iterator[Path]:
    """A folder beside the target to write files into; it becomes the target at the end, after an error it is removed.

    A target that holds the very same files is left as it is.

    Raises:
        UsageError: the target holds something else.
        UserError: it cannot be written.
    """
    workplace = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workplace = _beside(target)
        yield workplace
        if not _same(workplace, target):
            _check_empty(target)
            if target.exists():
                target.rmdir()
            for path in (workplace, *workplace.iterdir()):  # what is made as temporary is its owner's alone
                path.chmod(0o755 if path.is_dir() else 0o644)
            workplace.rename(target)
    except OSError as error:
        raise _unwritable(target, error) from None
    finally:
        if workplace is not None:
            shutil.rmtree(workplace, ignore_errors=True)


def _same(made: Path, there: Path) -> bool:
    names = sorted(path.name for path in made.iterdir())
    if not there.is_dir() or names != sorted(path.name for path in there.iterdir()):
        return False
    return filecmp.cmpfiles(made, there, names, shallow=False)[0] == names


def _beside(target: Path) -> Path:
    """A new folder; those of processes of this machine that were killed are removed."""
    mine = f".{target.name}.{platform.node()}-"
    for left in target.parent.glob(f"{glob.escape(mine)}*"):
        owner = left.name.removeprefix(mine).partition(".")[0]
        if owner.isdigit() and not _runs(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{mine}{os.getpid()}.", dir=target.parent))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _check_empty(target: Path) -> None:
    try:
        free = not target.is_symlink() and (not target.exists() or (target.is_dir() and not any(target.iterdir())))
    except OSError as error:
        raise _unwritable(target, error) from None
    if not free:
        raise UsageError(f"{target} holds something else, which was left as it is; give an empty folder with out=")


def _unwritable(target: Path, error: OSError) -> UserError:
    return UserError(f"{target} cannot be written ({error.strerror or error}); free space, or set out=")
