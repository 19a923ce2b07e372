"""A Ray cluster of this machine, whose nodes can be lost."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from counts import Counts, Result
from kills import Search, uninterrupted
from processes import ORPHAN_SECONDS
from searching import READY

TRIALS = 300
NODE = {"num_cpus": 2, "object_store_memory": 100 * 2**20}


class Nodes:
    """A running cluster.

    Args:
        cluster: Ray's own test cluster.
    """

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.address: str = cluster.address

    def left_workers(self) -> int:
        """CPUs that are still reserved after `ORPHAN_SECONDS` without a search, which only workers left behind have."""
        import ray

        deadline = time.monotonic() + ORPHAN_SECONDS
        while True:
            total, free = ray.cluster_resources().get("CPU", 0), ray.available_resources().get("CPU", 0)
            if total == free or time.monotonic() > deadline:
                return int(total - free)
            time.sleep(0.1)


@contextmanager
def cluster_of(count: int) -> Iterator[Nodes]:
    """A cluster with this number of nodes besides its head node, which has no room for workers."""
    from ray.cluster_utils import Cluster

    from nas.executors.ray_cluster import connect

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(count):
            cluster.add_node(**NODE)
        with connect(cluster.address):
            yield Nodes(cluster)
    finally:
        cluster.shutdown()


def lose_nodes(
    nodes: Nodes, folder: Path, times: int, *, seed: int | None = None, seconds: float = 3600.0, url: str | None = None
) -> Result:
    """Kill a node during a search and start another one, several times; the search must end by itself.

    Args:
        nodes: A cluster of two nodes besides the head.
        folder: Empty folder.
        times: Number of nodes to lose.
        seed: Of the moments; None: others each time.
        seconds: Time after which no further search starts.
        url: Store of the searches; None: an SQLite file.
    """
    moment, counts, started = random.Random(seed), Counts(), time.monotonic()
    whole = uninterrupted(folder / "whole", "processes", TRIALS)
    lost = searches = 0
    while lost < times and time.monotonic() - started < seconds:
        searches += 1
        search = Search(folder / f"search-{searches}", "ray", TRIALS, url, address=nodes.address)
        session = search.start()
        session.wait_for(READY)
        search.has_stored_another(session)
        while lost < times and not session.ended_within(moment.uniform(0.1, 1.5)):
            victim = moment.choice(list(nodes.cluster.worker_nodes))
            nodes.cluster.remove_node(victim, allow_graceful=False)
            lost += 1
            nodes.cluster.add_node(**NODE)
        counts += search.check_end(session, whole)
        counts.orphans += nodes.left_workers()
    details = f"during {searches} searches of {TRIALS} trials, compared with executor=processes"
    return Result("Ray, node lost", lost, counts, details)
