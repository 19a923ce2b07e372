"""Worker processes: results, errors and deaths come back to the task they belong to."""

import os
import subprocess
import sys
import time
from collections import deque
from functools import partial

import pytest
from light import make, square

from nas import UsageError, UserError
from nas.executors.base import Died, each
from nas.executors.inline import Inline
from nas.executors.processes import Processes, cores


def refusing():
    raise UserError("no images")


@pytest.mark.parametrize("executor", [Inline(), Processes(2)], ids=["inline", "processes"])
def test_every_task_gets_its_result(executor):
    assert sorted(each(executor, make, deque(range(7)))) == [(n, n**2) for n in range(7)]


def test_nothing_to_do_starts_no_worker():
    assert list(each(Processes(2), refusing, deque())) == []


def test_workers_are_kept_warm_and_share_the_cores():
    found = [result for _, result in each(Processes(2), make, deque(["pid"] * 6))]
    assert len(set(found)) == 2
    assert os.getpid() not in found


def test_each_worker_takes_its_share_of_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ((_, threads),) = each(Processes(2), make, deque(["threads"]))
    assert int(threads) == max(1, cores() // 2)
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert list(each(Processes(2), make, deque(["threads"]))) == [("threads", "3")]


def test_a_dead_worker_costs_its_own_task_alone():
    found = dict(each(Processes(2), make, deque([1, "kill", 2, 3])))
    assert found["kill"] == Died("its worker process was ended by SIGKILL")
    assert {key: found[key] for key in (1, 2, 3)} == {1: 1, 2: 4, 3: 9}


def test_errors_of_a_task_and_of_the_making_reach_the_caller():
    with pytest.raises(UserError, match="no images"):
        list(each(Processes(1), refusing, deque([1])))
    with pytest.raises(RuntimeError, match=r"in a worker process: ZeroDivisionError: by nothing \(light.py"):
        list(each(Processes(1), make, deque(["bug"])))


def test_what_another_worker_has_finished_comes_before_an_error():
    found, executor = [], Processes(2)
    with executor.open(make) as jobs:
        jobs.submit(1, 5)
        jobs.submit(2, "bug")
        time.sleep(3)  # both are done by now, and are told together
        found += jobs.wait()
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            jobs.wait()
    assert found == [(1, 25)]


def test_what_cannot_be_sent_is_told_before_anything_starts():
    with pytest.raises(UsageError, match=r"executor=processes cannot send this work.*executor=inline"):
        list(each(Processes(2), lambda: square, deque([1])))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workers": 0}, "workers must be a whole number of at least 1"),
        ({"workers": 5000}, "workers must be a whole number of at least 1 and at most 1024"),
        ({"order": "fast"}, "executor.order must be one of ordered, async, got 'fast'"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(UsageError, match=words):
        Processes(**settings)


def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time\n"
        "from collections import deque\n"
        "from nas.executors.base import each\n"
        "from nas.executors.processes import Processes\n"
        "def work(task):\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(600)\n"
        "def make():\n"
        "    return work\n"
        "if __name__ == '__main__':\n"
        "    list(each(Processes(2), make, deque([1, 2])))\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_partials_can_be_sent():
    assert list(each(Processes(1), partial(make), deque([3]))) == [(3, 9)]
