"""Jobs on this machine: each in a process of its own, that never runs twice at a time and never outlives its parent."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from nas import UsageError, UserError
from nas.launchers import base
from nas.launchers.base import LOG, OUTPUT, Job, JobResult, RunningJob, save, saved
from nas.launchers.local import LocalLauncher


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Makes a job whose process runs a line of Python instead of a command."""
    monkeypatch.setattr(base, "COMMAND", (sys.executable, "-c"))

    def make(program, name="one"):
        return Job(name, (program,), tmp_path / "jobs" / name, tmp_path)

    return make


def run(*jobs, at_a_time=1):
    return {result.name: result for result in LocalLauncher(at_a_time).run(jobs)}


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_job_leaves_its_output_and_its_messages(job):
    one = job("import sys; print('result'); print('nas: a message', file=sys.stderr)")
    result = run(one)["one"]
    assert (result.done, result.code, result.reason, result.output) == (True, 0, None, "result\n")
    assert (one.folder / OUTPUT).read_text() == "result\n"
    assert (one.folder / LOG).read_text() == "nas: a message\n"


@pytest.mark.parametrize(
    ("program", "code", "reason"),
    [
        (
            "import sys; sys.stderr.write('nas: the reason\\nnas: warning: other\\n'); sys.exit(1)",
            1,
            "the reason",
        ),
        ("import sys; sys.stderr.write('Traceback\\nValueError: no\\n\\n'); sys.exit(3)", 3, "ValueError: no"),
        ("import sys; sys.exit(2)", 2, "exit code 2"),
        ("import os; os.kill(os.getpid(), 9)", -9, "killed by SIGKILL"),
    ],
)
def test_a_job_that_fails_says_why_and_ends_no_other(job, program, code, reason):
    results = run(job(program), job("pass", "two"))
    assert (results["one"].code, results["one"].reason, results["one"].interrupted) == (code, reason, False)
    assert results["two"].done


@pytest.mark.parametrize("code", [130, 138, 143])
def test_a_job_that_a_signal_ended_is_interrupted(job, code):
    assert run(job(f"import sys; sys.exit({code})"))["one"].interrupted


def test_only_this_many_jobs_run_at_a_time(job, tmp_path):
    program = (
        "import pathlib, os, time; here = pathlib.Path('running'); here.mkdir(exist_ok=True); "
        "mine = here / str(os.getpid()); mine.touch(); time.sleep(0.3); "
        "print(len(list(here.iterdir()))); mine.unlink()"
    )
    results = run(*(job(program, f"job {number}") for number in range(4)), at_a_time=2)
    assert max(int(result.output) for result in results.values()) == 2


def test_jobs_at_a_time_share_the_cores_unless_the_user_says_otherwise(job, monkeypatch):
    show = "import os; print(os.environ.get('OMP_NUM_THREADS'))"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert run(job(show))["one"].output == "None\n"
    assert run(job(show), at_a_time=1024)["one"].output == "1\n"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert run(job(show), at_a_time=2)["one"].output == "3\n"


def test_a_launcher_that_is_closed_ends_its_jobs_cleanly(job, tmp_path):
    program = (
        "import pathlib, signal, sys, time; "
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('ended').touch(), sys.exit(143))); "
        "pathlib.Path('started').touch(); time.sleep(60)"
    )
    results = LocalLauncher(2).run([job("pass"), job(program, "two")])
    assert next(results).done
    wait_for((tmp_path / "started").exists)
    results.close()
    assert (tmp_path / "ended").exists()


def test_a_job_that_does_not_end_is_killed(job, monkeypatch):
    monkeypatch.setattr(base, "STOP_SECONDS", 0.2)
    running = RunningJob(
        job("import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)")
    )
    wait_for((running.job.folder / OUTPUT).read_text)
    running.stop()
    assert running.process.returncode == -signal.SIGKILL


def test_a_job_that_outlives_its_launcher_is_waited_for(job, monkeypatch):
    first = RunningJob(job("import time; time.sleep(1)"))
    first._lock.close()  # as when the launcher is killed: only the process of the job still holds the lock
    started = time.monotonic()
    second = RunningJob(job("pass"))
    assert first.process.poll() == 0
    assert second.wait(lambda: None).done
    assert time.monotonic() - started < 20

    monkeypatch.setattr(base, "LOCK_SECONDS", 0.1)
    RunningJob(job("import time; time.sleep(2)"))
    with pytest.raises(UserError, match="job one is still being run by another process; wait until it ends"):
        RunningJob(job("pass"))


def test_a_command_ends_with_the_process_that_started_it(tmp_path):
    """The launcher is killed with SIGKILL; its job is a real command, which would run for a minute."""
    arguments = ["compare", "seeds=10000", "strategies=[random]", "executor=inline", "out=c", "progress=false"]
    program = f"""
import pathlib, time
from nas.launchers.base import Job, RunningJob
folder = pathlib.Path({str(tmp_path)!r})
running = RunningJob(Job("one", {arguments!r}, folder / "job", folder))
print(running.process.pid, flush=True)
time.sleep(60)
"""
    launcher = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    command = int(launcher.stdout.readline())
    wait_for((tmp_path / "c" / "runs.journal").exists, 60)
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()
    wait_for(lambda: not is_alive(command), 30)
    assert "every finished run is stored. Resume with:" in (tmp_path / "job" / LOG).read_text()


def test_how_a_job_ended_is_known_for_the_same_arguments_only(job, tmp_path):
    one = job("pass")
    result = JobResult("one", ("pass",), 0, 1.5, None, "text")
    save(one, result)
    assert saved(one) == result
    assert saved(Job("one", ("pass", "seed=1"), one.folder, tmp_path)) is None
    assert saved(job("pass", "two")) is None
    for damaged in ("", "[]", "{}", json.dumps({"words": 3})):
        (one.folder / base.RESULT).write_text(damaged)
        assert saved(one) is None


def test_a_folder_that_cannot_be_written_fails_its_job(job, tmp_path):
    (tmp_path / "jobs").touch()
    result = run(job("pass"))["one"]
    assert (result.code, result.reason.startswith(f"{tmp_path}/jobs")) == (1, True)


@pytest.mark.parametrize("jobs", [0, -1, 1.5, "2", True, 5000])
def test_the_number_of_jobs_is_checked(jobs):
    with pytest.raises(UsageError, match=r"launcher\.jobs must be a whole number of at least 1 and at most 1024, got"):
        LocalLauncher(jobs)
