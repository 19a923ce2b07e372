"""Run every CPU benchmark of this folder and list the rows that miss their targets.

    python scripts/bench/all.py

Exits with 1 if a row is below its target or a benchmark fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    short = []
    for script in sorted(HERE.glob("*.py")):
        if script.stem in ("all", "gpu", "million", "rows"):
            continue
        done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, end="", flush=True)
        if done.returncode != 0:
            short.append(f"{script.name} ended with exit code {done.returncode}")
        for line in done.stdout.splitlines():
            row = json.loads(line)
            if row["ratio"] < row["target"]:
                short.append(f"{row['name']}: {row['ratio']} of {row['target']}")
    print("\n".join(["falls short:", *short]) if short else "every row meets its target", file=sys.stderr)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
