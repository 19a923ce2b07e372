"""Train every architecture class of a finite space, and write the results as a table that searches can replay.

The same command again goes on where an earlier one was interrupted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nas.core import UsageError, whole_number
from nas.output import counted
from nas.tables.write import write_table
from nas.tabulation import tabulate

if TYPE_CHECKING:
    from nas.settings import Settings

LINE_SECONDS = 60


def main(settings: Settings) -> int:
    whole_number("seeds", settings.get("seeds"), most=1000)
    if settings.get("repeated") is not None:
        whole_number("repeated", settings.get("repeated"))
    out = Path(settings.get("out")).expanduser()
    if not out.name.endswith((".csv", ".csv.gz")):
        raise UsageError(f"out must be a .csv or .csv.gz file, got {str(out)!r}")
    bar = Bar(settings.get("progress"))
    try:
        found = tabulate(
            settings.make("space"),
            {"name": settings.choices["space"], "settings": settings.node("space")},
            settings.make("data"),
            settings.make("trainer"),
            path=out.with_name(f"{out.name}.journal"),
            executor=settings.make("executor"),
            seeds=settings.get("seeds"),
            repeated=settings.get("repeated"),
            device=settings.get("device"),
            report=bar.report,
        )
    except KeyboardInterrupt:
        print("\ninterrupted; every finished training is kept. Run the same command again to go on.", file=sys.stderr)
        return 130
    finally:
        bar.close()
    yaml = write_table(found, out)
    classes = len({training["canonical"] for training in found["trainings"]})
    print(
        f"{out}: {classes:,} {'class' if classes == 1 else 'classes'}, {counted(len(found['trainings']), 'training')}"
    )
    print(f"{yaml}: what is in it; copy it to conf/table/ and use it with")
    print(f"  nas --config-dir conf search evaluator=table table={yaml.stem} table.root={out.parent}")
    return 0


class Bar:
    """Progress on stderr: a bar on a terminal, a line a minute elsewhere."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self.bar: tqdm[Any] | None = None
        self.last = 0.0

    def report(self, done: int, total: int, line: Mapping[str, Any]) -> None:
        if not self.shown:
            return
        if self.bar is None:
            self.bar = tqdm(total=total, initial=done - 1, unit="training", disable=not sys.stderr.isatty())
        self.bar.update()
        if "failed" in line:
            tqdm.write(f"{line['arch']} failed: {line['failed']}", file=sys.stderr)
        if not sys.stderr.isatty() and (time.monotonic() - self.last >= LINE_SECONDS or done == total):
            self.last = time.monotonic()
            tqdm.write(f"{time.strftime('%H:%M:%S')} {done:,} of {total:,} trainings", file=sys.stderr)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
