"""Several processes that write one store at once."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from counts import Counts, Result, compared
from processes import Started
from workload import acknowledged
from writing import write

from nas.errors import UserError
from nas.store.by_url import store_at
from nas.store.memory import MemoryStore

SCRIPT = Path(__file__).with_name("writing.py")
END_SECONDS = 300.0


def write_at_once(folder: Path, writers: int, trials: int, url: str | None = None, name: str = "SQLite") -> Result:
    """Start all writers, each with a run of its own, and compare their trials with those of a store in memory.

    Args:
        folder: Empty folder.
        writers: Number of processes.
        trials: Number of trials that each writes.
        url: URL of the store; None: an SQLite file in the folder.
        name: What the table calls the store.
    """
    url = url or f"sqlite:///{folder}/nas.db"
    counts = Counts()
    with ExitStack() as stack:
        started = []
        for number in range(writers):
            (folder / f"run-{number}").mkdir()
            arguments = [str(SCRIPT), url, f"run-{number}", str(trials), str(number), "acknowledged"]
            started.append(Started(arguments, folder / f"run-{number}"))
            stack.callback(started[-1].close)
        for number, writer in enumerate(started):
            if not writer.ended_within(END_SECONDS):
                counts.hangs += 1
                counts.notes.append(f"hang: writer {number} did not end within {END_SECONDS:g} s")
                writer.kill()
            errors = writer.errors.read_text()
            if "Traceback" in errors:
                counts.tracebacks += 1
                counts.notes.append(errors)
            counts.orphans += len(writer.orphans())
            known = acknowledged(folder / f"run-{number}" / "acknowledged")
            whole = write(MemoryStore(), f"run-{number}", trials, number).trials
            try:
                stored = store_at(url).trials(f"run-{number}")
            except UserError as error:
                counts.unopened += 1
                counts.lost += len(known)
                counts.notes.append(str(error))
                continue
            counts += compared(stored, whole, known)
            if len(stored) != trials:
                counts.different += abs(len(stored) - trials)
                counts.notes.append(f"run-{number} has {len(stored)} trials instead of {trials}: {errors}")
    return Result(f"{writers} writers of one store, {name}", writers * trials, counts, f"{trials} trials each")
