"""`nas compare sweep=NAME`: statistics and curves of finished searches, without running anything."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.analysis.report import Report, terminal_table, write_report
from nas.analysis.results import RunResult
from nas.cli.output import print_json, print_table, run_folder
from nas.cli.rerun import config_dir_arguments, search_arguments, shown_arguments
from nas.config.settings import compose
from nas.data.lock import locked_test_set
from nas.errors import UsageError, UserError
from nas.evaluators.base import Evaluator, reporter_of
from nas.formatting import plural
from nas.store.base import RunStatus, Store
from nas.store.sweeps import runs_of_sweep
from nas.studies.comparison import columns
from nas.studies.finished_searches import SearchGroup, grouped, search_result

if TYPE_CHECKING:
    from nas.config.settings import Settings

ALLOWED_KEYS = ("sweep", "store", "out", "progress", "format")
"""Settings that have an effect when the searches are finished."""


def compare_sweep(settings: Settings, sweep: str, out: str | None, output: str) -> int:
    """Compare the finished searches of a sweep.

    Args:
        settings: Settings of `nas compare`.
        sweep: Name of the sweep.
        out: Folder of the report; None: a folder of this name below `comparisons/`.
        output: `table` or `json`.

    Returns:
        The exit code.

    Raises:
        UsageError: The store has no such sweep, none of its searches is finished, or a setting has no effect.
    """
    for argument in settings.arguments:
        if argument.partition("=")[0].partition(".")[0] not in ALLOWED_KEYS:
            raise UsageError(f"{argument} has no effect with sweep=, whose searches are finished; leave it out")
    store: Store = settings.make("store")
    found = [store.status(run.name) for run in runs_of_sweep(sweep, store.runs())]
    finished = {status.run.name: status for status in found if status.state == "finished"}
    _print_left_out([status for status in found if status.state != "finished"])
    groups = grouped([status.run for status in finished.values()])
    if not groups:
        raise UsageError(f"sweep {sweep!r} has no finished search; run its command again to resume it")
    base = Path(out).expanduser() if out is not None else run_folder("comparisons", sweep)
    documents = []
    for group in groups:
        folder = base if len(groups) == 1 else base / group.name
        report = _report(settings, store, group, finished, folder)
        if output == "json":
            documents.append(json.loads((folder / "summary.json").read_text(encoding="utf-8")))
        else:
            print_comparison(report, folder)
    if output == "json":
        print_json(documents[0] if len(documents) == 1 else documents)
    return 0


def print_comparison(report: Report, folder: Path) -> None:
    """Print the table of a comparison and name its files."""
    head, rows = terminal_table(report)
    print_table(report.headline, head, rows, text=("strategy",))
    print(f"Written to {folder}/: summary.md (statistics), anytime.png (curves), runs.csv, summary.json")


def _report(
    settings: Settings, store: Store, group: SearchGroup, finished: dict[str, RunStatus], folder: Path
) -> Report:
    """Write the report of one group."""
    objective = group.runs[0].objective
    evaluator = _reporting_evaluator(settings, group)
    reporter = None if evaluator is None else reporter_of(evaluator)
    results: list[RunResult] = []
    for run in group.runs:
        result = search_result(
            run, group.labels[run.name], store.trials(run.name), finished[run.name].seconds, reporter
        )
        if result is not None:
            results.append(result)
    if not results:
        raise UsageError(f"none of the searches of {group.name} has a completed trial; nas runs lists them")
    command = shlex.join(
        ["nas", *config_dir_arguments(settings.config_dir), "compare", *shown_arguments(settings.arguments)]
    )
    remarks = {
        "command": command,
        "searches": f"{plural(len(results), 'finished run')} of the store, compared without running anything",
    }
    return write_report(folder, results, columns(evaluator, objective, results), remarks)


def _reporting_evaluator(settings: Settings, group: SearchGroup) -> Evaluator | None:
    """The evaluator of searches on a benchmark table, which reports what they could not see; None for others."""
    run = group.runs[0]
    if run.evaluation.table is None or run.evaluation.shared_weights is not None:
        return None
    arguments = search_arguments(run, settings.config_dir)
    if arguments is None:
        return None
    try:
        own = compose("search", arguments, settings.config_dir)
        evaluator: Evaluator = own.make("evaluator", space=own.make("space"))
        with locked_test_set():
            evaluator.protocol()  # type: ignore[attr-defined]
    except UserError as error:
        print(f"nas: warning: the objective is compared, since the table cannot be read: {error}", file=sys.stderr)
        return None
    return evaluator


def _print_left_out(unfinished: Sequence[RunStatus]) -> None:
    if unfinished:
        named = ", ".join(f"{status.run.name} ({status.state})" for status in unfinished[:5])
        more = f" and {len(unfinished) - 5} more" if len(unfinished) > 5 else ""
        print(f"nas: warning: {plural(len(unfinished), 'unfinished run')} left out: {named}{more}", file=sys.stderr)
