"""The trials of a run as a table for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from nas.core import Trial
from nas.report.document import Column, Style, Table
from nas.store.base import Run
from nas.store.entries import epochs, protocol_key
from nas.store.faults import fault

MAX_ROWS = 50_000
"""Largest number of rows; of more trials the best are shown."""
MAX_TEXT = 300
"""Longest architecture and message in the table, in characters."""


def trial_table(run: Run, trials: Sequence[Trial], style: Style) -> Table:
    """All trials of a run.

    Args:
        run: The run.
        trials: Its trials by number.
        style: How its metric is shown.
    """
    objective = run.objective
    kept = list(trials)
    if len(kept) > MAX_ROWS:
        ranked = sorted(trials, key=lambda one: -objective.score(one) if one.completed else float("inf"))
        kept = sorted(ranked[:MAX_ROWS], key=lambda one: one.number)

    def column(name: str, label: str, how: Style, value: Callable[[Trial], Any]) -> Column:
        return Column(name, label, how, [value(trial) for trial in kept])

    keys = protocol_keys(run, kept)
    groups = list(dict.fromkeys(keys.values()))
    columns = [
        column("number", "trial", "count", lambda one: one.number),
        column(
            objective.metric, objective.metric.replace("_", " "), style, lambda one: one.metrics.get(objective.metric)
        ),
        column("status", "status", "text", lambda one: _status(run, one)),
    ]
    optional = [
        column("group", "comparable group", "count", lambda one: groups.index(keys[one.proposal.fidelity]) + 1),
        column("epochs", "epochs", "count", lambda one: epochs(run, one)),
        column("seconds", "time", "seconds", lambda one: one.seconds),
        column("simulated_seconds", "simulated time", "seconds", lambda one: one.metrics.get("simulated_seconds")),
        column("parameters", "parameters", "short", lambda one: one.metrics.get("parameters")),
        column("flops", "FLOPs", "short", lambda one: one.metrics.get("flops")),
        column("peak_memory_mb", "memory", "bytes", lambda one: one.cost.get("peak_memory_mb")),
        column("reused_from", "result of trial", "count", lambda one: one.reused_from),
        column("error", "what happened", "text", lambda one: _short(one.error)),
    ]
    if len(groups) < 2:
        optional = optional[1:]
    columns += [one for one in optional if any(value is not None for value in one.values)]
    columns.append(column("text", "architecture", "text", lambda one: _short(one.text)))
    return Table("trial", columns, len(trials), objective.metric, objective.direction == "maximize")


def protocol_keys(run: Run, trials: Iterable[Trial]) -> dict[int | None, str]:
    """Fidelity -> key of the trials of a run that may be ranked together; a key takes longer than to read a trial."""
    return {
        trial.proposal.fidelity: protocol_key(run, trial) for trial in {t.proposal.fidelity: t for t in trials}.values()
    }


def _status(run: Run, trial: Trial) -> str:
    if not trial.completed:
        return f"failed: {trial.error_kind or 'error'}"
    return "invalid" if fault(trial, run.config) is not None else "completed"


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
