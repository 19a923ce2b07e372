"""Make a classifier of a folder of pictures, in the minutes that you have.

The pictures are checked, several methods are tried beside a simple baseline, and the best is trained, tested on
pictures that it never saw, and exported with a report. Run the same command again to resume after an interruption.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.fit_options import FitOptions
from nas.cli.output import print_json, run_folder
from nas.runtime import interrupt
from nas.store.base import check_run_name

if TYPE_CHECKING:
    from nas.config.settings import Settings


def main(settings: Settings) -> int:
    started = time.monotonic()
    options = FitOptions.of(settings)
    run = fit_name(settings, options) if options.run is None else options.run
    check_run_name(run)
    out = Path(options.out).expanduser().absolute()
    from nas.cli.fit_steps import Fit  # imports torch
    from nas.fit.clock import Clock
    from nas.fit.record import Record

    record = Record(run_folder(options.dir, run).absolute() / "fit")
    clock = Clock(record, measured=options.speed is None, started=started)
    fit = Fit(settings, options, run, out, record, clock)
    fit.check()
    try:
        with clock.running():
            result = fit.run_all()
    except KeyboardInterrupt as error:
        print("\ninterrupted; rerun the command to resume where it was", file=sys.stderr)
        return interrupt.exit_code(error)
    if options.format == "json":
        print_json(result)
    else:
        fit.print_result(result)
    return 0


def fit_name(settings: Settings, options: FitOptions) -> str:
    """A name that follows from the settings, so that the same command resumes."""
    data = {key: value for key, value in settings.node("data").items() if key != "cache"}
    root = data.get("root")
    if root:
        data["root"] = str(Path(root).expanduser().absolute())
    own: Mapping[str, Any] = {
        key: getattr(options, key)
        for key in ("minutes", "backbone", "seed", "speed")
        if getattr(options, key) is not None
    }
    option = settings.choices["data"]
    identity = json.dumps([option, data, own], sort_keys=True, default=str)
    digits = hashlib.blake2b(identity.encode(), digest_size=3).hexdigest()
    return f"fit-{option}-{digits}"
