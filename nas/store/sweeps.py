"""The sweep that a run belongs to: the `sweep` of its settings."""

from __future__ import annotations

from collections.abc import Sequence

from nas.errors import UsageError
from nas.formatting import some_of
from nas.store.base import Run


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
