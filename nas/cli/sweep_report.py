"""What a sweep prints: the list of its jobs, and how they ended."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.cli.output import print_json, print_next, print_reasons, print_table, run_folder
from nas.cli.rerun import config_dir_arguments, store_arguments
from nas.config.settings import Settings
from nas.formatting import plural
from nas.launchers.base import LOG, Job, JobResult
from nas.store.base import RunStatus


@dataclass(frozen=True)
class Outcome:
    """How a job of a sweep ended.

    Args:
        job: The job.
        result: How its command ended; None if it did not run.
        run: Name of its run; None if it is not a search.
        status: Where the run stands; None if it has no trial.
        earlier: Whether it was done before this session.
    """

    job: Job
    result: JobResult | None
    run: str | None
    status: RunStatus | None
    earlier: bool

    @property
    def done(self) -> bool:
        return self.result is not None and self.result.done

    @property
    def state(self) -> str:
        if self.result is None:
            return "not run"
        if self.result.done:
            return "done before" if self.earlier else "done"
        return "interrupted" if self.result.interrupted else "failed"


def print_jobs(name: str, jobs: Sequence[Job], output: str) -> None:
    """Print the jobs of a sweep and run nothing.

    Args:
        name: Name of the sweep.
        jobs: Its jobs.
        output: `table` or `json`.
    """
    commands = [shlex.join(["nas", *job.words]) for job in jobs]
    if output == "json":
        listed = [{"job": job.name, "command": command} for job, command in zip(jobs, commands, strict=True)]
        print_json({"sweep": name, "jobs": listed})
        return
    print(f"sweep {name}: {plural(len(jobs), 'job')}")
    for command in commands:
        print(f"  {command}")


def print_summary(
    name: str, folder: Path, outcomes: Sequence[Outcome], *, rerun: str, settings: Settings, output: str
) -> None:
    """Print how the jobs of a sweep ended, and the commands that follow.

    Args:
        name: Name of the sweep.
        folder: Folder of its files.
        outcomes: One for each job.
        rerun: The command that resumes it.
        settings: Settings of a job, which name the store.
        output: `table` or `json`.
    """
    if output == "json":
        print_json({"sweep": name, "jobs": [_row(outcome) for outcome in outcomes]})
        return
    unfinished = [outcome for outcome in outcomes if not outcome.done]
    columns = ["job", "state", "trials", "failed", "best", "seconds"]
    rows = []
    for outcome in outcomes:
        status, result = outcome.status, outcome.result
        rows.append(
            [
                outcome.job.name,
                outcome.state,
                "" if status is None else str(status.trials),
                "" if status is None else str(status.failed),
                "" if status is None or status.score is None else f"{_value(status):.4f}",
                "" if result is None else f"{result.seconds:.1f}",
            ]
        )
    filled = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    print_table(
        f"sweep {name}: {len(outcomes) - len(unfinished)} of {plural(len(outcomes), 'job')} done",
        [columns[index] for index in filled],
        [[row[index] for index in filled] for row in rows],
        text=("job", "state"),
        keys=("job",),
    )
    reasons = [(one.job.name, f"{one.state}: {one.result.reason}") for one in unfinished if one.result is not None]
    print_reasons("job", reasons, "the logs have them all")
    if reasons:
        print(f"log of job {reasons[0][0]}: {run_folder(str(folder), reasons[0][0]) / LOG}\n")
    if outcomes[0].run is None and len(unfinished) < len(outcomes):
        print(f"The results are in {folder}")
    commands = [(rerun, "run the unfinished jobs again")] if unfinished else []
    if commands := [*commands, *_reading_commands(name, outcomes, settings)]:
        print_next(commands)


def _reading_commands(name: str, outcomes: Sequence[Outcome], settings: Settings) -> list[tuple[str, str]]:
    """Commands that read the runs of a sweep, each with a note; only those that find something."""
    statuses = [outcome.status for outcome in outcomes if outcome.status is not None]
    nas, rest = ["nas", *config_dir_arguments(settings.config_dir)], [f"sweep={name}", *store_arguments(settings)]
    commands = []
    if any(status.trials for status in statuses):
        commands.append((shlex.join([*nas, "leaderboard", *rest]), "all trials, comparable ones together"))
    if any(status.state == "finished" for status in statuses):
        commands.append((shlex.join([*nas, "compare", *rest]), "statistics and curves of the finished searches"))
    return commands


def _value(status: RunStatus) -> float:
    """The best objective as the evaluator measured it."""
    assert status.score is not None
    return status.score if status.run.objective.direction == "maximize" else -status.score


def _row(outcome: Outcome) -> dict[str, Any]:
    result, status = outcome.result, outcome.status
    facts: dict[str, Any] = {"job": outcome.job.name, "state": outcome.state, "run": outcome.run}
    if status is not None:
        facts |= {"trials": status.trials, "failed": status.failed, "best": status.best}
        facts["value"] = None if status.score is None else _value(status)
    if result is not None:
        facts |= {key: value for key, value in asdict(result).items() if key in ("code", "seconds", "reason")}
        facts["result"] = _parsed(result.output)
    return facts | {"folder": str(outcome.job.folder)}


def _parsed(output: str) -> Any:
    """The JSON document that a job printed, or its text."""
    try:
        return json.loads(output)
    except ValueError:
        return output
