"""Time and size of the report of a run of 10,000 trials.

python experiments/fit/report_size.py        # a minute, most of it for the search
python experiments/fit/report_size.py 100000 # a larger run

The run is a real search on the table of NAS-Bench-201 that is part of cellnas, in a temporary folder. The time is that
of the whole command, from the start of its process to its end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRIALS = 10_000
TIMES = 3
"""How often the report is written; the median counts."""
SEARCH = ["search", "evaluator=table", "table=cifar10_8x8", "strategy=regularized_evolution", "run=r", "progress=false"]


def nas(*arguments: str, folder: Path) -> float:
    """Run `nas …` and return its seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "nas", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        nas(*SEARCH, f"budget.trials={trials}", folder=folder)
        seconds = sorted(nas("report", "run=r", folder=folder) for _ in range(TIMES))
        size = (folder / "report.html").stat().st_size
    facts = {
        "trials": trials,
        "seconds": round(seconds[TIMES // 2], 2),
        "all_seconds": [round(one, 2) for one in seconds],
        "bytes": size,
        "load_before": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
