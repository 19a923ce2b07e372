"""Files of a store that are cut off, overwritten or missing, as after a failure of the disk."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from commands import Ran, run_here
from counts import Counts, Result, facts
from writing import write

from nas.core import Trial
from nas.errors import UserError
from nas.store.by_url import store_at

TRIALS = 120
RUN = "one"
CHECKPOINTED = 40
"""Trials of the main file; the others are in the log only."""
WAL_HEADER, FRAME_HEADER = 32, 24
"""Bytes of the log's header, and of the one before each page of it (https://sqlite.org/fileformat2.html)."""


def stored(folder: Path) -> list[Trial]:
    """Write a store whose later trials are in its log, as after a kill; returns its trials."""
    path = folder / "nas.db"
    write(store_at(f"sqlite:///{path}"), RUN, CHECKPOINTED, 0)
    # a reader that stays keeps the writer from emptying the log when it closes
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM trials").fetchone()
    write(store_at(f"sqlite:///{path}"), RUN, TRIALS, 0)
    copy = folder / "copy"
    copy.mkdir()
    for name in ("nas.db", "nas.db-wal"):
        shutil.copy(folder / name, copy / name)
    reader.close()
    trials = store_at(f"sqlite:///{path}").trials(RUN)
    for name in ("nas.db", "nas.db-wal", "nas.db-shm"):
        (folder / name).unlink(missing_ok=True)
    for name in ("nas.db", "nas.db-wal"):
        (copy / name).rename(folder / name)
    copy.rmdir()
    return trials


def truncate_log(folder: Path, moment: random.Random) -> int:
    """Cut the log off anywhere; returns the least number of trials that must be left."""
    path = folder / "nas.db-wal"
    with path.open("r+b") as file:
        file.truncate(moment.randrange(path.stat().st_size))
    return CHECKPOINTED


def flip_in_log(folder: Path, moment: random.Random) -> int:
    """Overwrite bytes of the log, of which each page has a checksum."""
    _overwrite(folder / "nas.db-wal", moment, moment.choice([1, 8, 512]))
    return CHECKPOINTED


def lose_log(folder: Path, moment: random.Random) -> int:
    (folder / "nas.db-wal").unlink()
    return CHECKPOINTED


def truncate_main(folder: Path, moment: random.Random) -> int:
    path = folder / "nas.db"
    with path.open("r+b") as file:
        file.truncate(moment.randrange(path.stat().st_size))
    return 0


def flip_page(folder: Path, moment: random.Random) -> int:
    """Overwrite a whole page of the main file with zeros or random bytes."""
    path = folder / "nas.db"
    page = moment.randrange(path.stat().st_size // 4096)
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(bytes(4096) if moment.random() < 0.5 else moment.randbytes(4096))
    return 0


def flip_bytes(folder: Path, moment: random.Random) -> int:
    """Overwrite a few bytes of the main file, after the log was taken over."""
    with sqlite3.connect(folder / "nas.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    for _ in range(moment.randint(1, 4)):
        _overwrite(folder / "nas.db", moment, moment.choice([1, 2, 16]))
    return 0


def _overwrite(path: Path, moment: random.Random, count: int) -> None:
    with path.open("r+b") as file:
        file.seek(moment.randrange(path.stat().st_size - count))
        file.write(moment.randbytes(count))


KINDS: dict[str, Callable[[Path, random.Random], int]] = {
    "truncated log": truncate_log,
    "damaged log": flip_in_log,
    "lost log": lose_log,
    "truncated main file": truncate_main,
    "damaged page": flip_page,
    "damaged bytes": flip_bytes,
}
COMMANDS = (
    ["leaderboard", f"run={RUN}", "top=0"],
    ["runs"],
    ["show", f"run={RUN}", "trial=3"],
    ["store", "check", "out=saved.db"],
    ["store", "export", "out=runs.jsonl"],
)
"""What a user would try on such a store."""


def damage_stores(folder: Path, kind: str, times: int, *, seed: int | None = None, seconds: float = 3600.0) -> Result:
    """Damage copies of a store, and look at each with the library and with commands.

    A store whose log is damaged opens with the trials before the damage. Of one whose main file is damaged the trials
    that can be read must be those that were stored; SQLite has no checksums in that file, so a byte inside a value may
    go unnoticed, which is not counted.

    Args:
        folder: Empty folder.
        kind: A key of `KINDS`.
        times: Number of copies.
        seed: Of the damage; None: another one each time.
        seconds: Time after which no further copy is damaged.
    """
    moment, counts, started = random.Random(seed), Counts(), time.monotonic()
    original = folder / "original"
    original.mkdir()
    trials = stored(original)
    refused = done = 0
    for number in range(times):
        if time.monotonic() - started > seconds:
            break
        done += 1
        home = folder / f"copy-{number}"
        shutil.copytree(original, home)
        least = KINDS[kind](home, moment)
        ran: list[Ran] = []
        try:
            left = store_at(f"sqlite:///{home}/nas.db").trials(RUN)
        except UserError:
            refused += 1
            if least:
                counts.unopened += 1
                counts.notes.append(f"{kind} {number}: it does not open")
        except Exception as error:  # noqa: BLE001 (it is counted)
            counts.tracebacks += 1
            counts.notes.append(f"{kind} {number}: {error!r}")
        else:
            counts.lost += max(0, least - len(left))
            if least and [*map(facts, left)] != [*map(facts, trials[: len(left)])]:
                counts.different += 1
                counts.notes.append(f"{kind} {number}: {len(left)} trials, which are not the first ones stored")
        for command in COMMANDS:
            ran.append(run_here(home, *command))
            counts += ran[-1].check(0, 1, 2)
        shutil.rmtree(home)
    return Result(f"store, {kind}", done, counts, f"{refused} refused in one sentence")
