"""The pictures that are inspected: those of a folder with all that is known of its files, or those of any data set."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.errors import UserError
from nas.pictures.duplicates import exact_duplicates, near_duplicates
from nas.pictures.facts import PictureFacts, measured
from nas.pictures.listing import Listing
from nas.pictures.splitting import units_of

if TYPE_CHECKING:
    from nas.data.base import DataSet
    from nas.data.image_folder import ImageFolder

MAX_IMAGES = 20_000
"""Most images of a data set without files that are inspected; measuring takes about 0.2 ms each."""

MIN_DETAILED_SIDE = 16
"""Shorter side in pixels below which near duplicates mean nothing, and a border is half of the picture."""


@dataclass(frozen=True)
class Subject:
    """Pictures with their labels and facts, in one order.

    Args:
        names: File of each picture relative to the root, or what else names it.
        labels: (N,) position in `class_names`.
        class_names: Names of the classes.
        parts: (N,) `train`, `valid` or `test`; empty where the picture is in none.
        stated: (N,) the part that the folder states; empty where the picture was drawn for its part.
        facts: Facts of each picture.
        pixels: uint8 (M, C, H, W).
        rows: (N,) row of each picture in `pixels`.
        groups: Value of the group column of each picture, or None.
        total: Number of pictures of the data set, of which these may be the first.
        listing: The files; None: the pictures are not files.
        has_label_table: Whether a CSV file gives the labels, instead of folders.
        refusal: Why the data set cannot be divided into parts; None: it can.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    parts: np.ndarray
    stated: np.ndarray
    facts: tuple[PictureFacts, ...]
    pixels: np.ndarray
    rows: np.ndarray
    groups: tuple[str | None, ...]
    total: int
    listing: Listing | None = None
    has_label_table: bool = False
    refusal: str | None = None

    @cached_property
    def readable(self) -> np.ndarray:
        """Positions of the pictures that can be read."""
        return np.array([i for i, one in enumerate(self.facts) if one.error is None], dtype=np.int64)

    @property
    def parts_are_stated(self) -> bool:
        return bool((self.stated != "").any())

    @cached_property
    def usual_side(self) -> float:
        """Median of the shorter sides of the readable pictures in pixels; 0: there are none."""
        sides = [min(self.facts[position].width, self.facts[position].height) for position in self.readable]
        return float(np.median(sides)) if sides else 0.0

    @cached_property
    def exact(self) -> list[list[int]]:
        """Clusters of positions of pictures with the same pixels."""
        return exact_duplicates(self.facts)

    @cached_property
    def near(self) -> list[tuple[int, int]]:
        """Pairs of positions of pictures that are nearly the same; of exact duplicates the first takes part.

        None of very small pictures: among digits of 8 x 8 pixels, different ones are as alike.
        """
        if self.usual_side < MIN_DETAILED_SIDE:
            return []
        return near_duplicates(self.facts, self.pixels, self.rows)

    @cached_property
    def units(self) -> np.ndarray:
        """(N,) number of the unit of each picture: duplicates and groups, which stay on one side of any split."""
        groups: dict[str, list[int]] = {}
        for position, group in enumerate(self.groups):
            if group is not None:
                groups.setdefault(group, []).append(position)
        return units_of(len(self.names), [*groups.values(), *self.exact, *map(list, self.near)])

    def counts(self, part: str | None = None) -> np.ndarray:
        """(classes,) number of readable pictures of each class, in a part or in all."""
        chosen = self.readable if part is None else self.readable[self.parts[self.readable] == part]
        counts: np.ndarray = np.bincount(self.labels[chosen], minlength=len(self.class_names))
        return counts

    def files(self, positions: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        return tuple(self.names[position] for position in positions)


def subject_of(data: DataSet) -> Subject:
    """The pictures of a data set.

    Of a folder of pictures these are all files. Of another data set they are the training and the validation images:
    the test images stay locked.

    Raises:
        UserError: The pictures cannot be read at all.
    """
    from nas.data.image_folder import ImageFolder

    return _of_folder(data) if isinstance(data, ImageFolder) else _of_images(data)


def _of_folder(data: ImageFolder) -> Subject:
    from nas.pictures.cache import cached
    from nas.pictures.listing import find_pictures, has_labels_file

    if not data.root:
        data.listing  # noqa: B018 (it says what is missing)
    listing = find_pictures(Path(data.root or "").expanduser(), data.labels, data.group, least_classes=1)
    folder = Path(data.cache_root).expanduser() if data.cache_root else None
    cache = cached(listing, data.side, data.channels, data.background, folder)
    pictures = listing.pictures
    parts = np.array([picture.part or "" for picture in pictures], dtype="U5")
    stated = parts.copy()
    refusal = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unreadable files are a finding here
        try:
            for part, positions in data.parts.items():
                parts[positions] = part
        except UserError as error:
            refusal = str(error)
    return Subject(
        names=tuple(picture.file for picture in pictures),
        labels=np.array([picture.label for picture in pictures], dtype=np.int64),
        class_names=listing.class_names,
        parts=parts,
        stated=stated,
        facts=cache.facts,
        pixels=cache.pixels,
        rows=np.arange(len(pictures)),
        groups=tuple(picture.group for picture in pictures),
        total=len(pictures),
        listing=listing,
        has_label_table=data.labels is not None or has_labels_file(listing.root),
        refusal=refusal,
    )


def _of_images(data: DataSet) -> Subject:
    split = data.split()
    total = len(split.train) + len(split.valid)
    share = min(MAX_IMAGES / total, 1.0)
    kept = {part: images.first(int(len(images) * share)) for part, images in vars(split).items() if part != "hash"}
    pixels = np.concatenate([images.pixels.numpy() for images in kept.values()])
    names = data.class_names or [str(label) for label in range(data.task.classes)]
    return Subject(
        names=tuple(
            f"{'training' if part == 'train' else 'validation'} image {number}"
            for part, images in kept.items()
            for number in range(len(images))
        ),
        labels=np.concatenate([images.labels.numpy() for images in kept.values()]),
        class_names=tuple(names),
        parts=np.concatenate([np.full(len(images), part, dtype="U5") for part, images in kept.items()]),
        stated=np.full(len(pixels), "", dtype="U5"),
        facts=_measured(pixels),
        pixels=pixels,
        rows=np.arange(len(pixels)),
        groups=(None,) * len(pixels),
        total=total,
    )


def _measured(pixels: np.ndarray) -> tuple[PictureFacts, ...]:
    """Facts of images in memory: those of files, such as a format, are the same for all."""
    from PIL import Image

    def facts(image: np.ndarray) -> PictureFacts:
        picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        one = measured(picture)
        return PictureFacts(
            None, image.nbytes, picture.width, picture.height, picture.mode, "", 1, f"{one.digest:016x}",
            one.difference_hash, one.brightness, one.contrast, one.sharpness, one.border, one.grey,
        )  # fmt: skip

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        return tuple(pool.map(facts, pixels, chunksize=256))
