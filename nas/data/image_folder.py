"""Pictures as people have them: a folder a class, folders of parts, or a CSV file, in any size and format.

The files are decoded once into a memory-mapped cache (`nas.pictures.cache`). They are divided by their content:
duplicates and groups stay in one part.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.core import Task
from nas.data.base import DataSet
from nas.data.images import Images
from nas.errors import UsageError, UserError
from nas.formatting import plural
from nas.pictures.cache import PictureCache, cached
from nas.pictures.decoding import parse_colour
from nas.pictures.duplicates import exact_duplicates, near_duplicates
from nas.pictures.listing import Listing, Part, find_pictures
from nas.pictures.splitting import MIN_PER_CLASS, content_ranks, held_out, interleaved, units_of, without_chains
from nas.runtime.memory import available_memory
from nas.validation import as_written, number_in, true_or_false, whole_number

MAX_SIDE = 1024
GIB = 1 << 30
DERIVED = ("listing", "cache", "parts", "task", "_statistics")
"""What follows from the settings and the files."""
SMALLEST_STD = 1 / 255
"""Standard deviation of a channel without any contrast, by which images can still be divided."""
CHUNK = 4096
"""Pictures whose pixels are summed at a time."""


class ImageFolder(DataSet):
    """A folder of pictures.

    Args:
        root: Folder with a folder for each class, with `train`, `valid` and `test`, or with `labels.csv`.
        valid_fraction: Share of the pictures that are not test pictures held out for validation, if no folder is.
        test_fraction: Share of all pictures held out for testing, if no folder is; 0 to 0.95, above 0.
        split_seed: Selects one of the possible splits.
        side: Height and width in pixels that all pictures are resized to; None: chosen from the files.
        channels: 1 (grey) or 3 (RGB); None: 1 if all pictures are grey.
        labels: CSV file with the columns `file` and `label`; None: `labels.csv` of the root, if it is there.
        group: Column of that file whose values are kept in one part, such as a patient; None: none is.
        background: Colour behind transparent pixels: a name or `#ff8800`.
        mirror: Whether a mirrored picture keeps its label; false for text, signs and sides of a body.
        cache: Folder of decoded pictures; None: the user's cache folder.
    """

    name = "image_folder"
    changing = "the files of data.root have changed meanwhile; run the command again when they no longer do"
    held_as = {"cache": "cache_root"}
    """Argument -> attribute that holds it: `cache` holds the decoded pictures."""

    def __init__(
        self,
        root: str | None = None,
        *,
        valid_fraction: float = 0.2,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        side: int | None = None,
        channels: int | None = None,
        labels: str | None = None,
        group: str | None = None,
        background: str = "white",
        mirror: bool = True,
        cache: str | None = None,
    ) -> None:
        super().__init__(valid_fraction, split_seed)
        number_in("data.test_fraction", test_fraction, 0.0, 0.95, above=True)
        if side is not None:
            whole_number("data.side", side, least=1, most=MAX_SIDE)
        if channels not in (None, 1, 3) or isinstance(channels, bool):
            raise UsageError(f"data.channels must be 1, 3 or null, got {as_written(channels)}")
        true_or_false("data.mirror", mirror)
        parse_colour(background, "data.background")
        self.root = root
        self.test_fraction = test_fraction
        self.side, self.channels = side, channels
        self.labels, self.group = labels, group
        self.background = background
        self.mirror = mirror
        self.cache_root = cache

    @cached_property
    def listing(self) -> Listing:
        """The pictures of the root, which is listed once."""
        if not self.root:
            raise UsageError(
                "data.root=null; expected the folder of your pictures, with a folder for the pictures of each class"
            )
        return find_pictures(Path(self.root).expanduser(), self.labels, self.group)

    @cached_property
    def cache(self) -> PictureCache:
        """The decoded pictures, in the order of the listing."""
        folder = Path(self.cache_root).expanduser() if self.cache_root else None
        cache = cached(self.listing, self.side, self.channels, self.background, folder)
        errors = [facts.error for facts in cache.facts if facts.error is not None]
        if errors:
            warnings.warn(
                f"{plural(len(errors), 'picture')} of data.root={self.root} cannot be read and "
                f"{'was' if len(errors) == 1 else 'were'} left out, the first: {errors[0]}; nas inspect "
                f"data.root={self.root} names all of them",
                stacklevel=2,
            )
        return cache

    @cached_property
    def task(self) -> Task:  # type: ignore[override]
        """Channels, size and number of classes, as the files have them."""
        channels, side = self.channels, self.side
        if channels is None or side is None:
            channels, side = self.cache.channels, self.cache.side
        return Task(channels=channels, height=side, width=side, classes=len(self.listing.class_names))

    @property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]
        return self.listing.class_names

    @cached_property
    def parts(self) -> Mapping[Part, np.ndarray]:
        """Positions in the listing of the pictures of each part, in the order of the part's images.

        Raises:
            UserError: A class has too few pictures that can be read.
        """
        pictures, facts, readable = self.listing.pictures, self.cache.facts, self.cache.readable
        labels = np.array([pictures[i].label for i in readable])
        stated = np.array([pictures[i].part or "" for i in readable])
        ranks = content_ranks([facts[i].digest for i in readable], f"split {self.split_seed}")
        units = units_of(len(readable), self._together(readable, labels))
        part = np.where(stated == "", "train", stated)
        self._check_counts(labels, part)
        for name, share in (("test", self.test_fraction), ("valid", self.valid_fraction)):
            if not (stated == name).any():
                pool = np.flatnonzero(part == "train")
                left = 1 if name == "valid" or (stated == "valid").any() else 2
                chosen = held_out(labels[pool], units[pool], ranks[pool], share, self.listing.class_names, rest=left)
                part[pool[chosen]] = name
        result: dict[Part, np.ndarray] = {}
        for one in ("train", "valid", "test"):
            members = np.flatnonzero(part == one)
            result[one] = readable[members[interleaved(labels[members], ranks[members])]]
        return result

    def read_train(self) -> Images:
        both = np.concatenate((self.parts["train"], self.parts["valid"]))
        self._check_memory(2 * len(both))  # those that are read, and the parts that they are copied to
        return self._images(both)

    def read_test(self) -> Images:
        self._check_memory(len(self.parts["test"]))
        return self._images(self.parts["test"])

    def split_positions(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`read_train` returns the training part first."""
        cut = len(self.parts["train"])
        return np.arange(cut), np.arange(cut, len(labels))

    def __getstate__(self) -> dict[str, Any]:
        """Without the pictures, which each process maps from the cache."""
        return {key: value for key, value in self.__dict__.items() if key not in DERIVED}

    def _together(self, readable: np.ndarray, labels: np.ndarray) -> list[Sequence[int]]:
        """Positions among the readable pictures that must not be separated."""
        groups: dict[str, list[int]] = {}
        for number, position in enumerate(readable):
            if (group := self.listing.pictures[position].group) is not None:
                groups.setdefault(group, []).append(number)
        facts = [self.cache.facts[position] for position in readable]
        near = near_duplicates(facts, self.cache.pixels, readable)
        kept = without_chains(near, labels)
        if len(kept) < len(near):
            count = len({position for pair in set(near) - set(kept) for position in pair})
            warnings.warn(
                f"{plural(count, 'picture')} of data.root={self.root} are so alike that they cannot stay in one part; "
                "if they are of few scenes, name these in a column of labels.csv, and the column by data.group",
                stacklevel=2,
            )
        return [*groups.values(), *exact_duplicates(facts), *kept]

    def _check_counts(self, labels: np.ndarray, part: np.ndarray) -> None:
        """Check that each part that a folder states, or that is split off, can have a picture of each class."""
        names = self.listing.class_names
        parts = [name for name in ("valid", "test") if (part == name).any()]
        least = {"train": MIN_PER_CLASS - len(parts), **dict.fromkeys(parts, 1)}
        for name, number in least.items():
            counts = np.bincount(labels[part == name], minlength=len(names))
            rare = int(counts.argmin())
            if counts[rare] < number:
                where = f" in {name}" if parts else ""
                need = "one" if number == 1 else f"{number}, so that one can be held out for each other part"
                raise UserError(
                    f"data.root={self.root}: class {names[rare]!r} has {plural(int(counts[rare]), 'readable picture')}"
                    f"{where}; expected at least {need}: add pictures, or remove the class"
                )

    def _check_memory(self, count: int) -> None:
        """Check that copies of this many pictures fit in memory."""
        needed, free = count * self.cache.pixels[0].nbytes, available_memory()
        if needed > free:
            side = max(int(self.cache.side * (free / needed) ** 0.5 * 0.9) // 8 * 8, 8)
            raise UserError(
                f"data.root={self.root}: {plural(count, 'picture')} of {self.cache.side} x {self.cache.side} pixels "
                f"need {needed / GIB:.1f} GiB of memory, but only {free / GIB:.1f} GiB is free; set data.side={side}"
            )

    def _images(self, positions: np.ndarray) -> Images:
        pictures = self.listing.pictures
        labels = torch.tensor([pictures[i].label for i in positions], dtype=torch.int64)
        mean, std = self._statistics
        return Images(torch.from_numpy(self.cache.pixels[positions]), labels, mean, std, mirror=self.mirror)

    @cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the training pixels of each channel; sums of whole numbers are exact."""
        positions = np.sort(self.parts["train"])
        count = positions.size * self.cache.side**2
        totals, squares = (np.zeros(self.cache.channels, dtype=np.int64) for _ in range(2))
        for start in range(0, len(positions), CHUNK):
            pixels = self.cache.pixels[positions[start : start + CHUNK]].astype(np.int64)
            totals += pixels.sum((0, 2, 3))
            squares += (pixels**2).sum((0, 2, 3))
        mean = totals / count / 255
        std = np.sqrt(np.maximum(squares / count / 255**2 - mean**2, 0.0))
        return tuple(mean.tolist()), tuple(np.maximum(std, SMALLEST_STD).tolist())
