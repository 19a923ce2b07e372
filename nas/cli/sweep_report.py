"""What a sweep prints: the list of its jobs, and how they ended."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.cli.output import print_json, print_table
from nas.formatting import plural
from nas.launchers.base import LOG, Job, JobResult
from nas.store.base import RunStatus

MAX_REASON = 100
"""Longest reason of a failure in the table, in characters; the log has the whole of it."""


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


def print_summary(name: str, folder: Path, outcomes: Sequence[Outcome], rerun: str, output: str) -> None:
    """Print how the jobs of a sweep ended, and the commands that follow.

    Args:
        name: Name of the sweep.
        folder: Folder of its files.
        outcomes: One for each job.
        rerun: The command that resumes it.
        output: `table` or `json`.
    """
    if output == "json":
        print_json({"sweep": name, "jobs": [_row(outcome) for outcome in outcomes]})
        return
    unfinished = [outcome for outcome in outcomes if not outcome.done]
    columns = ["job", "state", "trials", "failed", "best", "seconds", "message"]
    rows = []
    for outcome in outcomes:
        status, result = outcome.status, outcome.result
        reason = "" if result is None or result.reason is None else result.reason
        rows.append(
            [
                outcome.job.name,
                outcome.state,
                "" if status is None else str(status.trials),
                "" if status is None else str(status.failed),
                "" if status is None or status.score is None else f"{_value(status):.4f}",
                "" if result is None else f"{result.seconds:.1f}",
                reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]}…",
            ]
        )
    filled = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    print_table(
        f"sweep {name}: {len(outcomes) - len(unfinished)} of {plural(len(outcomes), 'job')} done",
        [columns[index] for index in filled],
        [[row[index] for index in filled] for row in rows],
        text=("job", "state", "message"),
        keys=("job",),
    )
    print("Next:")
    if unfinished:
        print(f"  {rerun}   # run the unfinished jobs again; messages are in {unfinished[0].job.folder / LOG}")
    if outcomes[0].run is not None:
        print(f"  {shlex.join(['nas', 'leaderboard', f'sweep={name}'])}   # all trials, comparable ones together")
        print(f"  {shlex.join(['nas', 'compare', f'sweep={name}'])}   # statistics and curves of the finished searches")
    else:
        print(f"  the results are in {folder}")


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
