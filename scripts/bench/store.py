"""The store: durable trials against Optuna's storages, and a run of 1,000,000 trials.

    python scripts/bench/store.py [durable|resume|leaderboard]

`store/durable-*` are whole searches with an evaluator that does nothing, ours and Optuna's by turns on one disk; each
side synchronises what it stores to the disk. `store/resume-1m` is the time from the command that continues a run of
1,000,000 trials to its first new trial, on the disk. `store/leaderboard-1m` is the first ten trials of that run as a
command, `-memory` the most memory that it takes, and `-grouped` the first ten architectures. Needs PyPI for the first
installation of Optuna (`.bench/`).
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from loop import rate
from million import RUN, TRIALS, arguments, build
from peers.environment import CACHE, run_driver
from rows import Row

from nas.store.sqlite import SQLiteStore

ROUNDS, LEADERBOARD_ROUNDS = 3, 5
PEERS = (("sqlite", 20.0, 30), ("journal", 3.0, 150))
"""Kind of Optuna's storage, smallest allowed ratio, and trials of a round."""
STRATEGIES = ("random", "regularized_evolution")
PATIENCE = 600


def durable(folder: Path) -> None:
    """Rows `store/durable-optuna-*`."""
    for kind, target, trials in PEERS:
        ours, theirs = [], []
        for number in range(ROUNDS):
            ours.append(rate(1_500, SQLiteStore(f"sqlite:///{folder}/{kind}-{number}.db")))
            peer = run_driver("optuna_storage", kind, f"{folder}/optuna-{number}.{kind}", str(trials))
            theirs.append(peer["trials"] / peer["seconds"])
        note = (
            f"searches without work, 1,500 and {trials} trials, all synchronised to the disk; Optuna {peer['version']}"
        )
        name = f"store/durable-optuna-{kind}"
        yardstick = statistics.median(theirs)
        Row(name, statistics.median(ours), yardstick, "trials/s", target, note=f"{note}; median of {ROUNDS}").show()


def resume(folder: Path) -> None:
    """Row `store/resume-1m`."""
    measured = {}
    for strategy in STRATEGIES:
        path = folder / f"{strategy}.db"
        build(path, strategy=strategy)
        measured[strategy] = first_new_trial(path, strategy)
        path.unlink()
    seconds = max(seconds for seconds, _ in measured.values())
    each = ", ".join(f"{name} {seconds:.1f} s with {memory:.0f} MB" for name, (seconds, memory) in measured.items())
    note = f"nas search on the NAS-Bench-201 table, start of Python and the first new trial included: {each}"
    Row("store/resume-1m", seconds, 60.0, "s", target=1.0, more_is_better=False, note=note).show()


def first_new_trial(path: Path, strategy: str) -> tuple[float, float]:
    """Seconds until a resumed run has stored a new trial, and the memory that it took by then, in MB."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "nas", *arguments(path, TRIALS + 1_000_000, strategy)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with closing(sqlite3.connect(path)) as connection:
            wanted = "SELECT 1 FROM trials WHERE run = ? AND number = ?"
            while not connection.execute(wanted, (RUN, TRIALS)).fetchone():
                if process.poll() is not None or time.perf_counter() - started > PATIENCE:
                    raise RuntimeError(f"`{' '.join(command)}` stored no new trial (exit code {process.poll()})")
                time.sleep(0.05)
        seconds = time.perf_counter() - started
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return seconds, next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    finally:
        process.kill()
        process.wait()


def leaderboard(folder: Path) -> None:
    """Rows `store/leaderboard-1m*`."""
    path = folder / "leaderboard.db"
    build(path)
    for name, goal, more in (("", 1.5, []), ("-grouped", 5.0, ["group=true"])):
        command = [sys.executable, "-m", "nas", "leaderboard", f"run={RUN}", f"store.url=sqlite:///{path}", *more]
        measured(command)  # the first reads the file from the disk
        rounds = [measured(command) for _ in range(LEADERBOARD_ROUNDS)]
        note = f"`nas leaderboard run=R {' '.join(more)}`".replace(" `", "`")
        note += f" of 1,000,000 trials in SQLite, top 10; median of {LEADERBOARD_ROUNDS}"
        seconds = statistics.median(seconds for seconds, _ in rounds)
        Row(f"store/leaderboard-1m{name}", seconds, goal, "s", target=1.0, more_is_better=False, note=note).show()
        if not more:
            memory = max(memory for _, memory in rounds)
            note = "peak resident memory of the same command"
            Row("store/leaderboard-1m-memory", memory, 200.0, "MB", target=1.0, more_is_better=False, note=note).show()


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MB of a command."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed")
    return seconds, used.ru_maxrss * 1024 / 1e6  # Linux counts KiB


MEASUREMENTS: dict[str, Callable[[Path], None]] = {"durable": durable, "resume": resume, "leaderboard": leaderboard}


def main() -> None:
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:  # the disk of the project, not a memory file system
        for name in sys.argv[1:] or MEASUREMENTS:
            MEASUREMENTS[name](Path(folder))


if __name__ == "__main__":
    main()
