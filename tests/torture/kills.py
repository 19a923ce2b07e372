"""Searches that are killed with SIGKILL at random moments, and started again."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from counts import Counts, Result, compared
from processes import START_SECONDS, Started
from searching import READY
from workload import acknowledged, write_parts

from nas.core import Trial
from nas.errors import UserError
from nas.store.base import NoStore
from nas.store.by_url import store_at

SCRIPT = Path(__file__).with_name("searching.py")
WINDOWS = {"inline": 0.8, "processes": 2.0, "ray": 12.0, "command": 15.0}
"""Seconds within which half of the sessions are killed: after the imports, while workers start; for a command after
its start."""
AMID_SECONDS = 0.5
"""Seconds after the first trial of a session within which the other half is killed."""
END_SECONDS = 120.0
"""Time within which a search that is not killed must end."""
MAX_KILLS = 8
"""Kills of one search, before it may end."""


class Search:
    """A search that can be killed and started again, until it has all its trials."""

    def __init__(self, folder: Path, executor: str, trials: int, url: str | None = None, **more: Any) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.url = url or f"sqlite:///{folder}/nas.db"
        self.file = folder / "acknowledged"
        workers = 1 if executor in ("inline", "command") else 2
        self.job = {"url": self.url, "executor": executor, "workers": workers, "trials": trials, "seed": 7,
                    "run": folder.name, "acknowledged": str(self.file), **more}  # fmt: skip
        (folder / "job.json").write_text(json.dumps(self.job))

        if executor == "command":
            write_parts(folder)

    def start(self) -> Started:
        if self.job["executor"] == "command":
            return Started(["-m", "nas", *self.command()], self.folder, str(SCRIPT.parent))
        return Started([str(SCRIPT), "job.json"], self.folder)

    def command(self) -> list[str]:
        """The search as a command line."""
        return [
            "search", "--config-dir", "conf", "space=tiny", "evaluator=brief", "store=acknowledging", "device=cpu",
            f"budget.trials={self.job['trials']}", "budget.failures=null", f"run={self.folder.name}", "progress=false",
        ]  # fmt: skip

    def has_stored_another(self, session: Started) -> bool:
        """Wait until the running session has stored a trial, or has ended."""
        before = len(acknowledged(self.file))
        deadline = time.monotonic() + START_SECONDS
        while len(acknowledged(self.file)) == before and time.monotonic() < deadline:
            if session.ended_within(0.01):
                return False
        return True

    def trials(self) -> list[Trial]:
        """What the store holds, read by this process; no trials if the search was killed before its first one."""
        try:
            return store_at(self.url).trials(self.job["run"])
        except NoStore:
            return []

    def check(self, session: Started, whole: list[Trial]) -> Counts:
        """Count what went wrong in a session that has ended, in whatever way."""
        counts = Counts()
        orphans = session.orphans()
        counts.orphans = len(orphans)
        counts.notes += [f"orphan: {line}" for line in orphans]
        errors = session.errors.read_text(errors="replace")
        if "Traceback" in errors:
            counts.tracebacks += 1
            counts.notes.append(errors)
        known = acknowledged(self.file)
        try:
            counts += compared(self.trials(), whole, known)
        except UserError as error:
            if known or "is empty" not in str(error):
                counts.unopened += 1
                counts.lost += len(known)
                counts.notes.append(str(error))
        session.close()
        return counts

    def finish(self, whole: list[Trial]) -> Counts:
        """Run the search to its end."""
        return self.check_end(self.start(), whole)

    def check_end(self, session: Started, whole: list[Trial]) -> Counts:
        """Count what went wrong in a session that must end by itself with all trials."""
        counts = Counts()
        if not session.ended_within(END_SECONDS):
            counts.hangs += 1
            counts.notes.append(f"hang: a search did not end within {END_SECONDS:g} s")
            session.kill()
        elif session.process.returncode:
            counts.unopened += 1
            counts.notes.append(f"exit code {session.process.returncode}: {session.errors.read_text()}")
        counts += self.check(session, whole)
        missing = len(whole) - len(self.trials())
        if missing:
            counts.different += abs(missing)
            counts.notes.append(f"{len(self.trials())} trials at the end instead of {len(whole)}")
        return counts


def uninterrupted(folder: Path, executor: str, trials: int, url: str | None = None, **more: Any) -> list[Trial]:
    """The trials of a search that nothing disturbs."""
    search = Search(folder, executor, trials, url, **more)
    session = search.start()
    ended = session.ended_within(END_SECONDS)
    errors = session.errors.read_text()
    session.close()
    assert ended, f"it did not end within {END_SECONDS:g} s: {errors}"
    assert session.process.returncode == 0, errors
    return search.trials()


def kill_searches(
    folder: Path,
    executor: str,
    kills: int,
    *,
    trials: int = 150,
    seed: int | None = None,
    seconds: float = 3600.0,
    left_workers: Callable[[], int] = lambda: 0,
    new_url: Callable[[], str] | None = None,
    say: Callable[[str], None] = lambda _: None,
    **more: Any,
) -> Result:
    """Kill searches at random moments, start them again, and finish them.

    Args:
        folder: Empty folder for them.
        executor: `inline`, `processes` or `ray`, the last two with two workers, by the Python API and without torch,
            whose import would take nine tenths of a session; or `command`, for `nas search` itself.
        kills: Number of sessions to kill.
        trials: Number of trials of each search.
        seed: Of the moments; None: another one each time.
        seconds: Time after which no further session starts.
        left_workers: Counts the workers of a running cluster that a killed search left behind.
        new_url: Gives the URL of a new database for each search; None: SQLite files.
        say: Called with a line of progress after each search.
        more: Further entries of the job.
    """
    moment, started = random.Random(seed), time.monotonic()
    counts, killed, searches, amid = Counts(), 0, 0, 0
    whole = uninterrupted(folder / "whole", "processes" if executor == "ray" else executor, trials)
    while killed < kills and time.monotonic() - started < seconds:
        searches += 1
        search = Search(folder / f"search-{searches}", executor, trials, new_url and new_url(), **more)
        for _ in range(min(MAX_KILLS, kills - killed)):
            session = search.start()
            if executor != "command" and not session.wait_for(READY):
                counts.hangs += 1
                counts.notes.append(f"hang: a session did not start within {START_SECONDS:g} s")
            window = WINDOWS[executor]
            if moment.random() < 0.5 and search.has_stored_another(session):
                window = AMID_SECONDS
            if session.ended_within(moment.uniform(0.0, window)):
                counts += search.check(session, whole)
                break
            session.kill()
            killed += 1
            amid += 0 < len(acknowledged(search.file)) < trials
            counts += search.check(session, whole)
            counts.orphans += left_workers()
        counts += search.finish(whole)
        say(f"{executor}: {killed} of {kills} kills, {searches} searches, {counts.numbers()}")
    details = f"{amid} of them between the first and the last trial; {searches} searches of {trials} trials"
    names = {"inline": "executor=inline", "command": "nas search"}
    name = f"SIGKILL, {names.get(executor, f'executor={executor} workers=2')}"
    name += ", on a running cluster" if "address" in more else ", on PostgreSQL" if new_url else ""
    return Result(name, killed, counts, details)
