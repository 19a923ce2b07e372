"""Draw an architecture: its cells, and the stages of its network.

Give run= and trial=, comparison= with the folder of nas compare, or arch= with a genotype file, the text of an
architecture or a published name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.selection import folder_of, selected
from nas.drawing.picture import cell_figure, network_figure, save
from nas.drawing.stages import stages
from nas.files import atomic_folder
from nas.training.lazy import materialized
from nas.training.summary import DEFAULT_TASK

if TYPE_CHECKING:
    from nas.config.settings import Settings

INHERITS = ("space", "data")
"""Parts that the run or the genotype file names."""


def main(settings: Settings) -> int:
    chosen = selected(settings, INHERITS)
    settings, space = chosen.settings, chosen.space
    task = settings.make("data").task if settings.choices.get("data") else DEFAULT_TASK
    network = materialized(space.build(chosen.architecture, task), task)
    target = Path(settings.get("out") or folder_of(chosen, "pictures")).expanduser().absolute()
    with atomic_folder(target) as folder:
        paths = [save(cell_figure(graph), folder, name) for name, graph in space.graphs(chosen.architecture).items()]
        paths.append(save(network_figure(stages(network, task)), folder, "network"))
    for path in (path for pair in paths for path in pair):
        print(target / path.name)
    return 0
