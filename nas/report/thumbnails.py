"""Small pictures within the page, as WebP in `data:` URIs, within a number of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nas.report.document import Picture

SIDE = 64
"""Longest side of a thumbnail that is made from a file, pixels."""
QUALITY = 72
MAX_PIXELS = 50_000_000
"""Largest picture that is opened for a thumbnail."""


def thumbnails(pixels: Mapping[str, NDArray[np.uint8]], alts: Mapping[str, str], budget: int) -> dict[str, Picture]:
    """Pictures in the given order until the budget is used up.

    Args:
        pixels: Name -> (height, width, channels) uint8.
        alts: Name -> what it shows.
        budget: Most bytes of all URIs.
    """
    found: dict[str, Picture] = {}
    for name, values in pixels.items():
        picture = _picture(Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values[..., :3]), alts[name])
        budget -= len(picture.uri)
        if budget < 0:
            break
        found[name] = picture
    return found


def of_file(path: Path, alt: str) -> Picture | None:
    """A thumbnail of a picture file, upright; None if it cannot be read."""
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                return None
            opened.draft("RGB", (4 * SIDE, 4 * SIDE))  # a JPEG is decoded at a fraction of its size
            image = ImageOps.exif_transpose(opened)
            image.thumbnail((SIDE, SIDE))
            return _picture(image.convert("RGBA" if "A" in image.getbands() else "RGB"), alt)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _picture(image: Image.Image, alt: str) -> Picture:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=QUALITY, method=4)
    text = base64.b64encode(out.getvalue()).decode()
    return Picture(f"data:image/webp;base64,{text}", alt, image.width, image.height)
