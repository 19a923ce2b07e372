"""List the runs of a store: state, progress, best result, failures, last activity; the newest run is the last.

A run is running while a process writes it. A run that is interrupted is resumed by the command that started it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.cli.options import LIST_FORMATS, CommandOptions
from nas.cli.output import print_csv, print_json, print_table
from nas.cli.run_status import COLUMNS, progress, since, status_row
from nas.formatting import plural
from nas.store.base import RunStatus
from nas.store.sweeps import runs_of_sweep
from nas.validation import one_of

if TYPE_CHECKING:
    from nas.config.settings import Settings

STATES = ("running", "finished", "failed", "interrupted")


@dataclass(frozen=True)
class RunsOptions(CommandOptions):
    """Settings of `nas runs`; `configs/runs.yaml` describes them."""

    sweep: str | None
    state: str | None
    format: str

    def __post_init__(self) -> None:
        one_of("format", self.format, LIST_FORMATS)
        if self.state is not None:
            one_of("state", self.state, STATES)


def main(settings: Settings) -> int:
    options = RunsOptions.of(settings)
    statuses: list[RunStatus] = settings.make("store").statuses()
    if options.sweep is not None:
        names = {run.name for run in runs_of_sweep(options.sweep, [status.run for status in statuses])}
        statuses = [status for status in statuses if status.run.name in names]
    shown = [status for status in statuses if options.state in (None, status.state)]
    rows = [status_row(status) for status in shown]
    if options.format == "json":
        print_json(rows)
    elif options.format == "csv":
        print_csv(COLUMNS, [list(row.values()) for row in rows])
    elif shown:
        _print(shown)
        counts = Counter[str](status.state for status in shown)
        by_state = ", ".join(f"{counts[state]:,} {state}" for state in STATES if counts[state])
        print(f"{plural(len(shown), 'run')}: {by_state}")
    else:
        print(
            "no runs yet"
            if not statuses
            else f"no run is {options.state}; the store has {plural(len(statuses), 'run')}"
        )
    return 0


def _print(statuses: Sequence[RunStatus]) -> None:
    columns = ["run", "state", "trials", "best", "metric", "trial", "failed", "last activity", "owner", "sweep"]
    rows = []
    for status in statuses:
        row = status_row(status)
        rows.append(
            [
                status.run.name,
                status.state,
                progress(status),
                "" if row["best"] is None else f"{row['best']:.4f}",
                row["metric"],
                "" if status.best is None else str(status.best),
                str(status.failed),
                since(status.updated),
                status.owner or "" if status.state == "running" else "",
                row["sweep"] or "",
            ]
        )
    filled = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    columns, rows = [columns[index] for index in filled], [[row[index] for index in filled] for row in rows]
    text = ("run", "state", "metric", "last activity", "owner", "sweep")
    print_table("runs", columns, rows, text=text, keys=("run",))
