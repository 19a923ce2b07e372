"""The picture of an architecture for a report: its cells, or its network where the space has no cells."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from nas.core import Architecture, Task
from nas.drawing.picture import cell_figure, network_figure
from nas.drawing.style import plain_style
from nas.report.document import Picture
from nas.space.base import SearchSpace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_BYTES = 160_000
"""Largest picture; a larger one is left out."""
PIXELS_PER_INCH = 96


def drawn(space: SearchSpace, architecture: Architecture, task: Task) -> dict[str, Picture]:
    """Pictures of an architecture, each of at most `MAX_BYTES`.

    Args:
        space: Space of the architecture.
        architecture: The architecture.
        task: Images that the network is for; only its size matters, and only for a space without cells.

    Returns:
        `cell_NAME` or `network` -> picture; may be empty.

    Raises:
        UserError: The network cannot be built or run.
    """
    figures = {f"cell_{name}": cell_figure(graph) for name, graph in space.graphs(architecture).items()}
    alts = {name: f"The {_spelled(name)}" for name in figures}
    if not figures:
        from nas.drawing.stages import stages  # needs torch, which takes seconds

        figures = {"network": network_figure(stages(space.build(architecture, task), task))}
        alts = {"network": "The network, from the picture on the left to the answer on the right"}
    return _small({name: _picture(figure, alts[name]) for name, figure in figures.items()})


def _spelled(name: str) -> str:
    own = name.removeprefix("cell_").replace("_", " ")
    return own if "cell" in own else f"{own} cell"


def _small(pictures: Mapping[str, Picture]) -> dict[str, Picture]:
    return {name: picture for name, picture in pictures.items() if len(picture.uri) <= MAX_BYTES}


def _picture(figure: Figure, alt: str) -> Picture:
    out = io.BytesIO()
    with plain_style({"svg.fonttype": "path", "svg.hashsalt": "cellnas"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    width, height = figure.get_size_inches()
    text = base64.b64encode(out.getvalue()).decode()
    uri = f"data:image/svg+xml;base64,{text}"
    return Picture(uri, alt, round(width * PIXELS_PER_INCH), round(height * PIXELS_PER_INCH))
