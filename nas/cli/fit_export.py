"""The export of the winner of a fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.commands.export import ExportOptions, export_job, genotype_of
from nas.cli.rerun import card_commands
from nas.cli.selection import selected
from nas.export.assembly import assemble, export, find_retrainings
from nas.export.threshold import choose_threshold

if TYPE_CHECKING:
    import numpy as np

    from nas.config.settings import Settings

FORMATS = ("genotype", "python", "state")
IMAGES = 32
"""Images that the forms are checked on; more would take long on a large pretrained network."""


def export_winner(settings: Settings, out: Path, probabilities: np.ndarray, labels: np.ndarray) -> None:
    """Export a trial with the weights of its last retraining.

    Args:
        settings: Settings of `nas export` for the run and the trial.
        out: New or empty folder.
        probabilities: (N, classes) of its validation images, by a training without them.
        labels: (N,) their classes.
    """
    selection = selected(settings, ExportOptions.of(settings), ("space", "data"))
    job, store = export_job(selection), selection.settings.make("store")
    repeats = find_retrainings(job, store, None)
    commands = card_commands(selection, repeats, (job.data_option, job.data_settings))
    model = assemble(job, repeats[0] if repeats else None, IMAGES, commands)
    threshold = choose_threshold(probabilities, labels)
    export(model, FORMATS, out, repeats, genotype_of(selection), threshold=threshold)
