"""The search that is killed, by the Python API: `python searching.py FILE.json`.

The file holds `url`, `executor` (inline, processes or ray), `workers`, `trials`, `seed`, `run`, and `acknowledged`, the
file for the numbers of acknowledged trials; optional are `address` (of a Ray cluster) and `store` (settings of the
store).
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from workload import Acknowledging, TinySpace, brief

from nas import Budget, search
from nas.engine.search import SearchResult
from nas.errors import UserError
from nas.executors.base import Executor
from nas.store.base import Store
from nas.strategies.evolution import RegularizedEvolution

READY = "searching"
"""Printed when everything is imported and the search starts."""


def executor_of(job: dict[str, Any]) -> Executor:
    if job["executor"] == "ray":
        from nas.executors.ray import RayWorkers

        return RayWorkers(job["workers"], address=job.get("address"), cpus_per_worker=1)
    from nas.executors.inline import Inline
    from nas.executors.processes import Processes

    return Processes(job["workers"]) if job["executor"] == "processes" else Inline()


def run_search(job: dict[str, Any], store: Store) -> SearchResult:
    return search(
        TinySpace(),
        partial(RegularizedEvolution, population_size=8, sample_size=3),
        brief,
        budget=Budget(trials=job["trials"], failures=None),
        seed=job["seed"],
        device="cpu",
        executor=executor_of(job),
        store=store,
        run=job["run"],
        config={"torture": True},
    )


def main(path: str) -> int:
    job = json.loads(Path(path).read_text())
    store = Acknowledging(job["url"], Path(job["acknowledged"]), **job.get("store", {}))
    print(READY, flush=True)
    try:
        run_search(job, store)  # type: ignore[arg-type]
    except UserError as error:
        print(f"nas: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
