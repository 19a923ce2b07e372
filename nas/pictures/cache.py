"""Pictures of a folder, decoded once: a memory-mapped file of rows, and the facts of each picture beside it.

A cache lies in a folder named by the root and the settings, below it one folder for a state of the files: their names,
sizes and times. When a file changes, a new state is made, into which the rows of unchanged files are copied. A state
is renamed into place when it is complete, so that a killed process leaves nothing that could be read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout

from nas.errors import UserError
from nas.files import cache_folder
from nas.pictures.decoding import parse_colour
from nas.pictures.facts import PictureFacts
from nas.pictures.listing import Listing
from nas.pictures.making import RowSettings, Stamp, stamps_of, write_state
from nas.pictures.stored import State, read_state

VERSION = 1
"""Of the files of a cache, and of what is measured; another one is made anew."""
MAX_ATTEMPTS = 5
"""Times that a state may vanish while it is opened, since another process has made the next one."""


@dataclass(frozen=True)
class PictureCache:
    """The pictures of a listing in memory-mapped rows.

    Args:
        facts: One for each picture of the listing, in its order.
        pixels: uint8, (N, C, side, side), memory-mapped; rows of unreadable files are 0.
        channels: 1 or 3.
        side: Height and width of a row in pixels.
        folder: Folder of the state.
    """

    facts: tuple[PictureFacts, ...]
    pixels: np.ndarray
    channels: int
    side: int
    folder: Path

    @property
    def readable(self) -> np.ndarray:
        """Positions of the pictures that can be read."""
        return np.array([i for i, facts in enumerate(self.facts) if facts.error is None], dtype=np.int64)


def cached(
    listing: Listing, side: int | None, channels: int | None, background: str = "white", folder: Path | None = None
) -> PictureCache:
    """The pictures of a listing, decoded now unless they have been before and no file has changed.

    Args:
        side: Height and width of a row, in pixels; None: the median of the shorter sides of the files, rounded to one
            of `SIDES`.
        channels: 1 (grey) or 3 (RGB); None: 1 if every readable picture is grey.
        background: Colour behind transparent pixels, a name or `#ff8800`.
        folder: Folder of caches; None: the user's cache folder.

    Raises:
        UserError: The cache cannot be written, or no picture can be read.
    """
    settings = RowSettings(side, channels, parse_colour(background, "data.background"))
    home = (folder or cache_folder() / "pictures").expanduser().absolute() / _key(listing.root, settings)
    for _ in range(MAX_ATTEMPTS):
        stamps = stamps_of(listing)
        target = home / _state(stamps)
        state = read_state(target, len(stamps)) or _made(listing, target, stamps, settings)
        if state is not None:
            return _checked(listing, state)
    raise UserError(f"data.root={listing.root}: its files change faster than they can be read; wait until they rest")


def _checked(listing: Listing, state: State) -> PictureCache:
    errors = [facts.error for facts in state.facts if facts.error is not None]
    if len(errors) == len(state.facts):
        raise UserError(
            f"data.root={listing.root}: none of its {len(errors):,} pictures can be read, the first is {errors[0]}"
        )
    return PictureCache(state.facts, state.pixels, state.pixels.shape[1], state.pixels.shape[2], state.folder)


def _key(root: Path, settings: RowSettings) -> str:
    from PIL import __version__ as pillow  # another version may decode a file to other pixels

    key = [VERSION, os.fspath(root.expanduser().resolve()), settings.side, settings.channels, settings.colour, pillow]
    return hashlib.blake2b(json.dumps(key).encode(errors="surrogateescape"), digest_size=8).hexdigest()


def _state(stamps: Sequence[Stamp]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for stamp in stamps:
        digest.update(f"{stamp.file}\0{stamp.bytes}\0{stamp.time}\0".encode())
    return digest.hexdigest()


def _made(listing: Listing, target: Path, stamps: Sequence[Stamp], settings: RowSettings) -> State | None:
    """Make a state, or take that of a process that made it meanwhile; None: another process removed it at once."""
    home = target.parent
    partial = home / "partial"
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = _locked(home, listing.root)
        try:
            state = read_state(target, len(stamps))
            if state is None:
                folders = [path for path in home.iterdir() if path.is_dir()]
                earlier = [one for path in folders if path != partial and (one := read_state(path, None))]
                for path in (partial, target):  # left by a killed process; damaged
                    shutil.rmtree(path, ignore_errors=True)
                partial.mkdir()
                write_state(partial, listing, stamps, settings, earlier)
                partial.rename(target)
                for path in folders:
                    if path != target:
                        shutil.rmtree(path, ignore_errors=True)
                state = read_state(target, len(stamps))
            return state
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            lock.release()
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason += "; free up disk space, or choose a smaller data.side"
        raise UserError(
            f"the cache of data.root={listing.root} in {home} cannot be written ({reason}); name another folder by "
            "data.cache"
        ) from None


def _locked(home: Path, root: Path) -> BaseFileLock:
    lock = FileLock(home / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        warnings.warn(f"another process is reading the pictures of {root}; waiting for it", stacklevel=2)
        lock.acquire()
    return lock
