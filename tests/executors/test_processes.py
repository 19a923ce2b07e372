"""Worker processes: every task gets its own result, error or death."""

import os
import subprocess
import sys
import time
import warnings
from collections import deque
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
from light import make, make_odd, make_parental, refusing, square

from nas import UsageError, UserError
from nas.executors.base import WorkerDied
from nas.executors.each import each
from nas.executors.inline import Inline
from nas.executors.processes import Processes, cores
from nas.runtime import streams
from nas.testing import check_executor


def done(executor, tasks, make=make):
    return [pair for batch in each(executor, make, deque(tasks)) for pair in batch]


@pytest.mark.parametrize("executor", [Inline(), Processes(2)], ids=["inline", "processes"])
def test_every_task_gets_its_result(executor):
    assert sorted(done(executor, range(7))) == [(n, n**2) for n in range(7)]


def test_workers_that_are_threads_break_a_promise():
    """Two trainings in one process would draw from one random generator."""

    class Jobs:
        def __init__(self, function):
            self.function, self.results = function, []

        def submit(self, key, task):
            self.results.append((key, self.function(task)))

        def wait(self):
            return [self.results.pop()]

    class Threads:
        workers, order = 2, "ordered"

        def open(self, make, seconds=None):
            return nullcontext(Jobs(make()))

    with pytest.raises(AssertionError, match=r"share torch's random generators; start a process for each worker$"):
        check_executor(Threads())


def test_without_tasks_no_worker_starts():
    assert list(each(Processes(2), refusing, deque())) == []


def test_workers_stay_warm():
    pids = [result for _, result in done(Processes(2), ["pid"] * 6)]
    assert len(set(pids)) == 2
    assert os.getpid() not in pids


def test_each_worker_uses_its_share_of_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ((_, threads),) = done(Processes(2), ["threads"])
    assert int(threads) == max(1, cores() // 2)
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert done(Processes(2), ["threads"]) == [("threads", "3")]


@pytest.mark.parametrize("one_line", [True, False])
def test_a_worker_shows_a_warning_as_its_parent_does(one_line, monkeypatch, capfd):
    if one_line:  # as in a command
        monkeypatch.setattr(warnings, "showwarning", streams.show_warning)
    assert done(Processes(1), ["warn"]) == [("warn", None)]
    error = capfd.readouterr().err
    assert error == "nas: warning: of two lines\n" if one_line else "UserWarning: of two" in error


def test_a_dead_worker_costs_only_its_own_task():
    results = dict(done(Processes(2), [1, "kill", 2, 3]))
    assert results["kill"] == WorkerDied("its worker process was killed by SIGKILL")
    assert {key: results[key] for key in (1, 2, 3)} == {1: 1, 2: 4, 3: 9}


def test_errors_of_a_task_and_of_make_reach_the_caller():
    with pytest.raises(UserError, match="no images"):
        list(each(Processes(1), refusing, deque([1])))
    with pytest.raises(RuntimeError, match=r"in a worker process: ZeroDivisionError: by nothing \(light.py"):
        list(each(Processes(1), make, deque(["bug"])))


def test_results_of_other_workers_are_returned_before_an_error():
    warm = []
    with Processes(2).open(make) as jobs:
        for key in (1, 2):
            jobs.submit(key, "pid")
        while len(warm) < 2:
            warm += jobs.wait()
        jobs.submit(3, 5)
        jobs.submit(4, "bug")
        time.sleep(0.5)  # both have finished by now, and are received together
        assert jobs.wait() == [(3, 25)]
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            jobs.wait()


def test_a_result_that_cannot_be_sent_back_is_reported(capfd):
    with pytest.raises(RuntimeError, match=r"in a worker process: .*lambda"):
        done(Processes(1), ["unpicklable"], make_odd)
    with pytest.raises(UserError, match="one and two"):
        done(Processes(1), ["error"], make_odd)
    assert done(Processes(1), ["signal"], make_odd) == [
        ("signal", WorkerDied("its worker process was killed by signal 40"))
    ]
    with pytest.raises(UsageError, match="cannot send this task"):
        done(Processes(1), [lambda: None])
    assert "Traceback" not in capfd.readouterr().err


def test_a_script_without_a_guard_is_reported_and_not_counted_as_dead_workers(tmp_path):
    script = tmp_path / "bare.py"
    script.write_text(
        "from light import LightSpace, steep\n"
        "from nas import Budget, search\n"
        "from nas.executors.processes import Processes\n"
        "from nas.strategies.random import RandomSearch\n"
        "search(LightSpace(), RandomSearch, steep, budget=Budget(trials=4), executor=Processes(2))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 1
    assert "UserError: worker processes cannot start: a script that uses executor Processes must" in ran.stderr
    assert ran.stderr.count("Traceback") == 1


def test_a_task_that_cannot_be_sent_is_refused_before_any_worker_starts():
    with pytest.raises(UsageError, match=r"executor=processes cannot send this task.*executor=inline"):
        list(each(Processes(2), lambda: square, deque([1])))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers must be a whole number of at least 1"),
        ({"workers": 5000}, "workers must be a whole number of at least 1 and at most 1024"),
        ({"order": "fast"}, "executor.order must be one of ordered, async, got 'fast'"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Processes(**settings)


def test_workers_and_their_children_end_with_a_parent_that_was_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time\n"
        "from collections import deque\n"
        "from nas.executors.each import each\n"
        "from nas.executors.processes import Processes\n"
        "from light import make_parental\n"
        "if __name__ == '__main__':\n"
        "    list(each(Processes(2), make_parental, deque([1, 2])))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    workers = [int(pid) for _ in range(2) for pid in parent.stdout.readline().split()]
    assert len(workers) == 4  # two workers with a child each
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
    assert done(Processes(1), [3], partial(make)) == [(3, 9)]


def test_a_dead_worker_is_noticed_while_its_child_holds_its_pipe_open(capfd):
    assert done(Processes(1, retries=0), ["kill"], make_parental) == [
        ("kill", WorkerDied("its worker process was killed by SIGKILL"))
    ]
    worker, child = map(int, capfd.readouterr().out.split())
    deadline = time.monotonic() + 20
    while (alive(worker) or alive(child)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker)
    assert not alive(child)


class Clock:
    """In place of `time` of the parent: a clock that stands still, or moves at each look by the step of a test."""

    seconds = step = 0.0

    def monotonic(self):
        self.seconds += self.step
        return self.seconds


def test_only_a_task_that_takes_too_long_is_killed(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("nas.executors.processes.time", clock)
    with Processes(2).open(make, 0.5) as jobs:
        jobs.submit(1, "hang")
        jobs.submit(2, 3)
        results = jobs.wait()
        clock.step = 0.5
        results += jobs.wait()
        clock.step = 0.0
        jobs.submit(3, 4)
        results += jobs.wait()
    assert results == [
        (2, 9),
        (1, WorkerDied("it took longer than budget.trial_seconds=0.5 and was stopped", "time_limit")),
        (3, 16),
    ]
    assert results[1][1].seconds >= 0.5


def test_a_task_that_exits_is_reported():
    for executor in (Inline(), Processes(1)):
        with pytest.raises((UserError, RuntimeError), match=r"SystemExit: 3 \(light.py"):
            done(executor, ["leave"])
