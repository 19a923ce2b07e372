"""Which files are pictures, by their names."""

from __future__ import annotations

from functools import cache

NON_IMAGE_FORMATS = ("EPS", "IPTC", "MPEG")
"""Formats that Pillow opens but cannot always render: drawings, captions and films."""
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir")
"""Folders that macOS archives and network drives add; files in them are named like images but are not."""


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of images that this Pillow can read; not of documents and drawings, or formats it only recognises."""
    from PIL import Image, ImageFile

    Image.init()
    suffixes = {".mpo"}  # read as JPEG
    for suffix, kind in Image.registered_extensions().items():
        opens = Image.OPEN[kind][0] if kind in Image.OPEN else None
        stub = isinstance(opens, type) and issubclass(opens, ImageFile.StubImageFile)
        if opens is not None and not stub and kind not in NON_IMAGE_FORMATS:
            suffixes.add(suffix)
    return frozenset(suffixes)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is ignored: `._photo.png` of a macOS archive is named like an image but is not one."""
    return name.startswith(".") or name in SYSTEM_FOLDERS
