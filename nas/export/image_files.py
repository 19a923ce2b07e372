"""Finds the image files that a user names, and reports what it skips."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nas.errors import UsageError
from nas.pictures.suffixes import image_suffixes, is_hidden

MAX_SUFFIXES = 6
"""Suffixes of skipped files that a message lists."""


@dataclass(frozen=True)
class ImageFiles:
    """Image files in a path.

    Args:
        images: Paths, sorted.
        other_files: Suffix -> number of files beside the images that are not images.
        skipped: Singular and plural of what else is skipped -> number.
    """

    images: list[Path]
    other_files: Counter[str] = field(default_factory=Counter)
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)


def find_images(root: Path) -> ImageFiles:
    """The image at a path, or all images in a folder and its subfolders; links to folders are not followed.

    Raises:
        UsageError: No image was found.
    """
    if not root.is_dir():
        _check_file(root)
        return ImageFiles([root])
    result = ImageFiles([])

    def unreadable(_error: OSError) -> None:
        result.skipped["folder that cannot be read", "folders that cannot be read"] += 1

    for name, folders, files in os.walk(root, onerror=unreadable):
        parent = Path(name)
        folders[:] = [folder for folder in folders if not is_hidden(folder)]
        if links := sum((parent / folder).is_symlink() for folder in folders):
            result.skipped["linked folder", "linked folders"] += links
        for path in (parent / file for file in files if not is_hidden(file)):
            if path.suffix.lower() not in image_suffixes():
                result.other_files[path.suffix.lower() or "no suffix"] += 1
            elif path.is_file():
                result.images.append(path)
            elif path.is_symlink() and not path.exists():
                result.skipped["dead link", "dead links"] += 1
            else:
                result.skipped["pipe or device", "pipes or devices"] += 1
    result.images.sort()
    if not result.images:
        skipped = skipped_text([result])
        raise UsageError(f"images={root} has no image that can be read{f' ({skipped})' if skipped else ''}")
    return result


def skipped_text(searched: Sequence[ImageFiles]) -> str:
    """`skipped: 2 files without …`: what was skipped in some folders; empty if nothing was."""
    names = sum((files.other_files for files in searched), Counter[str]())
    rest = sum((files.skipped for files in searched), Counter[tuple[str, str]]())
    parts = [f"{number} {singular if number == 1 else plural}" for (singular, plural), number in rest.items()]
    if number := names.total():
        kinds = ", ".join(sorted(names)[:MAX_SUFFIXES]) + (", …" if len(names) > MAX_SUFFIXES else "")
        parts.insert(0, f"{number} file{'s' if number > 1 else ''} without an image suffix ({kinds})")
    return f"skipped: {', '.join(parts)}" if parts else ""


def _check_file(path: Path) -> None:
    """Raise `UsageError` unless a path is a file."""
    expected = "expected an image or a folder of images"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"images={path} is a link that leads back to itself; {expected}") from None
        if path.is_symlink():
            raise UsageError(f"images={path} is a link to {path.readlink()}, which does not exist") from None
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise UsageError(f"images={path} does not exist; {expected}") from None
        raise UsageError(f"images={path} cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        kind = "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        raise UsageError(f"images={path} is a {kind}; {expected}")
