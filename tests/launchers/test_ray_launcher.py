"""Jobs as tasks of a Ray cluster, here one of this machine."""

import importlib.util
import time

import pytest

from nas import UsageError, UserError
from nas.executors.ray_cluster import Cluster, connect
from nas.launchers import ray as ray_launcher
from nas.launchers.base import Job
from nas.launchers.ray import RayLauncher, run_on_node


@pytest.fixture(scope="module")
def cluster():
    with connect(None, "launcher.address", cpus=2) as connected:
        yield connected


def job(tmp_path, *words, name="one"):
    return Job(name, words, tmp_path / "jobs" / name, tmp_path)


@pytest.mark.usefixtures("cluster")
def test_each_job_is_a_task_and_one_that_fails_ends_no_other(tmp_path):
    jobs = [job(tmp_path, "--version"), job(tmp_path, "serch", name="two"), job(tmp_path, "--version", name="three")]
    results = {result.name: result for result in RayLauncher().run(jobs)}
    assert results["one"].output.startswith("cellnas ")
    assert results["three"].done
    assert (results["two"].code, results["two"].reason.startswith("unknown command 'serch'")) == (2, True)
    assert (tmp_path / "jobs" / "two" / "log.txt").read_text().startswith("nas: unknown command 'serch'")


@pytest.mark.usefixtures("cluster")
def test_a_launcher_that_is_closed_ends_its_jobs_cleanly(tmp_path):
    words = ["compare", "seeds=10000", "strategies=[random]", "executor=inline", "out=c", "progress=false"]
    results = RayLauncher().run([job(tmp_path, "--version"), job(tmp_path, *words, name="two")])
    assert next(results).name == "one"
    deadline = time.monotonic() + 60
    while not (tmp_path / "c" / "runs.journal").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    results.close()
    log = tmp_path / "jobs" / "two" / "log.txt"
    while "Resume with:" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.usefixtures("cluster")
def test_a_job_that_no_node_has_room_for_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"launcher\.gpus=4, but the Ray cluster .*has no GPU; set launcher"):
        next(RayLauncher(gpus=4).run([job(tmp_path, "--version")]))


def test_a_sweep_on_a_cluster_that_has_lost_its_nodes_ends(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_launcher, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(Cluster, "room", lambda *_: 0)
    with pytest.raises(UserError, match="has had no node for a job for 0 s; everything finished is stored, so run"):
        list(RayLauncher()._run([job(tmp_path, "--version")], cluster))


def test_a_node_without_the_folder_of_the_command_says_so(tmp_path):
    elsewhere = Job("one", ("--version",), tmp_path / "jobs", tmp_path / "missing")
    result = run_on_node(elsewhere)
    assert (result.code, result.reason) == (
        1,
        f"the node has no folder {tmp_path}/missing; run the command in a folder that all nodes share",
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cpus": 0}, "launcher.cpus must be a number above 0"),
        ({"gpus": -1}, "launcher.gpus must be a number of at least 0"),
        ({"address": 5}, "launcher.address must be auto, null or host:port, got 5"),
        ({"retries": -1}, "launcher.retries must be a whole number of at least 0, got -1"),
    ],
)
def test_its_settings_are_checked(settings, message):
    with pytest.raises(UsageError) as raised:
        RayLauncher(**settings)
    assert str(raised.value).startswith(message)


def test_without_its_extra_the_launcher_names_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else found(name))
    with pytest.raises(
        UsageError, match=r"launcher=ray needs Ray, which is not installed: pip install 'cellnas\[ray\]'"
    ):
        RayLauncher().check()
