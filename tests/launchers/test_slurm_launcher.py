"""Jobs of a SLURM cluster: with programs that only pretend, and (marked `slurm`) on a real one of one node."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from conftest import stored_trials
from launchers.one_node_slurm import is_installed, one_node_slurm

from nas import UsageError, UserError
from nas.launchers.base import Job, JobResult, save
from nas.launchers.slurm import RECORD, SLURMLauncher

SWEEP = ["search", "-m", "launcher=slurm", "launcher.minutes=5", "sweep=lab", "strategy=random,regularized_evolution",
         "seed=range(0,3)", "data=digits", "trainer=tiny", "budget.trials=40"]  # fmt: skip


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Puts programs of SLURM on PATH: name -> shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def put(**scripts):
        for name, script in {"srun": "exit 0", "squeue": "exit 0", "scancel": "exit 0", **scripts}.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)

    return put


def job(tmp_path, name):
    return Job(name, ("--version",), tmp_path / "jobs" / name, tmp_path)


def test_a_machine_without_slurm_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="launcher=slurm needs sbatch, squeue, scancel, srun, which this machine does"):
        SLURMLauncher().check()


def test_without_its_extra_the_launcher_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"launcher=slurm needs the extra slurm: pip install 'cellnas\[slurm\]'"):
        SLURMLauncher().check()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minutes": 0}, "launcher.minutes must be a whole number of at least 1, got 0"),
        ({"gpus": -1}, "launcher.gpus must be a whole number of at least 0, got -1"),
        ({"partition": ["gpu"]}, "launcher.partition must be the name of a partition or null, got ['gpu']"),
        ({"setup": "module load cuda"}, "launcher.setup must be a list of shell lines, got 'module load cuda'"),
        ({"more": {"a": [1]}}, "launcher.more must have a text or a number for each option, got {'a': [1]}"),
        ({"minutes": 2}, "launcher.warning_seconds must be less than launcher.minutes, which is 120 seconds, got 120"),
        ({"memory_gb": 0}, "launcher.memory_gb must be a number above 0 or null, got 0"),
    ],
)
def test_its_settings_are_checked(settings, message):
    with pytest.raises(UsageError) as raised:
        SLURMLauncher(**settings)
    assert str(raised.value) == message


def test_the_jobs_are_one_array_with_the_settings_of_the_launcher(tmp_path, programs, monkeypatch):
    programs(sbatch='cp "$1" submitted.sh; echo Submitted batch job 7', scancel='echo "$@" > cancelled')
    launcher = SLURMLauncher(
        partition="a100", minutes=90, memory_gb=1.5, cpus=4, gpus=1, jobs=2, setup=["module load cuda"],
        more={"account": "lab"},
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    results = launcher.run([job(tmp_path, name) for name in ("one", "two", "three")])

    def end_two():  # as its node does
        while not (tmp_path / "jobs" / "three" / RECORD).exists():
            time.sleep(0.05)
        save(job(tmp_path, "two"), JobResult("two", ("--version",), 0, 1.0))

    node = threading.Thread(target=end_two)
    node.start()
    assert next(results) == JobResult("two", ("--version",), 0, 1.0)
    node.join()
    script = (tmp_path / "submitted.sh").read_text()
    assert json.loads((tmp_path / "jobs" / "three" / RECORD).read_text()) == {"number": "7_2"}
    results.close()
    assert (tmp_path / "cancelled").read_text() == "7_0 7_2\n"
    for line in (
        "--array=0-2%2", "--partition=a100", "--time=90", "--mem=1536M", "--cpus-per-task=4", "--gpus-per-node=1",
        "--signal=USR1@120", "--account=lab", "--requeue", "module load cuda",
    ):  # fmt: skip
        assert line in script


def test_what_sbatch_refuses_is_one_sentence_and_said_once(tmp_path, programs, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    keys = "launcher.partition, minutes, memory_gb, cpus, gpus or more"
    for script, reason in (
        (
            "echo sbatch: error: invalid partition specified: nowhere >&2; echo sbatch: error: Submission failed. >&2",
            "invalid partition specified: nowhere; Submission failed",
        ),
        ("true", "sbatch failed without a message"),
    ):
        programs(sbatch=f"{script}; exit 1")
        with pytest.raises(UserError) as raised:
            next(SLURMLauncher(partition="nowhere").run([job(tmp_path, "one")]))
        assert str(raised.value) == f"SLURM refused the jobs: {reason}; change the setting that this is about ({keys})"
    assert capfd.readouterr() == ("", "")


def test_a_password_goes_to_the_jobs_but_into_no_file(tmp_path, programs, monkeypatch):
    programs(sbatch='test "$PGPASSWORD" = s3cret && echo it has the password >&2; exit 1')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGPASSWORD", "")
    one = replace(job(tmp_path, "one"), environment={"PGPASSWORD": "s3cret"})
    with pytest.raises(UserError, match="it has the password"):
        next(SLURMLauncher().run([one]))
    written = [path for path in (tmp_path / "jobs").rglob("*") if path.is_file()]
    assert any(path.suffix == ".pkl" for path in written)
    assert not [path for path in written if b"s3cret" in path.read_bytes()]


@pytest.mark.slurm
@pytest.mark.skipif(not is_installed(), reason="needs root, slurm-wlm and munge")
def test_a_sweep_whose_jobs_and_launcher_are_killed_ends_with_the_trials_of_an_undisturbed_one(tmp_path):
    with one_node_slurm(tmp_path / "slurm") as variables:
        environment = {**os.environ, **variables, "OMP_NUM_THREADS": "1"}

        def nas(*arguments):
            return subprocess.run(
                [sys.executable, "-m", "nas", *arguments], cwd=tmp_path, env=environment, capture_output=True,
                text=True, check=False,
            )  # fmt: skip

        def squeue(*more):
            return subprocess.run(
                ["squeue", "--noheader", *more], env=environment, capture_output=True, text=True, check=True
            ).stdout.split()

        def stored():
            return stored_trials(tmp_path / "nas.db")

        def start():
            return subprocess.Popen([sys.executable, "-m", "nas", *SWEEP], cwd=tmp_path, env=environment,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip

        def wait_for(condition, seconds=400):
            deadline = time.monotonic() + seconds
            while not condition():
                assert time.monotonic() < deadline
                time.sleep(1)

        def disturb(*command):
            """Do something to a running job; scancel tries again for a minute if the job is just being altered."""
            wait_for(lambda: squeue("--states=RUNNING", "--format=%A"))
            job = squeue("--states=RUNNING", "--format=%A")[0]
            say(f"$ {' '.join([*command, job])}")
            return subprocess.Popen(
                [*command, job], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

        def interrupted():
            logs = (tmp_path / "sweeps" / "lab").glob("*/log.txt")
            return sum(log.read_text().count("interrupted; every finished trial is stored") for log in logs)

        def say(text):
            print(f"{time.monotonic() - started:6.1f} s, {stored():3} trials stored: {text}", flush=True)

        started = time.monotonic()
        say(f"$ nas {' '.join(SWEEP)}")
        launcher = start()
        wait_for(lambda: stored() >= 3)
        say(f"queue: {', '.join(squeue('--array', '--format=%i=%T'))}")
        scancel = disturb("scancel", "--signal=TERM")
        wait_for(lambda: interrupted() == 1)
        wait_for(lambda: stored() >= 60)
        assert disturb("scontrol", "requeue").wait() == 0
        wait_for(lambda: interrupted() == 2)
        scancel.wait()
        launcher.kill()  # its jobs stay in the queue, and the next start attaches to them
        launcher.communicate()
        say("launcher killed by SIGKILL")
        say(f"queue: {', '.join(squeue('--array', '--format=%i=%T'))}")
        launcher = start()
        out, err = launcher.communicate(timeout=900)
        say("the same command again:")
        print(out)
        assert "sweep lab: 6 of 6 jobs done" in out, err
        found = json.loads(nas("leaderboard", "top=0", "format=json").stdout)
        trials = {(row["run"], row["number"]): (row["arch"], row["metrics"]) for row in found}
        assert len(trials) == 240
        alone = [word for word in SWEEP if not word.startswith(("-m", "launcher", "sweep", "strategy", "seed"))]
        for strategy in ("random", "regularized_evolution"):
            assert (
                nas(*alone, f"strategy={strategy}", "seed=1", "run=alone", "store.url=sqlite:///alone.db").returncode
                == 0
            )
            own = json.loads(nas("leaderboard", "top=0", "format=json", "store.url=sqlite:///alone.db").stdout)
            for row in own:
                assert trials[f"lab-strategy={strategy}-seed=1", row["number"]] == (row["arch"], row["metrics"])
            (tmp_path / "alone.db").unlink()
