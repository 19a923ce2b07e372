"""A PostgreSQL server that fails while a search writes to it."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from counts import Counts, Result
from kills import Search, uninterrupted
from postgres import Server
from processes import START_SECONDS
from searching import READY
from workload import acknowledged

TRIALS = 200
PATIENCE = 60.0
"""`store.patience` of the searches, in seconds."""


def disturb(
    server: Server, folder: Path, how: str, times: int, *, seed: int | None = None, seconds: float = 3600.0
) -> Result:
    """Disturb a server during searches, several times during each; every search must end by itself.

    Args:
        server: The server.
        folder: Empty folder.
        how: `cut` (its connections), `restart` (cleanly) or `crash` (SIGQUIT, then started again).
        times: Number of disturbances.
        seed: Of the moments; None: others each time.
        seconds: Time after which no further search starts.
    """
    moment, counts, started = random.Random(seed), Counts(), time.monotonic()
    whole = uninterrupted(folder / "whole", "inline", TRIALS)
    done = searches = 0
    while done < times and time.monotonic() - started < seconds:
        searches += 1
        database = server.database()
        settings = {"patience": PATIENCE, "unstored": str(folder / "unstored")}
        search = Search(folder / f"search-{searches}", "inline", TRIALS, server.url(database), store=settings)
        session = search.start()
        if not session.wait_for(READY):
            counts.hangs += 1
            counts.notes.append(f"hang: a session did not start within {START_SECONDS:g} s")
        while done < times and not session.ended_within(moment.uniform(0.05, 0.5)):
            if not acknowledged(search.file):
                continue
            if how == "cut":
                done += server.cut(database) > 0
            else:
                server.stop(signal.SIGQUIT if how == "crash" else signal.SIGINT)
                server.start()
                done += 1
        counts += search.check_end(session, whole)
    names = {"cut": "connections cut", "restart": "server restarted", "crash": "server crashed and started again"}
    details = f"during {searches} searches of {TRIALS} trials, none of which had to be started again"
    return Result(f"PostgreSQL, {names[how]}", done, counts, details)
