"""Train every architecture class of a finite space, and write the results as a table that searches can look up.

Run the same command again to resume after an interruption.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.execution import ordered_executor
from nas.cli.options import CommandOptions
from nas.cli.output import Bar
from nas.cli.rerun import config_dir_arguments
from nas.errors import UsageError
from nas.formatting import plural
from nas.identity import without_folders
from nas.runtime import interrupt
from nas.validation import whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings

MAX_SEEDS = 1000


@dataclass(frozen=True)
class TabulateOptions(CommandOptions):
    """Settings of `nas tabulate`; `configs/tabulate.yaml` describes them."""

    out: str
    seeds: int
    repeated: int | None
    device: str
    progress: bool

    def __post_init__(self) -> None:
        whole_number("seeds", self.seeds, most=MAX_SEEDS)
        if self.repeated is not None:
            whole_number("repeated", self.repeated)


def main(settings: Settings) -> int:
    from nas.studies.tabulation import tabulate
    from nas.tables.write import description, stem, write_table

    options = TabulateOptions.of(settings)
    out = Path(options.out).expanduser()
    journal = out.with_name(f"{out.name}.journal")
    if stem(out) in ("", out.name):
        raise UsageError(f"out must be a .csv or .csv.gz file, got {str(out)!r}")
    for path in (out, description(out)):
        if path.exists() and not journal.exists():
            raise UsageError(f"{path} already exists and was left unchanged; choose another out=")
    bar = Bar(options.progress, "training")
    try:
        results = tabulate(
            settings.make("space"),
            {"name": settings.choices["space"], "settings": settings.node("space")},
            settings.make("data"),
            settings.make("trainer"),
            path=journal,
            executor=ordered_executor(settings),
            seeds=options.seeds,
            repeated=options.repeated,
            device=options.device,
            report=partial(report, bar),
        )
    except KeyboardInterrupt as error:
        print(
            "\ninterrupted; every finished training is stored. Run the same command again to resume.", file=sys.stderr
        )
        return interrupt.exit_code(error)
    finally:
        bar.close()
    data = without_folders(settings.node("data"))
    yaml = write_table(results, out, str(settings.choices["data"]), data)
    classes, trainings = len({training["canonical"] for training in results["trainings"]}), len(results["trainings"])
    print(f"{out}: {classes:,} {'class' if classes == 1 else 'classes'}, {plural(trainings, 'training')}")
    config_dir = settings.config_dir or Path("conf")  # of the space too
    print(f"{yaml} describes it; copy it to {config_dir / 'table'}/ and use it with")
    arguments = ["search", "evaluator=table", f"table={yaml.stem}", f"table.root={out.parent}"]
    print(f"  {shlex.join(['nas', *config_dir_arguments(config_dir), *arguments])}")
    return 0


def report(bar: Bar, done: int, total: int, line: Mapping[str, Any]) -> None:
    """Show a finished training.

    Args:
        bar: Progress of the trainings.
        done: Trainings that are finished.
        total: All trainings.
        line: Line of the journal.
    """
    if "failed" in line:
        bar.say(f"{line['arch']} failed: {line['failed']}")
    bar.report(done, total)
