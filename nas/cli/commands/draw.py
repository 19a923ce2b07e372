"""Draw an architecture: its cells, and the stages of its network.

Name the architecture by run= and trial=, by comparison= with a folder of nas compare, or by arch= with a genotype file,
the architecture's text, or a published name.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.selection import ArchitectureOptions, folder_of, selected
from nas.files import atomic_folder

if TYPE_CHECKING:
    from nas.config.settings import Settings

INHERITED_GROUPS = ("space", "data")
"""Parts that the run or the genotype file names."""


@dataclass(frozen=True)
class DrawOptions(ArchitectureOptions):
    """Settings of `nas draw`; `configs/draw.yaml` describes them."""

    out: str | None


def main(settings: Settings) -> int:
    from nas.drawing.picture import cell_figure, network_figure, save
    from nas.drawing.stages import stages
    from nas.training.lazy import materialized
    from nas.training.summary import DEFAULT_TASK

    options = DrawOptions.of(settings)
    selection = selected(settings, options, INHERITED_GROUPS)
    settings, space = selection.settings, selection.space
    has_data = settings.choices.get("data") is not None
    task = settings.make("data").task if has_data else DEFAULT_TASK
    network = materialized(space.build(selection.architecture, task), task)
    target = Path(options.out or folder_of(selection, "pictures")).expanduser().absolute()
    with atomic_folder(target) as folder:
        graphs = space.graphs(selection.architecture)
        pictures = [save(cell_figure(graph), folder, name) for name, graph in graphs.items()]
        pictures.append(save(network_figure(stages(network, task)), folder, "network"))
    for picture in pictures:
        for path in picture:
            print(target / path.name)
    if not has_data:
        size = f"{task.channels}x{task.height}x{task.width}"
        print(f"nas: drawn for images of {size} and {task.classes} classes, since data= is not set", file=sys.stderr)
    return 0
