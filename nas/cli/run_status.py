"""Where a run stands, as `nas runs` and `nas show` print it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from nas.formatting import ago
from nas.store.base import RunStatus
from nas.store.sweeps import sweep_of

COLUMNS = ("run", "state", "trials", "planned", "failed", "metric", "best", "best_trial", "seconds", "started",
           "updated", "owner", "sweep")  # fmt: skip
"""Keys of `status_row`."""


def status_row(status: RunStatus) -> dict[str, Any]:
    """All facts about where a run stands, JSON-safe; times in UTC."""
    objective = status.run.objective
    return {
        "run": status.run.name,
        "state": status.state,
        "trials": status.trials,
        "planned": status.planned,
        "failed": status.failed,
        "metric": objective.metric,
        "best": status.score if status.score is None or objective.direction == "maximize" else -status.score,
        "best_trial": status.best,
        "seconds": status.seconds,
        "started": status.started,
        "updated": status.updated,
        "owner": status.owner,
        "sweep": sweep_of(status.run),
    }


def progress(status: RunStatus) -> str:
    """Stored trials, of those that are planned if that is known: `12/30`; a smaller budget than before plans none."""
    more = status.planned is not None and status.planned >= status.trials
    return f"{status.trials:,}/{status.planned:,}" if more else f"{status.trials:,}"


def since(moment: str | None) -> str:
    """How long ago something was, for people; empty if it is not known."""
    return "" if moment is None else ago((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
