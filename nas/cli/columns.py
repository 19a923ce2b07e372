"""Columns of a leaderboard that the user chooses."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nas.cli.output import print_table
from nas.errors import UsageError
from nas.formatting import did_you_mean, short_number
from nas.store.conditions import ALIASES
from nas.store.entries import Entry, protocol_description, protocol_key
from nas.store.facts import FACTS, decision_names

CSV_COLUMNS = ("protocol", "rank", "run", "number", "score", "spread", "members", "test_accuracy", "status",
               "error_kind", "error", "epochs", "seed", "seconds", "reused_from", "arch")  # fmt: skip
"""Columns of CSV if none are chosen; metrics and costs follow."""
ENTRY_COLUMNS: Mapping[str, Callable[[Entry], Any]] = {
    "spread": lambda entry: entry.spread,
    "members": lambda entry: entry.members,
    "error": lambda entry: entry.trial.error,
    "fault": lambda entry: entry.fault,
    "protocol": lambda entry: protocol_key(entry.run, entry.trial),
    "test_accuracy": lambda entry: _mean([test.metrics["test_accuracy"] for test in entry.tested]),
}
"""Columns beside the facts, metrics and costs that a condition knows."""
COUNTS = ("parameters", "flops")
"""Metrics that a table shows with a unit."""


def check_columns(columns: Sequence[str], entries: Sequence[Entry]) -> None:
    """Raise `UsageError` if a column is named twice, or, with the closest name, is something that no entry has."""
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        raise UsageError(f"columns names {twice!r} twice; leave one out")
    decided = {name for entry in entries for name in decision_names(entry.run)}
    known = {*FACTS, "rank", *ENTRY_COLUMNS, *measured(entries), *decided}
    for column in columns:
        if entries and ALIASES.get(column, column) not in known:
            names = sorted({*known, *ALIASES})
            hint = did_you_mean(column.lower(), names)
            raise UsageError(f"columns: unknown name {column!r}{hint}; expected some of {', '.join(names)}")


def measured(entries: Iterable[Entry]) -> list[str]:
    """Names of the metrics and costs of some entries that are not facts too."""
    names = {name for entry in entries for name in (*entry.trial.metrics, *entry.trial.cost)}
    return sorted(names - {*FACTS, *ENTRY_COLUMNS, "rank"})


def chosen(entries: Sequence[Entry], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Chosen values of the entries of one set: column -> value, None where an entry has none."""
    rows = []
    for rank, entry in enumerate(entries, start=1):
        rows.append({column: _value(entry, rank, ALIASES.get(column, column)) for column in columns})
    return rows


def print_columns(entries: Sequence[Entry], columns: Sequence[str]) -> None:
    """Print chosen columns of comparable entries as a table."""
    rows = [list(row.values()) for row in chosen(entries, columns)]
    text = [name for index, name in enumerate(columns) if any(isinstance(row[index], str) for row in rows)]
    cells = [[_cell(ALIASES.get(name, name), value) for name, value in zip(columns, row, strict=True)] for row in rows]
    print_table(protocol_description(entries[0].run, entries[0].trial), columns, cells, text=text, keys=columns[:1])


def _value(entry: Entry, rank: int, name: str) -> Any:
    if name == "rank":
        return rank
    return ENTRY_COLUMNS[name](entry) if name in ENTRY_COLUMNS else entry.value(name)


def _cell(name: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if name in COUNTS:
        return short_number(value)
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
