"""A fit that is killed ten times ends with the model and the report of one that is not.

    python experiments/fit/killed.py --work FOLDER [--seed N]

Runs `nas fit` on 40 drawn shapes with recorded speeds, once without interruption and once with SIGKILL at ten random
moments, and compares the weights, the result and every number of the report that is not a time. Prints the moments and
exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from safetensors.torch import load_file

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from pictures.planted import clean

KILLS = 10
SPEEDS = {
    "before": 5.0,
    "train": {
        "method=baseline;rate=1.0": 20.0,
        "method=searched;rate=1.0": 15.0,
        "method=finetuned;finetuned_side=96;tuned=all;rate=1.0": 30.0,
    },
    "run": {
        "method=baseline;rate=1.0": 400.0,
        "method=searched;rate=1.0": 300.0,
        **{f"method=frozen;side={side}": 5000 / side for side in (96, 128, 160, 224)},
    },
}
"""Of a slow machine, so that trials are short."""
TIMES = ("seconds", "train_seconds", "folder", "model", "commands")
FACT = re.compile(r'data-fact="([^"]+)"[^>]*>([^<]*)<')
TIME_FACTS = re.compile(r"second|spent|cost|time|memory|elapsed|session|date|commit|started|folder")


def command(work: Path) -> list[str]:
    words = ["fit", "data.root=photos", "minutes=1", "run=fit", f"speed={work / 'speeds.json'}"]
    return [sys.executable, "-m", "nas", *words]


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return value


def outcome(folder: Path) -> tuple[dict[str, bytes], object, dict[str, str]]:
    """Weights, result, and numbers of the report."""
    weights = {name: value.numpy().tobytes() for name, value in load_file(folder / "model/model.safetensors").items()}
    result = json.loads(next((folder / "runs").glob("*/fit/result.json")).read_text())
    facts = dict(FACT.findall((folder / "model/report.html").read_text()))
    return weights, without_times(result), {key: text for key, text in facts.items() if not TIME_FACTS.search(key)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    work = given.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    (work / "speeds.json").write_text(json.dumps({"speeds": SPEEDS}))
    for name in ("whole", "killed"):
        if not (work / name / "photos").is_dir():
            clean(work / name / "photos", each=14)
    started = time.perf_counter()
    subprocess.run(command(work), cwd=work / "whole", check=True, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    rng, kills = random.Random(given.seed), 0
    while kills < KILLS:
        process = subprocess.Popen(
            command(work), cwd=work / "killed", stderr=subprocess.DEVNULL, start_new_session=True
        )
        after = rng.uniform(2.0, 0.6 * seconds)
        try:
            process.wait(timeout=after)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            print(f"killed after {after:.1f} s", flush=True)
    subprocess.run(command(work), cwd=work / "killed", check=True, stderr=subprocess.DEVNULL)
    whole, killed = outcome(work / "whole"), outcome(work / "killed")
    for what, one, other in zip(("weights", "result", "report"), whole, killed, strict=True):
        print(f"{what}: {'equal' if one == other else 'DIFFERENT'}")
    if isinstance(whole[2], dict):
        print(f"{len(whole[2])} numbers of the report compared; {kills} kills in an uninterrupted {seconds:.0f} s")
        for key in sorted(whole[2].keys() | killed[2].keys()):
            if whole[2].get(key) != killed[2].get(key):
                print(f"  {key}: {whole[2].get(key)} / {killed[2].get(key)}")
    return int(whole != killed)


if __name__ == "__main__":
    sys.exit(main())
