"""Workers on a Ray cluster of two nodes: the promises of an executor, equal trials, and losses that cost nothing."""

import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import deque
from functools import partial
from pathlib import Path

import pytest
from conftest import stored_trials
from light import LightSpace, make, make_parental, uneven

from nas import Budget, UsageError, UserError, search
from nas.executors.each import each
from nas.executors.processes import Processes
from nas.strategies.evolution import RegularizedEvolution
from nas.testing import check_executor

pytest.importorskip("ray")

from nas.executors import ray as ray_executor
from nas.executors import ray_address, ray_cluster
from nas.executors.ray import RayWorkers
from nas.executors.ray_cluster import connect

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="module")
def nodes():
    """A cluster with two nodes of one CPU each, to which this process is connected."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add_node(**NODE)
    try:
        with connect(cluster.address):
            yield cluster
    finally:
        cluster.shutdown()


def workers(nodes, number=2, **more):
    return RayWorkers(number, address=nodes.address, **more)


def done(executor, tasks, make=make):
    return dict(pair for batch in each(executor, make, deque(tasks)) for pair in batch)


def course(executor, evaluator=uneven, trials=12):
    strategy = partial(RegularizedEvolution, population_size=4, sample_size=2)
    result = search(LightSpace(), strategy, evaluator, budget=Budget(trials=trials), executor=executor)
    return [(trial.number, trial.text, trial.seed, trial.metrics, trial.status) for trial in result.trials]


def test_it_keeps_the_promises_of_an_executor(nodes):
    check_executor(workers(nodes))


def test_trials_are_those_of_worker_processes_and_stdout_stays_empty(nodes, capfd):
    assert course(workers(nodes)) == course(Processes(2))
    assert capfd.readouterr().out == ""


def test_a_dead_worker_costs_only_its_own_task_and_is_retried(nodes, capfd):
    results = done(workers(nodes, retries=1), [1, "kill", 2, "threads"])
    died = results["kill"]
    assert (died.kind, died.retries) == ("worker_died", 1)
    assert died.reason.startswith("its worker process has died on node ")
    assert {key: results[key] for key in (1, 2, "threads")} == {1: 1, 2: 4, "threads": "1"}
    assert capfd.readouterr().out == ""  # Ray would tell of it


def test_a_task_that_takes_too_long_is_stopped_with_its_children(nodes):
    with workers(nodes, 1).open(make_parental, 0.5) as jobs:
        jobs.submit(1, "hang")
        ((key, result),) = jobs.wait()
    assert (key, result.kind) == (1, "time_limit")
    assert result.reason == "it took longer than budget.trial_seconds=0.5 and was stopped"


def test_warnings_and_errors_of_a_task_reach_the_caller(nodes):
    with pytest.warns(UserWarning, match="of two\nlines"):
        assert done(workers(nodes, 1), ["warn"]) == {"warn": None}
    with pytest.raises(RuntimeError, match=r"in a worker process: ZeroDivisionError: by nothing \(light.py"):
        done(workers(nodes, 1), ["bug"])


def test_a_space_that_nodes_cannot_import_is_reported(nodes, tmp_path, monkeypatch):
    name = f"only_here_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text("def make():\n    return abs\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        module = __import__(name)
    expected = (
        rf"cannot import the space or the evaluator \(ModuleNotFoundError: No module named '{name}'\); install its"
    )
    with pytest.raises(UserError, match=expected):
        done(workers(nodes, 1), [1], module.make)


def test_a_cluster_that_is_too_small_is_refused(nodes):
    with pytest.raises(
        UserError, match=r"workers=3 do not fit: with executor.cpus_per_worker=1 .* has room for 2; add"
    ):
        done(workers(nodes, 3), [1])
    with pytest.raises(UserError, match=r"executor.gpus_per_worker=0.25, but the Ray cluster has no GPU; set"):
        done(workers(nodes, 1, gpus_per_worker=0.25), [1])


def test_nodes_with_another_version_are_refused(nodes, monkeypatch):
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2.3" if name == "torch" else version(name))
    with pytest.raises(
        UserError, match=r"node .* has torch [\d.]+, but this machine has torch 1.2.3; install the same"
    ):
        done(workers(nodes, 1), [1])


def starts_that_fail(log):
    class Worker:
        def __init__(self):
            with log.open("a") as file:
                file.write("start\n")
            os._exit(1)

        def place(self, _setup):
            pass

    return Worker


def test_a_cluster_that_starts_no_worker_is_asked_once_a_second_and_given_up(nodes, monkeypatch, tmp_path):
    monkeypatch.setattr(ray_executor, "worker_class", lambda: starts_that_fail(tmp_path / "log"))
    monkeypatch.setattr(ray_executor, "NOTICE_SECONDS", 0.5)
    monkeypatch.setattr(ray_executor, "PATIENCE_SECONDS", 3.0)
    with (
        pytest.warns(UserWarning, match=r"cannot start a worker \(.*\); trying again"),
        pytest.raises(UserError, match=r"has started no worker for 3 s \(.*\); everything finished is stored, so run"),
    ):
        done(workers(nodes, 1), [1])
    assert 1 <= len((tmp_path / "log").read_text().split()) <= 5


def test_a_head_node_that_stops_answering_ends_the_search(nodes, monkeypatch):
    with workers(nodes, 1).open(make) as jobs:
        jobs.submit(1, 1)
        monkeypatch.setattr(ray_cluster, "answers", lambda _head: False)
        monkeypatch.setattr(ray_cluster, "HEAD_SECONDS", 0.1)
        monkeypatch.setattr(ray_cluster, "CHECK_SECONDS", 0.0)
        jobs._cluster._next_check = 0.0
        expected = r"the head node of .* has not answered for 0.1 s; everything finished is stored, so run"
        with pytest.raises(UserError, match=expected):
            jobs.wait()


def test_a_token_of_another_cluster_is_not_brought_to_one_without_tokens(nodes, tmp_path):
    """Ray would cancel every worker, over and over: its processes refuse calls without the token."""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    program = (
        "import sys\nfrom light import make\nfrom nas.executors.ray import RayWorkers\n"
        "with RayWorkers(1, address=sys.argv[1]).open(make) as jobs:\n    jobs.submit(1, 3)\n    print(jobs.wait())\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])}
    environment.pop("RAY_AUTH_MODE", None)
    command = [sys.executable, "-c", program, nodes.address]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert result.stdout == "[(1, 9)]\n", result.stderr


def test_a_cluster_with_tokens_is_joined_with_one_and_another_mode_is_refused(monkeypatch):
    monkeypatch.setattr(ray_address, "_wants_token", lambda _head: True)
    monkeypatch.setattr(ray_address, "_token", lambda: "our token")
    monkeypatch.setattr(ray_address, "_answer", lambda _head, metadata: metadata[0][1] == "Bearer our token")
    monkeypatch.setattr(ray_address, "_reread_mode", lambda: None)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert ray_address.head_of("host:1", "executor.address") == "host:1"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(UserError, match="at host:1 wants a token, but RAY_AUTH_MODE=disabled; set RAY_AUTH_MODE=tok"):
        ray_address.head_of("host:1", "executor.address")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for token, found in ((None, "this machine has none"), ("x", "that of this machine is another one")):
        monkeypatch.setattr(ray_address, "_token", lambda token=token: token)
        with pytest.raises(UserError, match=f"at host:1 wants a token, and {found}; copy ~/.ray/auth_token from its"):
            ray_address.head_of("host:1", "executor.address")


def slow(proposal, context):
    """Takes long enough to lose its node."""
    time.sleep(0.3)
    return uneven(proposal, context)


class RemovingNode:
    """Loses a node of the cluster after the third trial."""

    def __init__(self, nodes):
        self.nodes = nodes

    def start(self, *_):
        pass

    def on_trial_end(self, trial):
        if trial.number == 3:
            self.nodes.remove_node(self.nodes.worker_nodes.copy().pop(), allow_graceful=False)

    def on_epoch_end(self, *_):
        pass

    def close(self):
        pass


def test_a_lost_node_costs_no_trial(nodes, capfd):
    result = search(
        LightSpace(),
        partial(RegularizedEvolution, population_size=4, sample_size=2),
        slow,
        budget=Budget(trials=12),
        executor=workers(nodes),
        listeners=[RemovingNode(nodes)],
    )
    nodes.add_node(**NODE)
    found = [(trial.number, trial.text, trial.seed, trial.metrics, trial.status) for trial in result.trials]
    assert found == course(Processes(2))
    assert sum(trial.cost.get("retries", 0) for trial in result.trials) >= 1
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"address": "auto"}, "executor.address=auto needs workers=N"),
        ({"address": ""}, "needs workers=N"),
        ({"workers": 1, "address": 5}, "executor.address must be auto, null or host:port, got 5"),
        ({"workers": 0}, "workers must be a whole number of at least 1"),
        ({"order": "fast"}, "executor.order must be one of ordered, async, got 'fast'"),
        ({"cpus_per_worker": 0}, "executor.cpus_per_worker must be a number above 0"),
        ({"gpus_per_worker": -1}, "executor.gpus_per_worker must be a number of at least 0"),
        ({"retries": -1}, "executor.retries must be a whole number of at least 0"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        RayWorkers(**settings)


PROGRAM = """
import sys, time
from nas.errors import UserError
from nas.executors.ray_cluster import connect
try:
    with connect(sys.argv[1]):
        pass
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("auto", "executor.address=auto found no Ray cluster of this machine; start one with ray start --head, set"),
        ("127.0.0.1:{free}", "no Ray cluster answers at 127.0.0.1:{free} (executor.address=127.0.0.1:{free}); start"),
        ("127.0.0.1:{silent}", "no Ray cluster answers at 127.0.0.1:{silent} "),
        ("ray://host:1", "executor.address must be auto, null or host:port, got 'ray://host:1'"),
    ],
    ids=["auto", "nobody", "another-server", "no-address"],
)
def test_an_address_where_no_ray_answers_is_one_sentence(tmp_path, address, message):
    with socket.socket() as silent, socket.socket() as free:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        free.bind(("127.0.0.1", 0))
        ports = {"silent": silent.getsockname()[1], "free": free.getsockname()[1]}
        # it must not find the clusters of other tests
        environment = {**os.environ, "RAY_TMPDIR": str(tmp_path), "RAY_ADDRESS": ""}
        started = time.monotonic()
        program = PROGRAM
        if address == "auto":
            program = (
                f"import functools, ray._private.services as s\ns.find_gcs_addresses = functools.cache(set)\n{PROGRAM}"
            )
        program = f"import nas.executors.ray_address as c\nc.PROBE_SECONDS = 0.5\n{program}"
        result = subprocess.run(
            [sys.executable, "-c", program, address.format(**ports)],
            capture_output=True, text=True, check=False, env=environment, timeout=60,
        )  # fmt: skip
    assert result.stdout.startswith(message.format(**ports)), result.stderr
    assert time.monotonic() - started < 30


@pytest.fixture
def short_folder():
    """A folder whose path leaves room for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_of_a_cluster_of_this_machine(tmp_path, short_folder):
    arguments = [
        "search", "strategy=random", "evaluator=table", "table=cifar10_8x8", "executor=ray", "workers=2",
        "budget.trials=100000", "progress=false", "run=one",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", *arguments],
        cwd=tmp_path, env={**os.environ, "TMPDIR": str(short_folder)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while stored_trials(tmp_path / "nas.db") < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_that_name(str(short_folder))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert err.startswith("\ninterrupted; every finished trial is stored. Resume with:"), err
    deadline = time.monotonic() + 20
    while (left := processes_that_name(str(short_folder))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    assert not list(short_folder.glob("nas-ray-*"))


def processes_that_name(text):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found
