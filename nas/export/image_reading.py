"""Reads an image file as the input of an exported model: oriented, opaque, resized and normalised."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.errors import UsageError, UserError
from nas.export.folder import Folder

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION_TAG = 0x0112


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


def parse_colour(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a name (`white`) or a number (`#ff8800`).

    Raises:
        UsageError: The text is neither.
    """
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(str(text))[:3]
    except ValueError:
        raise UsageError(
            f"background={text} is not a colour; expected a name such as white or black, or #ff8800"
        ) from None
    return red, green, blue


def read_image(folder: Folder, file: Path | Upload, background: tuple[int, int, int] = (255, 255, 255)) -> Tensor:
    """An image as the network takes it, normalised, (C, H, W), grey or RGB.

    It is rotated to its EXIF orientation. An image whose sides are an integer multiple of the network's is averaged
    down; any other size is resized bilinearly.

    Args:
        background: Red, green and blue, 0 to 255, behind transparent pixels.

    Raises:
        UserError: The file cannot be read.
    """
    from PIL import Image

    task, preprocessing = folder.task, folder.about["preprocessing"]
    image = _upright(file, background).convert("L" if task.channels == 1 else "RGB")
    times = image.width // task.width
    whole = image.size == (times * task.width, times * task.height)
    if not whole:
        image = image.resize((task.width, task.height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).view(image.height, image.width, task.channels).float()
    if whole and times > 1:  # as data.pool makes small images
        pixels = F.avg_pool2d(pixels.permute(2, 0, 1), times).round().permute(1, 2, 0)
    mean, std = torch.tensor(preprocessing["mean"]), torch.tensor(preprocessing["std"])
    # computed exactly as in training, so that rounding is the same
    return (pixels * (1.0 / (255.0 * std)) + -mean / std).permute(2, 0, 1)


def _upright(file: Path | Upload, background: tuple[int, int, int]) -> Image.Image:
    """The picture as a viewer shows it: 8 bits per channel, upright, opaque, in a mode that converts to grey or RGB.

    Raises:
        UserError: The file cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, and of sizes below the limit
            with Image.open(BytesIO(file.data) if isinstance(file, Upload) else file) as opened:
                opened.load()
                image = _opaque(_eight_bits(opened), background)
                return _rotated(image, _orientation(opened))
    except UnidentifiedImageError:
        reason = "not an image"
    except Image.DecompressionBombError:
        reason = f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # noqa: BLE001 (the decoder of a damaged file may raise anything)
        reason = str(error) or type(error).__name__
    raise UserError(f"{file} cannot be read ({' '.join(reason.split())})")


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
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 (damaged metadata do not affect the pixels)
        return 1


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
