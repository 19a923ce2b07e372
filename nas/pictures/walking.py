"""The entries of folders: links are followed, loops of links are found, and every failure is one sentence."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from nas.errors import UserError
from nas.pictures.decoding import printable
from nas.pictures.suffixes import image_suffixes, is_hidden

IGNORED_FILES = ("thumbs.db", "desktop.ini")
"""Files of Windows' file manager, in lower case."""
MAX_DEPTH = 100
"""Deepest folder below a class; a deeper one is a loop that a network drive hides."""


@dataclass(frozen=True)
class Entries:
    """Names in one folder, unsorted; hidden ones are left out.

    Args:
        folders: Folders, and links to folders.
        pictures: Files with the suffix of a picture.
        others: Other files.
    """

    folders: tuple[str, ...]
    pictures: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def holds_any(self) -> bool:
        """Whether there is a picture or a folder."""
        return bool(self.folders or self.pictures)


def check_root(root: Path) -> None:
    """Check that a data set's root is a folder.

    Raises:
        UserError: It is missing, a file, or cannot be opened.
    """
    expected = "expected a folder of pictures"
    try:
        mode = root.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"data.root={root} is a link that leads back to itself; {expected}") from None
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            dead = f" is a link to {root.readlink()}, which does" if root.is_symlink() else " does"
            raise UserError(f"data.root={root}{dead} not exist; {expected}") from None
        raise UserError(f"data.root={root} cannot be read ({error.strerror}); {expected}") from None
    except ValueError as error:  # a null byte
        raise UserError(f"data.root={str(root)!r} is not the name of a folder ({error}); {expected}") from None
    if not stat.S_ISDIR(mode):
        advice = "unpack it" if root.suffix.lower() in (".zip", ".gz", ".tar", ".tgz", ".xz", ".7z") else expected
        raise UserError(f"data.root={root} is a file; {advice if advice == expected else f'{expected}: {advice}'}")


def entries_of(folder: Path | str) -> Entries:
    """The entries of a folder.

    Raises:
        UserError: It cannot be opened, or a name in it is not text.
    """
    suffixes = image_suffixes()
    folders, pictures, others = [], [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if is_hidden(name) or name.lower() in IGNORED_FILES:
                    continue
                if not name.isascii():
                    _check_text(folder, name)
                if _is_folder(entry):
                    folders.append(name)
                elif os.path.splitext(name)[1].lower() in suffixes and _can_be_read(entry):  # noqa: PTH122 (a million)
                    pictures.append(name)
                else:
                    others.append(name)
    except OSError as error:
        raise UserError(
            f"the folder {printable(str(folder))} of data.root cannot be read ({error.strerror or error}); give "
            "yourself the right to read it, or move it elsewhere"
        ) from None
    return Entries(tuple(folders), tuple(pictures), tuple(others))


def walk(root: Path, start: str) -> tuple[list[str], int]:
    """All pictures below a folder of a root, and the number of other files.

    Args:
        root: Root.
        start: Folder in it, with "/".

    Returns:
        Paths relative to the root, with "/", unsorted.

    Raises:
        UserError: A folder cannot be read, a name is not text, or links lead in a circle.
    """
    files: list[str] = []
    others = 0
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [(start, (_identity(root),))]
    while waiting:
        inside, above = waiting.pop()
        identity = _identity(root / inside)
        if identity in above or len(above) > MAX_DEPTH:
            raise UserError(
                f"data.root={root}: {printable(inside)} leads back to a folder that it is in; remove this link"
            )
        found = entries_of(f"{root}/{inside}")
        others += len(found.others)
        files += [f"{inside}/{name}" for name in found.pictures]
        waiting += [(f"{inside}/{name}", (*above, identity)) for name in found.folders]
    return files, others


def _identity(folder: Path) -> tuple[int, int]:
    try:
        found = folder.stat()
    except OSError as error:
        raise UserError(f"the folder {folder} of data.root cannot be read ({error.strerror or error})") from None
    return found.st_dev, found.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _can_be_read(entry: os.DirEntry[str]) -> bool:
    """Whether reading an entry ends: not of pipes and devices. A dead link counts, and is found to be unreadable."""
    try:
        return entry.is_file() or entry.is_symlink()
    except OSError:
        return True


def _check_text(folder: Path | str, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name)
        raise UserError(
            f"the folder {printable(str(folder))} of data.root holds a name that is not text in UTF-8, {shown!r}; "
            "rename it"
        ) from None
