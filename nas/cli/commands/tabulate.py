"""Train every architecture class of a finite space, and write the results as a table that searches can replay.

The same command again goes on where an earlier one was interrupted.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.commands.compare import in_order
from nas.cli.output import Bar
from nas.cli.rerun import place
from nas.errors import UsageError
from nas.formatting import plural
from nas.studies.tabulation import tabulate
from nas.tables.write import description, stem, write_table
from nas.validation import whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings


def report(bar: Bar, done: int, total: int, line: Mapping[str, Any]) -> None:
    if "failed" in line:
        bar.say(f"{line['arch']} failed: {line['failed']}")
    bar.report(done, total)


def main(settings: Settings) -> int:
    whole_number("seeds", settings.get("seeds"), most=1000)
    if settings.get("repeated") is not None:
        whole_number("repeated", settings.get("repeated"))
    out = Path(settings.get("out")).expanduser()
    journal = out.with_name(f"{out.name}.journal")
    if stem(out) in ("", out.name):
        raise UsageError(f"out must be a .csv or .csv.gz file, got {str(out)!r}")
    for path in (out, description(out)):
        if path.exists() and not journal.exists():
            raise UsageError(f"{path} is there already; choose another out=, nothing was changed")
    bar = Bar(settings.get("progress"), "training")
    try:
        found = tabulate(
            settings.make("space"),
            {"name": settings.choices["space"], "settings": settings.node("space")},
            settings.make("data"),
            settings.make("trainer"),
            path=journal,
            executor=in_order(settings),
            seeds=settings.get("seeds"),
            repeated=settings.get("repeated"),
            device=settings.get("device"),
            report=partial(report, bar),
        )
    except KeyboardInterrupt:
        print("\ninterrupted; every finished training is kept. Run the same command again to go on.", file=sys.stderr)
        return 130
    finally:
        bar.close()
    data = {key: value for key, value in settings.node("data").items() if key != "root"}  # a folder of this machine
    yaml = write_table(found, out, str(settings.choices["data"]), data)
    classes = len({training["canonical"] for training in found["trainings"]})
    print(f"{out}: {classes:,} {'class' if classes == 1 else 'classes'}, {plural(len(found['trainings']), 'training')}")
    own = settings.config_dir or Path("conf")  # of the space too
    print(f"{yaml}: what is in it; copy it to {own / 'table'}/ and use it with")
    words = [
        "nas",
        *place(own),
        "search",
        "evaluator=table",
        f"table={yaml.stem}",
        f"table.root={out.parent}",
    ]
    print(f"  {shlex.join(words)}")
    return 0
