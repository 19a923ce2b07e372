"""The long form of the torture: `python tests/torture/long.py --out FOLDER [--seconds N] [--only NAME …]`.

It prints a line for each scenario, and writes `torture.json`, `torture.csv` and `torture.md` to the folder after each.
Started again, it does only what is missing. Scenarios without what they need (root, Ray, a PostgreSQL server) are left
out, and named.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent), str(FOLDER.parent.parent)]

from counts import COUNTED, Counts, Result  # noqa: E402
from damage import KINDS as DAMAGES  # noqa: E402
from damage import damage_stores  # noqa: E402
from full_disk import KINDS as DISKS  # noqa: E402
from full_disk import can_mount, fill_disk  # noqa: E402
from kills import kill_searches  # noqa: E402
from malformed import KINDS as INPUTS  # noqa: E402
from malformed import try_inputs  # noqa: E402
from writers import write_at_once  # noqa: E402

HEADINGS = {"lost": "trials lost", "doubled": "doubled", "unopened": "stores unopened", "hangs": "hangs",
            "orphans": "orphans", "tracebacks": "tracebacks", "different": "different"}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """One scenario.

    Args:
        name: For `--only`, and in the results.
        times: How often it is done in all.
        run: Does it, given a folder, how often, and for how many seconds at most.
    """

    name: str
    times: int
    run: Callable[[Path, int, float], Result]


def scenarios(kills: int) -> list[Scenario]:
    """All scenarios, the quick ones first."""
    found = [
        Scenario("writers-sqlite", 8000, lambda folder, _, __: write_at_once(folder, 8, 1000)),
        Scenario("writers-postgresql", 8000, _on_server(_write_to_server)),
        *(Scenario(f"postgresql-{how}", 30, _on_server(_disturbing(how))) for how in ("cut", "restart", "crash")),
        *(Scenario(f"damage-{kind.replace(' ', '-')}", times_of(kind), _damaging(kind)) for kind in DAMAGES),
        *(Scenario(f"malformed-{kind}", 300, _trying(kind)) for kind in INPUTS),
        *(Scenario(f"disk-{kind}", {"search": 40, "retrain": 20}.get(kind, 5), _filling(kind)) for kind in DISKS),
        Scenario("kill-inline", kills, _killing("inline")),
        Scenario("kill-processes", kills, _killing("processes")),
        Scenario("kill-postgresql", kills, _on_server(_kill_on_server)),
        Scenario("kill-command", kills // 5, _killing("command")),
        Scenario("ray-node", 10, _on_ray(_lose_nodes)),
        Scenario("kill-ray", kills, _on_ray(_kill_on_ray)),
        Scenario("kill-ray-own", kills // 10, _killing("ray")),
    ]
    return found


def times_of(damage: str) -> int:
    return 1 if damage == "lost log" else 100


def _damaging(kind: str) -> Callable[[Path, int, float], Result]:
    return lambda folder, times, seconds: damage_stores(folder, kind, times, seconds=seconds)


def _trying(kind: str) -> Callable[[Path, int, float], Result]:
    return lambda folder, times, seconds: try_inputs(folder, kind, times, seed=time.time_ns() % 2**32, seconds=seconds)


def _filling(kind: str) -> Callable[[Path, int, float], Result]:
    return lambda folder, times, seconds: fill_disk(folder, kind, times, seconds=seconds)


def _killing(executor: str) -> Callable[[Path, int, float], Result]:
    return lambda folder, times, seconds: kill_searches(folder, executor, times, seconds=seconds, say=_say)


def _on_server(run: Callable[[Any, Path, int, float], Result]) -> Callable[[Path, int, float], Result]:
    def with_server(folder: Path, times: int, seconds: float) -> Result:
        from postgres import running_server

        with running_server() as server:
            return run(server, folder, times, seconds)

    return with_server


def _write_to_server(server: Any, folder: Path, times: int, seconds: float) -> Result:
    return write_at_once(folder, 8, 1000, server.url(server.database()), "PostgreSQL")


def _kill_on_server(server: Any, folder: Path, times: int, seconds: float) -> Result:
    return kill_searches(
        folder, "inline", times, seconds=seconds, say=_say, new_url=lambda: server.url(server.database())
    )


def _disturbing(how: str) -> Callable[[Any, Path, int, float], Result]:
    from servers import disturb

    return lambda server, folder, times, seconds: disturb(server, folder, how, times, seconds=seconds)


def _on_ray(run: Callable[[Any, Path, int, float], Result]) -> Callable[[Path, int, float], Result]:
    def with_cluster(folder: Path, times: int, seconds: float) -> Result:
        from nodes import cluster_of

        with cluster_of(2) as nodes:
            return run(nodes, folder, times, seconds)

    return with_cluster


def _lose_nodes(nodes: Any, folder: Path, times: int, seconds: float) -> Result:
    from nodes import lose_nodes

    return lose_nodes(nodes, folder, times, seconds=seconds)


def _kill_on_ray(nodes: Any, folder: Path, times: int, seconds: float) -> Result:
    return kill_searches(
        folder, "ray", times, seconds=seconds, say=_say, left_workers=nodes.left_workers, address=nodes.address
    )


def missing(name: str) -> str | None:
    """What a scenario needs and this machine lacks."""
    import importlib.util

    if name.startswith("disk") and not can_mount():
        return "root, to mount a small disk"
    if "ray" in name and importlib.util.find_spec("ray") is None:
        return "Ray"
    return None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def read(path: Path) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text()) if path.exists() else {}


def add(results: dict[str, dict[str, Any]], name: str, result: Result, seconds: float) -> dict[str, Any]:
    """Add what was done to what earlier calls did."""
    row = results.setdefault(name, {"scenario": result.scenario, "times": 0, **dict.fromkeys(COUNTED, 0),
                                    "seconds": 0.0, "details": [], "notes": []})  # fmt: skip
    row["times"] += result.times
    for counted, number in result.counts.numbers().items():
        row[counted] += number
    row["seconds"] = round(row["seconds"] + seconds, 1)
    row["details"].append(result.details)
    row["notes"] += result.counts.notes[:20]
    return row


def write(results: dict[str, dict[str, Any]], out: Path) -> None:
    """Write the results as JSON, CSV and a table in Markdown."""
    (out / "torture.json").write_text(json.dumps(results, indent=1) + "\n")
    with (out / "torture.csv").open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["name", "scenario", "times", *COUNTED, "seconds", "details"])
        for name, row in results.items():
            numbers = [row[counted] for counted in COUNTED]
            lines.writerow([name, row["scenario"], row["times"], *numbers, row["seconds"], "; ".join(row["details"])])
    head = ["scenario", "times", *HEADINGS.values(), "seconds", "in detail"]
    table = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in results.values():
        cells = [row["scenario"], f"{row['times']:,}", *(str(row[counted]) for counted in COUNTED)]
        cells += [f"{row['seconds']:.0f}", "; ".join(row["details"])]
        table.append(f"| {' | '.join(cells)} |")
    (out / "torture.md").write_text("\n".join(table) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seconds", type=float, default=7200.0, help="time after which nothing more is started")
    parser.add_argument("--kills", type=int, default=100, help="kills with each executor")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of scenarios, or how they begin")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    end = time.monotonic() + options.seconds
    results = read(options.out / "torture.json")
    for scenario in scenarios(options.kills):
        if options.only and not scenario.name.startswith(tuple(options.only)):
            continue
        left = scenario.times - results.get(scenario.name, {}).get("times", 0)
        if left <= 0 or time.monotonic() >= end:
            continue
        if need := missing(scenario.name):
            _say(f"{scenario.name}: left out, since it needs {need}")
            continue
        folder, started = Path(tempfile.mkdtemp(prefix="torture-")), time.monotonic()
        try:
            result = scenario.run(folder, left, end - started)
        except Exception as error:  # noqa: BLE001 (the others still run; it counts as a hang of this one)
            result = Result(scenario.name, 0, Counts(hangs=1, notes=[repr(error)]), "broken off")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        results = read(options.out / "torture.json")  # another process may do other scenarios
        row = add(results, scenario.name, result, time.monotonic() - started)
        write(results, options.out)
        shown = ", ".join(f"{row[counted]} {heading}" for counted, heading in HEADINGS.items())
        print(f"{scenario.name}: {row['times']:,} of {scenario.times:,}; {shown}", flush=True)
    return 0 if all(row[counted] == 0 for row in results.values() for counted in COUNTED) else 1


if __name__ == "__main__":
    sys.exit(main())
