"""The leaderboard of a run of 1,000,000 trials in SQLite, each time as a whole command.

    python scripts/bench/leaderboard.py [STORE]

Rows `store/leaderboard-1m` (yardstick 1.5 s) and `store/leaderboard-1m-memory` (200 MB at most at once) for the first
ten trials, and `store/leaderboard-1m-grouped` (5 s) for the first ten architectures. STORE is a file that million.py
has made; without it one is made for the time of the benchmark.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import million
from rows import Row

ROUNDS = 5


def measured(store: Path, *arguments: str) -> tuple[float, float]:
    """Seconds and peak memory in MB of one `nas leaderboard`."""
    words = [
        sys.executable,
        "-m",
        "nas",
        "leaderboard",
        f"run={million.RUN}",
        f"store.url=sqlite:///{store}",
        *arguments,
    ]
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        raise SystemExit(f"{' '.join(words)} failed")
    return seconds, used.ru_maxrss * 1024 / 1e6  # Linux counts KiB


def show(store: Path) -> None:
    """Measure and print the rows."""
    measured(store)  # the first reads the file from the disk
    plain = [measured(store) for _ in range(ROUNDS)]
    grouped = [measured(store, "group=true") for _ in range(ROUNDS)]
    note = f"nas leaderboard run=R of a run of {million.TRIALS:,} trials in SQLite, top 10; median of {ROUNDS}"
    seconds = statistics.median(one for one, _ in plain)
    Row("store/leaderboard-1m", seconds, 1.5, "s", target=1.0, more_is_better=False, note=note).show()
    memory = max(one for _, one in plain)
    note = "peak resident memory of the same command"
    Row("store/leaderboard-1m-memory", memory, 200, "MB", target=1.0, more_is_better=False, note=note).show()
    seconds = statistics.median(one for one, _ in grouped)
    note = f"the same with group=true: one row for each architecture; median of {ROUNDS}"
    Row("store/leaderboard-1m-grouped", seconds, 5, "s", target=1.0, more_is_better=False, note=note).show()


def main() -> None:
    if len(sys.argv) > 1:
        show(Path(sys.argv[1]).absolute())
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        store = Path(folder) / "million.db"
        million.build(store)
        show(store)


if __name__ == "__main__":
    main()
