"""A folder of `nas compare` as a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.analysis.results import Column, IncumbentChange, RunResult
from nas.core import Objective
from nas.errors import UsageError, UserError
from nas.report import document, strategies
from nas.report.document import Document, Table, plain
from nas.report.wording import metric_label, metric_style
from nas.studies.comparison import JOURNAL, REQUIRED_KEYS
from nas.studies.journal import read


def comparison_document(folder: Path) -> Document:
    """The report of a comparison, as far as it has come.

    Args:
        folder: Folder of `nas compare`.

    Raises:
        UsageError: The folder holds no comparison, none of its runs has finished, or the journal is damaged.
    """
    path = folder / JOURNAL
    try:
        head, *lines = read(path, REQUIRED_KEYS) or [{}]
        objective = Objective(**head["objective"])
        results = [_result(line) for line in lines]
        columns = _columns(head, objective, results)
        table = _rows(results, columns)
    except OSError as error:
        raise UsageError(f"comparison={folder} cannot be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, UserError) as error:
        if path.exists() and isinstance(error, UserError):
            raise
        reason = "is damaged" if path.exists() else "is missing"
        raise UsageError(f"comparison={folder} is not a folder of nas compare: its {JOURNAL} {reason}") from None
    if not results:
        raise UsageError(f"comparison={folder} has no finished run yet; run the same nas compare again to resume it")
    name = folder.absolute().name
    budget = [
        {"key": key, "value": str(value)} for key, value in (head.get("budget") or {}).items() if value is not None
    ]
    facts: dict[str, Any] = {
        "comparison": {
            "name": name,
            "runs": len(results),
            "strategies": len({one.strategy for one in results}),
            "seeds": len({one.seed for one in results}),
            "trials": sum(one.queries for one in results),
            "seconds": sum(one.seconds for one in results),
            "metric": objective.metric,
        },
        "columns": [strategies.facts(results, column) for column in columns],
        "budget": budget,
        "commands": [{"name": "repeat the comparison", "command": head["command"]}] if head.get("command") else [],
        "versions": [{"name": key, "value": str(value)} for key, value in (head.get("environment") or {}).items()],
    }
    return Document(
        "comparison",
        f"Report of comparison {name}",
        plain(facts),
        strategies.charts(results, columns[0]),
        table=table,
    )


def _result(line: Mapping[str, Any]) -> RunResult:
    steps = tuple(IncumbentChange(**step) for step in line["steps"])
    return RunResult(
        line["strategy"], line["seed"], line["queries"], line.get("simulated_seconds"), line["seconds"],
        line["architecture"], steps, line.get("missing", 0),
    )  # fmt: skip


def _columns(head: Mapping[str, Any], objective: Objective, results: Sequence[RunResult]) -> list[Column]:
    """The columns that the runs report, with the labels of their table."""
    names = list(results[0].metrics) if results else []
    if names == [objective.metric]:
        return [Column(objective.metric, direction=objective.direction)]
    table = head.get("table") or {}
    labels, minimized = table.get("labels") or {}, table.get("minimized") or ()
    return [
        Column(name, direction="minimize" if name in minimized else "maximize", label=labels.get(name))
        for name in names
    ]


def _rows(results: Sequence[RunResult], columns: Sequence[Column]) -> Table | None:
    if not results:
        return None
    values = {column.name: [run.metrics.get(column.name) for run in results] for column in columns}
    shown = [
        document.Column("run", "run", "text", [f"{run.strategy} {run.seed}" for run in results]),
        *(
            document.Column(
                column.name,
                column.label or metric_label(column.name),
                metric_style(column.name, [value for value in values[column.name] if value is not None]),
                values[column.name],
            )
            for column in columns
        ),
        document.Column("strategy", "strategy", "text", [run.strategy for run in results]),
        document.Column("seed", "seed", "count", [run.seed for run in results]),
        document.Column("queries", "trials", "count", [run.queries for run in results]),
        document.Column("simulated_seconds", "simulated time", "seconds", [run.simulated_seconds for run in results]),
        document.Column("seconds", "time", "seconds", [run.seconds for run in results]),
        document.Column("architecture", "winner's architecture", "text", [run.architecture for run in results]),
    ]
    kept = [one for one in shown if any(value is not None for value in one.values)]
    return Table("run", kept, len(results), columns[0].name, columns[0].direction == "maximize")
