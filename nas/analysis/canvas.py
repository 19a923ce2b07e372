"""Shared by all figures of a report: style, colours, widths of texts, and files.

Everything is drawn through the object-oriented interface of matplotlib: no pyplot, no global state. Equal inputs give
equal bytes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.drawing.style import plain_style
from nas.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
FONT_SIZE = 9.0
"""Font size of the labels, points."""


def save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write a figure as PNG with 200 dpi and as SVG, each atomically.

    Args:
        path: Path without a suffix, in an existing folder.
    """
    written = []
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        written.append(path.with_name(f"{path.name}.{kind}"))
        with atomic_write(written[-1]) as temporary, style():
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=metadata)
    return written[0], written[1]


def style() -> AbstractContextManager[None]:
    """The style of all figures, regardless of the user's matplotlib settings."""
    return plain_style({"font.size": FONT_SIZE, "svg.hashsalt": "nas", "axes.unicode_minus": False})


def text_width(text: str, figure: Figure, size: float = FONT_SIZE) -> float:
    """Width of a text, inches."""
    from matplotlib.backends.backend_agg import RendererAgg

    drawn = figure.text(0, 0, text, fontsize=size)
    # one pixel: a canvas of the figure's size would have to be created for every text
    renderer = RendererAgg(1, 1, DPI)  # type: ignore[no-untyped-call]  # matplotlib has it untyped
    width = drawn.get_window_extent(renderer).width / DPI
    drawn.remove()
    return float(width)


def colours(count: int) -> list[Any]:
    """Colours from dark to light in even steps with a rotating hue, so they stay distinct when printed in grey.

    Green, "A colour scheme for the display of astronomical intensity images", Bull. Astr. Soc. India 39, 2011,
    section 2.
    """
    grey = np.linspace(0.22, 0.64, count)[:, None] if count > 1 else np.array([[0.3]])
    angle = 2 * np.pi * (0.6 - 1.6 * grey)
    turned = np.hstack([np.cos(angle), np.sin(angle)]) @ [[-0.14861, -0.29227, 1.97294], [1.78277, -0.90649, 0]]
    return [tuple(rgb) for rgb in np.clip(grey + 1.1 * grey * (1 - grey) * turned, 0, 1).tolist()]
