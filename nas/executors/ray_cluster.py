"""A connection to a Ray cluster: one that runs, or one of this machine that is started and stopped with it.

A cluster that is started here listens on 127.0.0.1 only, without a dashboard and without usage statistics. Ray prints
nothing: its messages would be mixed with the results on stdout.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from nas.errors import UsageError, UserError
from nas.executors.ray_address import answers, head_of, mode_restored
from nas.executors.ray_guard import guarded

LOOPBACK = "127.0.0.1"
CHECK_SECONDS = 5.0
"""Time between two looks at the head node."""
HEAD_SECONDS = 30.0
"""Time without an answer of the head node, after which the cluster is lost; Ray itself ends the process after 60 s."""
PATIENCE_SECONDS = 120.0
"""Time without a node for a worker or a job, or without one that starts, before a search or a sweep ends."""
VERSIONS_SECONDS = 60.0
"""Longest wait for the versions of a node, whose first process may have to read Python from a network file system."""
MAX_BASE = 24
"""Longest path of the folder for temporary files; Ray's sockets lie 81 characters deeper, and may have 107."""
OBJECT_STORE_BYTES = 128 * 2**20
"""Ray's shared memory on this machine, of which tasks and results need little; Ray's default is 30% of all memory."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
COMPARED = ("cellnas", "torch")
"""Packages whose versions must be those of this process on every node, besides Python."""


class Cluster:
    """A connected cluster.

    Args:
        name: How a message calls it.
        head: `host:port` of its head node.
    """

    def __init__(self, name: str, head: str) -> None:
        self.name = name
        self.head = head
        self._next_check = 0.0  # in seconds of the monotonic clock

    def check(self) -> None:
        """Wait for a head node that does not answer; looks every `CHECK_SECONDS` at most.

        Raises:
            UserError: It has not answered for `HEAD_SECONDS`. Ray would end this process after a minute.
        """
        if time.monotonic() < self._next_check:
            return
        started = time.monotonic()
        while not answers(self.head):
            if time.monotonic() - started > HEAD_SECONDS:
                raise UserError(
                    f"the head node of {self.name} has not answered for {HEAD_SECONDS:g} s; everything finished is "
                    "stored, so run the same command again when the cluster is back"
                )
            time.sleep(1)
        self._next_check = time.monotonic() + CHECK_SECONDS

    def nodes(self) -> list[Mapping[str, Any]]:
        """Nodes that are alive, as Ray describes them (`NodeID`, `NodeManagerAddress`, `Resources`).

        Raises:
            UserError: The head node does not answer.
        """
        import ray

        self._next_check = 0.0
        self.check()
        every: Any = ray.nodes  # without annotations
        return [node for node in every() if node["Alive"]]

    def check_gpus(self, key: str, gpus: float) -> None:
        """Raise `UserError` if GPUs are wanted and no node has one.

        Args:
            key: Setting that asks for them.
            gpus: Its value.
        """
        if gpus and not any(node["Resources"].get("GPU") for node in self.nodes()):
            raise UserError(f"{key}={gpus:g}, but {self.name} has no GPU; set {key}=0, or add nodes that have one")

    def room(self, cpus: float, gpus: float) -> int:
        """Number of workers that fit on the nodes when nothing else runs there.

        Args:
            cpus, gpus: Share of a worker.
        """

        def on(node: Mapping[str, Any]) -> int:
            shares = [
                int(node["Resources"].get(name, 0.0) / share + 1e-6)
                for name, share in (("CPU", cpus), ("GPU", gpus))
                if share > 0
            ]
            return min(shares, default=1)

        return sum(on(node) for node in self.nodes())


def check_installed(part: str) -> None:
    """Raise `UsageError` if Ray is not installed.

    Args:
        part: Part that needs it, `executor` or `launcher`.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError(f"{part}=ray needs Ray, which is not installed: pip install 'cellnas[ray]'")


@contextmanager
def connect(address: str | None, key: str = "executor.address", cpus: float | None = None) -> Iterator[Cluster]:
    """Connect to a cluster, and check that its nodes have the versions of this process.

    A connection that this process already has is used and kept.

    Args:
        address: `auto` (the cluster of this machine, or `RAY_ADDRESS`) or `host:port`; None: start a cluster on this
            machine.
        key: Setting that holds the address, for messages.
        cpus: CPUs that a started cluster has for workers; None: the cores of this machine.

    Raises:
        UserError: No Ray answers, this machine is not part of the cluster, or versions differ.
        UsageError: Ray is not installed, or the address is none.
    """
    check_installed(key.partition(".")[0])
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a worker without a GPU sees none, as always
    import ray

    if ray.is_initialized():
        cluster = Cluster("the Ray cluster", _connected_head())
        with _silenced():
            check_versions(cluster)
            yield cluster
        return
    with ExitStack() as stack:
        stack.enter_context(_silenced())
        stack.enter_context(mode_restored())
        if address is None:
            base = tempfile.gettempdir()
            folder = tempfile.mkdtemp(prefix="nas-ray-", dir=base if len(base) <= MAX_BASE else "/tmp")
            stack.enter_context(guarded(folder))
            stack.callback(ray.shutdown)  # before its folder is removed
            _start(folder, cpus)
            cluster = Cluster("the Ray cluster of this machine", _connected_head())
        else:
            head = head_of(address, key)
            stack.callback(ray.shutdown)
            _join(head, address, key)
            cluster = Cluster(f"the Ray cluster at {head}", head)
        check_versions(cluster)
        yield cluster


