"""What is measured of a picture as it is read: sizes, hashes, brightness, sharpness, and its border."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MEASURED_SIDE = 128
"""Longer side, in pixels, at which a picture is measured; a smaller one is not enlarged."""
HASH_SIDE = 8
RING = 6
"""Numbers about the outermost ring: mean and standard deviation of red, green and blue."""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """Facts of one file.

    Args:
        error: Sentence with the file and the reason why it cannot be read; None: it can, and what follows is known.
        bytes: Size of the file; 0 if it does not exist.
        width, height: Size in pixels as stored, after its EXIF orientation.
        mode: Pillow's mode of the file.
        format: Pillow's name of the format.
        orientation: EXIF orientation, 1 to 8.
        digest: 16 hexadecimal digits over the upright pixels, equal for the same picture in another format.
        difference_hash: 64 bits that say where grey rises from left to right in 8 rows of 9 pixels (dHash).
        brightness, contrast: Mean and standard deviation of grey, 0-1.
        sharpness: Variance of the Laplacian of grey, 0-255, at 128 pixels a side or fewer; low: blurred.
        border: Mean and standard deviation of red, green and blue of the outermost pixels, 0-1.
        grey: Whether all its pixels are grey, in whatever mode.
    """

    error: str | None
    bytes: int = 0
    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    orientation: int = 1
    digest: str = ""
    difference_hash: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    sharpness: float = 0.0
    border: tuple[float, ...] = (0.0,) * RING
    grey: bool = False


@dataclass(frozen=True, slots=True)
class Measures:
    """Those of the facts that are measured of the pixels; see `PictureFacts`."""

    digest: int
    difference_hash: int
    brightness: float
    contrast: float
    sharpness: float
    border: tuple[float, ...]
    grey: bool


def measured(image: Image.Image) -> Measures:
    """The measures of a decoded picture, of `nas.pictures.decoding`."""
    from PIL import Image

    colour = image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")
    times = MEASURED_SIDE / max(colour.size)
    small = colour
    if times < 1:
        size = max(round(colour.width * times), 1), max(round(colour.height * times), 1)
        small = colour.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    grey = _is_grey(small) and _is_grey(colour)
    dim = small.convert("L")
    values = np.asarray(dim, dtype=np.float32)
    return Measures(
        _digest(colour.convert("L") if grey else colour),
        _difference_hash(dim),
        float(values.mean()) / 255,
        float(values.std()) / 255,
        _sharpness(values),
        _border(np.asarray(small.convert("RGB"))),
        grey,
    )


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "L":
        return True
    red, green, blue = (np.asarray(channel) for channel in image.split())
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))


def _digest(image: Image.Image) -> int:
    digest = hashlib.blake2b(f"{image.mode} {image.width} {image.height} ".encode(), digest_size=8)
    digest.update(image.tobytes())
    return int.from_bytes(digest.digest(), "big")


def _difference_hash(grey: Image.Image) -> int:
    from PIL import Image

    values = np.asarray(grey.resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BILINEAR))
    return int.from_bytes(np.packbits(values[:, 1:] > values[:, :-1]).tobytes(), "big")


def _sharpness(grey: np.ndarray) -> float:
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


def _border(colour: np.ndarray) -> tuple[float, ...]:
    ring = np.concatenate((colour[0], colour[-1], colour[1:-1, 0], colour[1:-1, -1])).astype(np.float32) / 255
    return (*(float(value) for value in ring.mean(0)), *(float(value) for value in ring.std(0)))
