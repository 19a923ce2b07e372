"""The sweep that a run belongs to: the `sweep` of its settings."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nas.errors import UsageError
from nas.formatting import some_of
from nas.store.base import Run

NAME = re.compile(r"\w[\w .+=@~-]{0,99}")
"""A sweep's name is that of its folder too, and begins the names of its runs, where `-m run=NAME` reads commas."""


def check_sweep_name(name: object) -> None:
    """Raise `UsageError` unless the name is a valid name of a sweep."""
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise UsageError(
            "sweep must be a name of 1 to 100 letters, digits, spaces or ._-+=@~ that begins with a letter or a digit, "
            f"got {name!r}"
        )


def sweep_of(run: Run) -> str | None:
    """Name of the sweep that a run belongs to; None for a run of its own."""
    name = run.config.get("sweep")
    return None if name is None else str(name)


def runs_of_sweep(sweep: str, runs: Sequence[Run]) -> list[Run]:
    """The runs of a sweep, in their order.

    Raises:
        UsageError: There are none; names the sweeps that there are.
    """
    found = [run for run in runs if sweep_of(run) == sweep]
    if not found:
        names = list(dict.fromkeys(name for run in runs if (name := sweep_of(run)) is not None))
        raise UsageError(f"there is no sweep {sweep!r} in the store; it has {some_of(names, sweep)}")
    return found
