"""How a command executes its job: its budget, and the executor of independent tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nas.engine.budget import Budget
from nas.errors import UsageError

if TYPE_CHECKING:
    from nas.config.settings import Settings
    from nas.executors.base import Executor


def budget_of(limits: Mapping[str, Any], trials: int) -> Budget:
    """The budget of the settings; `trials` trials if they set no limit."""
    limited = any(limits[key] is not None for key in ("trials", "hours", "simulated_seconds"))
    return Budget(**(limits if limited else {**limits, "trials": trials}))


def ordered_executor(settings: Settings) -> Executor:
    """The executor of a job whose tasks do not depend on one another."""
    executor: Executor = settings.make("executor")
    if executor.order == "async":
        raise UsageError(f"executor.order=async has no effect in nas {settings.command}; leave it out")
    return executor
