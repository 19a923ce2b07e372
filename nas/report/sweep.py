"""All runs of a sweep as a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nas.analysis.results import Column, RunResult
from nas.errors import UserError
from nas.report import document, strategies
from nas.report.document import Chart, Document, Table, plain
from nas.report.wording import metric_label, metric_style
from nas.store.base import RunStatus, Store
from nas.store.facts import RUN_FACTS
from nas.store.sweeps import runs_of_sweep
from nas.studies.finished_searches import SearchGroup, grouped, search_result

STATES = {"finished": "finished", "running": "running", "interrupted": "interrupted", "unsuccessful": "failed"}
"""Name of a fact -> the state of the runs that it counts."""


def sweep_document(store: Store, sweep: str, *, commands: Mapping[str, str] | None = None) -> Document:
    """The report of a sweep, as far as it has come.

    Args:
        store: Store of its runs.
        sweep: Name of the sweep.
        commands: Name -> command line.

    Raises:
        UserError: The store does not exist, cannot be read, or has no such sweep.
    """
    statuses = [store.status(run.name) for run in runs_of_sweep(sweep, store.runs())]
    finished = {one.run.name: one for one in statuses if one.state == "finished"}
    groups = grouped([one.run for one in finished.values()])
    left_out: list[str] = []
    compared, charts = list[dict[str, Any]](), dict[str, Chart]()
    for group in groups:
        try:
            column, results = _results(store, group, finished)
            if results:
                compared.append({"name": group.name, **strategies.facts(results, column)})
                charts = charts or strategies.charts(results, column)
        except UserError as error:
            left_out.append(f"The searches of {group.name} are not compared: {error}.")
    states = Counter[str](one.state for one in statuses)
    facts: dict[str, Any] = {
        "sweep": {
            "name": sweep,
            "runs": len(statuses),
            "trials": sum(one.trials for one in statuses),
            "failed": sum(one.failed for one in statuses),
            "seconds": sum(one.seconds or 0.0 for one in statuses),
            **{key: states[state] for key, state in STATES.items()},
        },
        "groups": compared,
        "commands": [{"name": key, "command": command} for key, command in (commands or {}).items()],
    }
    title = f"Report of sweep {sweep}"
    return Document("sweep", title, plain(facts), charts, table=_rows(statuses, groups), left_out=tuple(left_out))


def _results(store: Store, group: SearchGroup, finished: Mapping[str, RunStatus]) -> tuple[Column, list[RunResult]]:
    objective = group.runs[0].objective
    results = []
    for run in group.runs:
        result = search_result(run, group.labels[run.name], store.trials(run.name), finished[run.name].seconds, None)
        if result is not None:
            results.append(result)
    return Column(objective.metric, direction=objective.direction), results


def _rows(statuses: Sequence[RunStatus], groups: Sequence[SearchGroup]) -> Table:
    """One row for each job that has a run in the store."""
    labels = {name: label for group in groups for name, label in group.labels.items()}
    metrics = {one.run.objective.metric for one in statuses}
    metric = next(iter(metrics)) if len(metrics) == 1 else "result"
    values = [_value(one) for one in statuses]
    style = metric_style(metric, [value for value in values if value is not None])

    def column(name: str, label: str, how: document.Style, cells: Sequence[Any]) -> document.Column:
        return document.Column(name, label, how, cells)

    maximize = all(one.run.objective.direction == "maximize" for one in statuses)
    columns = [
        column("run", "run", "text", [one.run.name for one in statuses]),
        column("state", "state", "text", [one.state for one in statuses]),
        column("value", f"best {metric_label(metric)}", style, values),
        column("best", "in trial", "count", [one.best for one in statuses]),
        column("strategy", "strategy", "text", [labels.get(one.run.name) or _strategy(one) for one in statuses]),
        column("seed", "seed", "count", [one.run.seed for one in statuses]),
        column("trials", "trials", "count", [one.trials for one in statuses]),
        column("failed", "failed", "count", [one.failed for one in statuses]),
        column("seconds", "time", "seconds", [one.seconds for one in statuses]),
    ]
    return Table("run", columns, len(statuses), "value", maximize)


def _strategy(status: RunStatus) -> str | None:
    name = RUN_FACTS["strategy"](status.run)
    return None if name is None else str(name)


def _value(status: RunStatus) -> float | None:
    if status.score is None:
        return None
    return status.score if status.run.objective.direction == "maximize" else -status.score
