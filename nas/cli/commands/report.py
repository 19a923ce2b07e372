"""Write a report for people: one HTML file about a run, a sweep or a comparison.

The file needs no network and opens by a double click. It works for a running search too, as far as it has come.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.options import CommandOptions
from nas.errors import UsageError, UserError

if TYPE_CHECKING:
    from nas.config.settings import Settings


@dataclass(frozen=True)
class ReportOptions(CommandOptions):
    """Settings of `nas report`; `configs/report.yaml` describes them."""

    run: str | None
    sweep: str | None
    comparison: str | None
    out: str
    dir: str

    def __post_init__(self) -> None:
        given = [key for key in ("run", "sweep", "comparison") if getattr(self, key) is not None]
        if len(given) != 1:
            named = " and ".join(f"{key}={getattr(self, key)}" for key in given) or "none of them is set"
            raise UsageError(f"{named}; expected one of run=, sweep= and comparison=")


def main(settings: Settings) -> int:
    from nas.cli.study_report import run_report, sweep_report
    from nas.report.comparison import comparison_document
    from nas.report.html import write_report

    options = ReportOptions.of(settings)
    out = checked_output(options.out)
    if options.run is not None:
        document = run_report(settings, settings.make("store"), options.run, options.dir)
    elif options.sweep is not None:
        document = sweep_report(settings, settings.make("store"), options.sweep)
    else:
        document = comparison_document(Path(str(options.comparison)).expanduser())
    size = write_report(out, document)
    print(f"Written to {out} ({size / 1000:,.0f} kB); open it in a browser.")
    return 0


def checked_output(out: str) -> Path:
    """The path of a report, once it is known that it can be written, before the store is read.

    Raises:
        UsageError: It is a folder, or its folder does not exist.
        UserError: It cannot be written.
    """
    path = Path(out).expanduser()
    if path.is_dir():
        raise UsageError(f"out={out} is a folder; expected a file, such as out={path / 'report.html'}")
    if not path.parent.is_dir():
        raise UsageError(f"out={out}: {path.parent} is not a folder; create it, or set out= to a file in a folder")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise UserError(f"out={out} cannot be written (no permission); set out= to a file in another folder")
    return path