def _start(folder: str, cpus: float | None) -> None:
    """Start a cluster of this machine on the loopback interface."""
    import ray
    from ray._private import ray_constants

    os.environ.setdefault("RAY_worker_niceness", "0")  # as every other process of the command; Ray's default is 15
    with _replaced(ray_constants, "ENABLE_RAY_CLUSTER", False), _own_signals():  # what Ray sets on macOS
        try:
            ray.init(
                address="local",
                num_cpus=None if cpus is None else max(1, int(cpus + 0.999)),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                _node_ip_address=LOOPBACK,
                _temp_dir=folder,
            )
        except Exception as error:  # noqa: BLE001 (Ray raises what its processes left)
            raise UserError(f"Ray cannot start on this machine ({_first_sentence(error)})") from None
    found = {node["NodeManagerAddress"] for node in Cluster("", _connected_head()).nodes()}
    if found != {LOOPBACK}:
        raise UserError(
            f"Ray {ray.__version__} listens on {', '.join(sorted(found))} instead of {LOOPBACK} only; start a cluster "
            "yourself with ray start --head --node-ip-address=127.0.0.1, and set executor.address=auto"
        )


def _connected_head() -> str:
    """The `host:port` of the head node to which this process is connected."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


def _join(head: str, address: str, key: str) -> None:
    import ray

    try:
        with _own_signals():
            ray.init(address=head, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # noqa: BLE001 (of many kinds, and some without a public name)
        if "ersion mismatch" in str(error):
            raise UserError(
                f"{key}={address}: {_first_sentence(error)}; install the same versions here and on every node"
            ) from None
        raise UserError(
            f"{key}={address}: this machine cannot join the cluster ({_first_sentence(error)}); run the command on one "
            f"of its nodes, or make this machine one with ray start --address={head}, and if the cluster asks for a "
            "token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
        ) from None


def check_versions(cluster: Cluster) -> None:
    """Compare Python, cellnas and torch of every node with this process.

    Raises:
        UserError: They differ, so results would, or a node does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    expected = versions_reader()(list(sys.path))
    nodes = cluster.nodes()
    reader = ray.remote(num_cpus=0, max_retries=0)(versions_reader())
    asked = {
        reader.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            list(sys.path)
        ): node["NodeManagerAddress"]
        for node in nodes
    }
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=VERSIONS_SECONDS)
    if late:
        raise UserError(f"node {asked[late[0]]} of {cluster.name} did not answer for {VERSIONS_SECONDS:g} s")
    for ref in ready:
        try:
            found = ray.get(ref)
        except ray.exceptions.RayError:  # it has just left the cluster
            continue
        if found != expected:
            different = [name for name in expected if found[name] != expected[name]]
            theirs = " and ".join(f"{name} {found[name] or 'not installed'}" for name in different)
            ours = " and ".join(f"{name} {expected[name] or 'not installed'}" for name in different)
            raise UserError(
                f"node {asked[ref]} of {cluster.name} has {theirs}, but this machine has {ours}; install the same "
                "versions on every node"
            )


def versions_reader() -> Callable[[list[str]], dict[str, str | None]]:
    """A function that Ray sends to a node by its code, since the node may have no cellnas, or another."""
    compared = COMPARED

    def read(path: list[str]) -> dict[str, str | None]:
        import importlib.metadata
        import sys

        found: dict[str, str | None] = {"Python": ".".join(map(str, sys.version_info[:2]))}
        sys.path.extend(entry for entry in path if entry not in sys.path)
        for name in compared:
            try:
                found[name] = importlib.metadata.version(name).partition("+")[0]  # builds for CPU and GPU may be mixed
            except importlib.metadata.PackageNotFoundError:
                found[name] = None
        return found

    return read


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep Ray from printing events of the cluster to stdout."""
    from ray._private import worker

    with _replaced(worker, "_worker_logs_enabled", False):
        yield


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handlers of signals, which end a command cleanly; Ray replaces them, in Python and in C++."""
    from ray._private import utils

    before = {number: signal.getsignal(number) for number in SIGNALS}
    with _replaced(utils, "set_sigterm_handler", lambda _handler: None):
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    if handler is not None:  # None: of C code
                        signal.signal(number, handler)


@contextmanager
def _replaced(module: Any, name: str, value: object) -> Iterator[None]:
    """Give a name of a module another value; Ray has no setting for it."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(". ")[0].rstrip(".")
