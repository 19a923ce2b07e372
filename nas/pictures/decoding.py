"""Reads an image file as a network takes it: upright, opaque, resized, 8 bits per channel.

`nas predict`, a data set of pictures and what inspects it read files by the same functions, so that a network sees the
same pixels of a file everywhere.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.errors import UsageError, UserError

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION_TAG = 0x0112
ORIENTATIONS = 8
"""Number of EXIF orientations, from 1, upright."""


@dataclass(frozen=True)
class Upload:
    """A file in memory.

    Args:
        name: Its name, for messages.
        data: Its bytes.
    """

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Decoded:
    """A picture as a viewer shows it, and how its file holds it.

    Args:
        image: 8 bits per channel, upright, opaque, in a mode that converts to grey or RGB.
        mode: Pillow's mode of the file.
        format: Pillow's name of the format.
        orientation: EXIF orientation, 1 to 8.
    """

    image: Image.Image
    mode: str
    format: str
    orientation: int


def parse_colour(text: str, key: str = "background") -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a name (`white`) or a number (`#ff8800`).

    Args:
        text: The colour.
        key: Setting that holds it, for the message.

    Raises:
        UsageError: The text is neither.
    """
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(str(text))[:3]
    except ValueError:
        raise UsageError(f"{key}={text} is not a colour; expected a name such as white or black, or #ff8800") from None
    return red, green, blue


def decode(file: Path | Upload, background: tuple[int, int, int], name: str | None = None) -> Decoded:
    """Read a picture.

    Warnings of damaged metadata are shown: a caller ignores them, since filters of warnings are those of a process.

    Args:
        file: File on disk or in memory.
        background: Red, green and blue, 0 to 255, behind transparent pixels.
        name: Name of the file in a message; None: its own.

    Raises:
        UserError: The file cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(file.data) if isinstance(file, Upload) else file) as opened:
            opened.load()
            mode, kind, orientation = opened.mode, opened.format or "", _orientation(opened)
            image = _rotated(_opaque(_eight_bits(opened), background), orientation)
        return Decoded(image, mode, kind, orientation)
    except UnidentifiedImageError:
        reason = "it is empty" if _is_empty(file) else "not an image"
    except Image.DecompressionBombError:
        reason = f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    except MemoryError:
        reason = "it does not fit in memory"
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # noqa: BLE001 (the decoder of a damaged file may raise anything)
        reason = str(error) or type(error).__name__
    raise UserError(f"{printable(name or str(file))} cannot be read ({' '.join(reason.split())})")


def decode_quietly(file: Path | Upload, background: tuple[int, int, int]) -> Decoded:
    """`decode` without warnings of damaged metadata, and of sizes below the limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return decode(file, background)


def row(image: Image.Image, channels: int, height: int, width: int) -> np.ndarray:
    """A decoded picture in the size of a network.

    A picture whose sides are an integer multiple of the network's is averaged down; any other size is resized
    bilinearly, whatever its aspect.

    Args:
        image: Picture of `decode`.
        channels: 1 (grey) or 3 (RGB).
        height, width: Size in pixels.

    Returns:
        uint8, (channels, height, width).
    """
    from PIL import Image

    image = image.convert("L" if channels == 1 else "RGB")
    times = image.width // width
    whole = image.size == (times * width, times * height)
    if not whole:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(image.height, image.width, channels)
    if whole and times > 1:  # as data.pool makes small images
        sums = pixels.reshape(height, times, width, times, channels).sum((1, 3), dtype=np.int64)
        pixels = np.rint(sums.astype(np.float32) / np.float32(times * times)).astype(np.uint8)
    return pixels.transpose(2, 0, 1).copy()


def printable(name: str) -> str:
    """A file's name on one line, whatever signs it has."""
    return name if name.isprintable() else repr(name)[1:-1]


def _is_empty(file: Path | Upload) -> bool:
    if isinstance(file, Upload):
        return not file.data
    try:
        return file.stat().st_size == 0
    except OSError:
        return False


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as 8 bits, with its transparency; other modes unchanged."""
    from PIL import Image

    # Pillow scales every PGM of more than 8 bits to 16, and once read PNGs of 16 bits as mode I too
    if not image.mode.startswith("I;16") and not (image.mode == "I" and image.format in ("PPM", "PNG")):
        if image.mode in ("I", "F"):
            raise ValueError(f"it has pixels of mode {image.mode}, expected 8 or 16 bits per channel")
        return image.copy()
    values = np.asarray(image)
    grey = Image.fromarray((values.astype(np.float32) / 257).round().astype(np.uint8))
    clear = image.info.get("transparency")
    if clear is None:
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))))


def _opaque(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """The image composited on a background, if it has transparent pixels or a transparent palette colour."""
    from PIL import Image

    if image.mode == "CMYK":
        return image.convert("RGB")
    palette = getattr(image.palette, "mode", "") if image.mode == "P" else ""
    if "a" not in image.mode.lower() + palette.lower() and "transparency" not in image.info:
        return image
    if image.mode == "La":
        image = image.convert("LA")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image.convert("RGBA")).convert("RGB")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1, upright, if there is none or it cannot be read."""
    try:
        orientation = int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 (damaged metadata do not affect the pixels)
        return 1
    return orientation if 1 <= orientation <= ORIENTATIONS else 1


def _rotated(image: Image.Image, orientation: int) -> Image.Image:
    """The image upright, from its EXIF orientation."""
    from PIL.Image import Transpose

    transpositions = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(transpositions[orientation]) if orientation in transpositions else image
