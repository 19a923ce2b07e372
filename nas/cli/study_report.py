"""What `nas report` and `nas fit` add to a report from the settings of a command: commands to repeat it, pictures."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.output import run_folder
from nas.cli.rerun import config_dir_arguments, search_command, store_arguments
from nas.cli.selection import check_meaning
from nas.config.settings import make_space, recorded_parts
from nas.core import Task
from nas.errors import UserError
from nas.report.document import Document, Picture
from nas.report.html import write_report
from nas.report.study import run_document
from nas.report.sweep import sweep_document
from nas.space.notation import parse
from nas.store.base import Run, Store
from nas.store.leaderboard import find_trial, named_run

if TYPE_CHECKING:
    from nas.config.settings import Settings

RECORD = "fit"
"""Folder of the record of `nas fit`, within that of the run's files."""
DRAWN_TASK = Task(channels=3, height=32, width=32, classes=10)
"""Images that a network is drawn for if those of the search are not known."""


def write_run_report(
    settings: Settings, store: Store, run: str, out: Path, folder: str = "runs", *, trial: int | None = None
) -> int:
    """Write the report of a run, with the record of `nas fit` if it made the run.

    Args:
        settings: Settings of the command, which name the store and the folder of the user's options.
        store: Store of the run.
        run: Name of the run.
        out: HTML file, in an existing folder, which may hold the exported model too.
        folder: Folder of the files of runs.
        trial: Number of the trial that was chosen; None: the best.

    Returns:
        Size of the file in bytes.

    Raises:
        UserError: The run does not exist, or the file cannot be written.
    """
    return write_report(out, run_report(settings, store, run, folder, out.parent, trial=trial))


def run_report(
    settings: Settings,
    store: Store,
    run: str,
    folder: str = "runs",
    model: Path | None = None,
    *,
    trial: int | None = None,
) -> Document:
    """The report of a run; see `write_run_report`.

    Args:
        model: Folder of the model that `nas fit` exported; None: the one that its record names.
    """
    known = named_run(store, run)
    record = run_folder(folder, run) / RECORD
    chosen = _chosen(record) if trial is None else str(trial)
    left_out: list[str] = []
    pictures: dict[str, Picture] = {}
    try:
        pictures = _pictures(settings, store, known, chosen, _task(record))
    except UserError as error:
        left_out.append(f"The winner is not drawn: {error}.")
    commands = {}
    try:
        commands = _commands(settings, store, known, chosen)
    except UserError as error:
        left_out.append(f"The commands that repeat the run are not known: {error}.")
    document = run_document(store, run, commands=commands, pictures=pictures, left_out=left_out)
    if not record.is_dir():
        return document
    from nas.report.fit import with_fit  # Pillow, which the report of a plain search does not need

    return with_fit(document, record, model)


def _chosen(record: Path) -> str:
    """The trial that a fit has chosen, as `trial=` takes it."""
    try:
        return str(int(json.loads((record / "result.json").read_text())["winner"]["trial"]))
    except (OSError, ValueError, KeyError, TypeError):
        return "best"


def _task(record: Path) -> Task:
    """The images of a fit, or else those that a network is drawn for."""
    try:
        known = json.loads((record / "inspection.json").read_text())
        channels, side = int(known["channels"]), int(known["side"])
        return Task(channels, side, side, len(known["classes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return DRAWN_TASK


def _commands(settings: Settings, store: Store, run: Run, chosen: str) -> dict[str, str]:
    """The command that repeats the search, and those that use its winner."""
    status, more = store.status(run.name), store_arguments(settings)
    search = search_command(run, max(status.trials, status.planned or 0, 1) - 1, _config_dir(settings, run), more)
    commands = {} if search is None else {"repeat the search": search}
    if status.best is not None and search is not None:
        nas = ["nas", *config_dir_arguments(settings.config_dir)]
        rest = [f"run={run.name}", f"trial={chosen}", *more]
        commands["train the winner from scratch and test it"] = shlex.join([*nas, "retrain", *rest])
        commands["export the winner"] = shlex.join([*nas, "export", *rest])
    return commands


def _pictures(settings: Settings, store: Store, run: Run, chosen: str, task: Task) -> dict[str, Picture]:
    if store.status(run.name).best is None:
        return {}
    parts = recorded_parts(run.config)
    if "space" not in parts:
        return {}
    from nas.report.architecture import drawn  # matplotlib, which a run without a winner does not need

    _, trial = find_trial(store, run.name, chosen)
    space = make_space(*parts["space"], _config_dir(settings, run))
    architecture = parse(space, trial.text)
    check_meaning(space, architecture, run, trial)
    return drawn(space, architecture, task)


def _config_dir(settings: Settings, run: Run) -> Path | None:
    """The folder with the user's own options: that of the command, or the one that the run had, if it is there."""
    recorded = run.config.get("config_dir")
    if settings.config_dir is None and recorded and Path(recorded).is_dir():
        return Path(recorded)
    return settings.config_dir


def sweep_report(settings: Settings, store: Store, sweep: str) -> Document:
    """The report of a sweep."""
    nas, rest = ["nas", *config_dir_arguments(settings.config_dir)], [f"sweep={sweep}", *store_arguments(settings)]
    commands = {
        "list its trials": shlex.join([*nas, "leaderboard", *rest]),
        "compare its finished searches": shlex.join([*nas, "compare", *rest]),
    }
    return sweep_document(store, sweep, commands=commands)
