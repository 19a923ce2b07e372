"""What is measured of a picture as it is read: sizes, hashes, brightness, sharpness, and its border."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MEASURED_SIDE = 128
"""Longer side, in pixels, at which a picture is measured; a smaller one is not enlarged."""
HASH_SIDE = 8
WEIGHTS = np.array([19595, 38470, 7471], dtype=np.int32)
"""Of red, green and blue in grey (ITU-R BT.601), of 65,536 in all."""
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
    """The measures of a decoded picture, of `nas.pictures.decoding`.

    Sums are of whole numbers, so that the result is the same on every machine. Small pictures take as long as the
    calls do, so there are few.
    """
    from PIL import Image

    colour = image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")
    pixels = np.asarray(colour)
    times = MEASURED_SIDE / max(colour.size)
    small = pixels
    if times < 1:
        size = max(round(colour.width * times), 1), max(round(colour.height * times), 1)
        small = np.asarray(colour.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
    grey = _is_grey(small) and _is_grey(pixels)
    dim = _grey(small)
    brightness, deviation = _mean_and_std(dim)
    return Measures(
        _digest(pixels[..., :1] if grey and pixels.ndim == 3 else pixels),
        _difference_hash(dim),
        brightness / 255,
        deviation / 255,
        _sharpness(dim),
        _border(small),
        grey,
    )


def _is_grey(pixels: np.ndarray) -> bool:
    return pixels.ndim == 2 or bool((pixels[..., :1] == pixels).all())


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Grey as Pillow computes it, int32, (H, W)."""
    values = pixels.astype(np.int32)
    return values if values.ndim == 2 else (values @ WEIGHTS + (1 << 15)) >> 16


def _mean_and_std(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of whole numbers."""
    flat = values.ravel()
    mean = int(flat.sum(dtype=np.int64)) / flat.size
    square = int(np.einsum("i,i", flat, flat, dtype=np.int64)) / flat.size
    return mean, math.sqrt(max(square - mean * mean, 0.0))


def _digest(pixels: np.ndarray) -> int:
    channels = 3 if pixels.ndim == 3 and pixels.shape[2] == 3 else 1
    digest = hashlib.blake2b(f"{channels} {pixels.shape[1]} {pixels.shape[0]} ".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(digest.digest(), "big")


def _difference_hash(grey: np.ndarray) -> int:
    from PIL import Image

    picture = Image.fromarray(grey.astype(np.uint8))
    values = np.asarray(picture.resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BILINEAR))
    return int.from_bytes(np.packbits(values[:, 1:] > values[:, :-1]).tobytes(), "big")


def _sharpness(grey: np.ndarray) -> float:
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return _mean_and_std(laplacian)[1] ** 2


def _border(pixels: np.ndarray) -> tuple[float, ...]:
    ring = np.concatenate((pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]))
    channels = [ring] * 3 if ring.ndim == 1 else [ring[:, channel] for channel in range(3)]
    both = [_mean_and_std(channel.astype(np.int32)) for channel in channels]
    return (*(mean / 255 for mean, _ in both), *(deviation / 255 for _, deviation in both))
