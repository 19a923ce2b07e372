"""Makes a state of a cache: reads the files that are new in threads, and writes the rows in the order of the listing.

Pillow decodes without Python's lock, so threads use all processors. Rows are written to an ordinary file, since writing
to a memory map of a full disk kills the process.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from tqdm import tqdm

from nas.errors import UserError
from nas.pictures.decoding import decode, printable, row
from nas.pictures.facts import PictureFacts, measured
from nas.pictures.listing import Listing
from nas.pictures.stored import PIXELS, State, write_facts

SIDES = (8, 16, 28, 32, 48, 64, 96, 128, 160, 224)
"""Sides that are chosen for a data set, in pixels."""
BLOCK = 512
"""Files that are read before their rows are written."""
SAMPLED = 1000
"""Files whose size decides, about."""
MAX_THREADS = 16
SMALL_BYTES = 50_000
"""Mean size of the files of a block below which threads only wait for each other: most of the time is Python's."""


@dataclass(frozen=True)
class RowSettings:
    """How the rows of a cache are made.

    Args:
        side: Height and width in pixels; None: the one of `SIDES` that suits the files.
        channels: 1 (grey) or 3 (RGB); None: 1 if all pictures are grey.
        colour: Red, green and blue behind transparent pixels.
    """

    side: int | None
    channels: int | None
    colour: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a file has changed.

    Args:
        file: Path relative to the root.
        bytes: Size; -1 if it cannot be read.
        time: Time of the last change, in ns; 0 if it cannot be read.
    """

    file: str
    bytes: int
    time: int


def stamps_of(listing: Listing) -> list[Stamp]:
    """Size and time of every file of a listing."""
    root = os.fspath(listing.root)
    result = []
    for picture in listing.pictures:
        try:
            found = os.stat(os.path.join(root, picture.file))  # noqa: PTH116, PTH118 (pathlib takes twice as long)
            result.append(Stamp(picture.file, found.st_size, found.st_mtime_ns))
        except OSError:
            result.append(Stamp(picture.file, -1, 0))
    return result


def chosen_side(listing: Listing) -> int:
    """The one of `SIDES` that is closest to the median of the shorter sides of the files, as a ratio.

    Only the heads of some files, evenly spread, are read; 32 if none can be.
    """
    from PIL import Image

    def shorter(picture_file: str) -> int:
        try:
            with Image.open(listing.root / picture_file) as opened:
                return min(opened.size)
        except Exception:  # noqa: BLE001 (it is reported when the file is read as a whole)
            return 0

    files = [picture.file for picture in listing.pictures]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sides = [side for file in files[:: len(files) // SAMPLED + 1] if (side := shorter(file))]
    typical = median_low(sides) if sides else 32
    return min(SIDES, key=lambda side: max(side / typical, typical / side))


def write_state(
    folder: Path, listing: Listing, stamps: Sequence[Stamp], settings: RowSettings, earlier: Sequence[State]
) -> None:
    """Write a state into a folder.

    Args:
        earlier: States with rows of files that may not have changed.

    Raises:
        OSError: The folder cannot be written.
    """
    side, channels = settings.side or chosen_side(listing), settings.channels or 3
    shape = (len(stamps), channels, side, side)
    _check_space(folder, int(np.prod(shape)))
    known = _known(earlier, side, channels)

    def read(stamp: Stamp) -> tuple[PictureFacts, np.ndarray | None]:
        if (found := known.get(stamp)) is not None:
            return found[0], None if found[0].error else np.broadcast_to(found[1], shape[1:])
        return _read(listing.root, stamp, channels, side, settings.colour)

    facts: list[PictureFacts] = []
    empty = np.zeros(shape[1:], np.uint8)
    silent = sys.stderr is None or not sys.stderr.isatty()
    new = sum(stamp not in known for stamp in stamps)
    with (
        (folder / PIXELS).open("wb") as out,
        _threads() as run,
        tqdm(total=new, unit="picture", desc="reading pictures", disable=silent or new == 0, leave=False) as bar,
    ):
        _write_head(out, shape)
        for block in _blocks(stamps):
            small = sum(stamp.bytes for stamp in block) < SMALL_BYTES * len(block)
            for stamp, (one, pixels) in zip(block, (map if small else run)(read, block), strict=True):
                facts.append(one)
                out.write((empty if pixels is None else np.ascontiguousarray(pixels)).data)
                bar.update(stamp not in known)
    if settings.channels is None and all(one.grey for one in facts if one.error is None):
        _keep_one_channel(folder, shape)
    write_facts(folder, facts, [stamp.file for stamp in stamps], [stamp.time for stamp in stamps])


def _read(
    root: Path, stamp: Stamp, channels: int, side: int, colour: tuple[int, int, int]
) -> tuple[PictureFacts, np.ndarray | None]:
    """The facts and the row of one file; no row if it cannot be read."""
    size = max(stamp.bytes, 0)
    try:
        decoded = decode(root / stamp.file, colour, stamp.file)
        image = decoded.image
        one = measured(image)
        pixels = row(image, channels, side, side)
    except UserError as error:
        return PictureFacts(str(error), size), None
    except Exception as error:  # noqa: BLE001 (a mode that Pillow opens and cannot convert)
        reason = " ".join(str(error).split()) or type(error).__name__
        return PictureFacts(f"{printable(stamp.file)} cannot be read ({reason})", size), None
    facts = PictureFacts(
        None, size, image.width, image.height, decoded.mode, decoded.format, decoded.orientation,
        f"{one.digest:016x}", one.difference_hash, one.brightness, one.contrast, one.sharpness, one.border, one.grey,
    )  # fmt: skip
    return facts, pixels


def _known(earlier: Sequence[State], side: int, channels: int) -> dict[Stamp, tuple[PictureFacts, np.ndarray]]:
    """Facts and rows of files in earlier states; a grey row can become one of three channels."""
    result = {}
    for state in earlier:
        if state.pixels.shape[2] == side and state.pixels.shape[1] in (1, channels):
            for file, facts, time, pixels in zip(state.files, state.facts, state.times, state.pixels, strict=True):
                if time:
                    result[Stamp(file, facts.bytes, time)] = (facts, pixels)
    return result


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(None, f"its pictures need {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB is free")


def _write_head(out: BinaryIO, shape: tuple[int, ...]) -> None:
    npy.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _keep_one_channel(folder: Path, shape: tuple[int, ...]) -> None:
    """Rewrite the pixels of grey pictures with their first channel only."""
    colour = np.load(folder / PIXELS, mmap_mode="r")
    single = folder / f"{PIXELS}.grey"
    with single.open("wb") as out:
        _write_head(out, (shape[0], 1, *shape[2:]))
        for start in range(0, shape[0], BLOCK):
            out.write(np.ascontiguousarray(colour[start : start + BLOCK, :1]).data)
    single.replace(folder / PIXELS)


def _blocks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), BLOCK):
        yield items[start : start + BLOCK]


@contextmanager
def _threads() -> Iterator[Callable[..., Iterator[Any]]]:
    """A `map` over threads; an error or an interruption ends it without the waiting files.

    Warnings are ignored meanwhile: those of damaged metadata, and of sizes below the limit.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with warnings.catch_warnings():  # not thread-safe, so around all threads
        warnings.simplefilter("ignore")
        pool = ThreadPoolExecutor(min(available, MAX_THREADS))
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)
