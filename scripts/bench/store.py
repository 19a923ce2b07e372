"""The store: durable trials against Optuna's storages, and a run of 1,000,000 trials.

    python scripts/bench/store.py [durable|resume]

`store/durable-*` are whole searches with an evaluator that does nothing, ours and Optuna's by turns on one disk; each
side synchronises what it stores to the disk. `store/resume-1m` is the time from the command that continues a run of
1,000,000 trials to its first new trial, on the disk. Needs PyPI for the first installation of Optuna (`.bench/`).
"""

from __future__ import annotations

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
from peers.environment import run_driver
from rows import Row

from nas.store.sqlite import SQLiteStore

ROUNDS = 3
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


MEASUREMENTS: dict[str, Callable[[Path], None]] = {"durable": durable, "resume": resume}


def main() -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # the disk of the project, not a memory file system
        for name in sys.argv[1:] or MEASUREMENTS:
            MEASUREMENTS[name](Path(folder))


if __name__ == "__main__":
    main()
