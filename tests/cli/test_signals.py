"""SIGTERM, SIGINT and SIGUSR1 end real commands cleanly: exit code, no orphan, no half-written file, and a resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ARCH, stored_trials

TINY = [
    "data=digits", "trainer=tiny", "trainer.epochs=1", "trainer.train_images=64", "trainer.valid_images=64",
    "trainer.network={channels: 4, cells: 1}", "progress=false", "device=cpu",
]  # fmt: skip
SEARCH = ["search", *TINY, "strategy=random", "duplicates=retrain", "budget.trials=100000", "run=one"]
RETRAIN = ["retrain", *TINY[:2], *TINY[3:4], *TINY[5:], f"arch={ARCH}", "trainer.epochs=100000", "out=trained"]


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run, with theirs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found += [int(stat.parent.name), *children(int(stat.parent.name))]
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def journal_lines(folder: Path) -> int:
    return sum(path.read_text().count("\n") for path in folder.rglob("*.journal") if path.is_file())


@pytest.fixture
def signalled(tmp_path):
    """Runs `nas …`, sends it signals when `moment` is true, and checks that nothing is left of it."""

    def run(arguments, moment, *signals, everyone=False, env=None):
        process = subprocess.Popen(
            [sys.executable, "-m", "nas", *arguments], cwd=tmp_path, env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not moment(process.pid) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        started = children(process.pid)
        for number in signals:
            for pid in (*started, process.pid) if everyone else (process.pid,):
                os.kill(pid, number)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        assert not out
        deadline = time.monotonic() + 10
        while any(map(is_running, started)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not any(map(is_running, started))
        assert not [path.name for path in tmp_path.rglob(".*")]  # what is written atomically has a hidden name
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return run


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGTERM], 143),
        pytest.param([signal.SIGINT, signal.SIGINT], 130, marks=pytest.mark.slow),
        ([signal.SIGUSR1, signal.SIGTERM], 138),
    ],
    ids=["sigterm", "sigint-twice", "sigusr1-then-sigterm"],
)
def test_a_signal_ends_a_search_and_the_same_command_resumes_it(signalled, tmp_path, nas, signals, code):
    ended = signalled(SEARCH, lambda _: stored_trials(tmp_path / "nas.db") >= 2, *signals)
    assert ended.returncode == code
    assert "\ninterrupted; every finished trial is stored. Resume with:\n  nas search" in ended.stderr
    stored = stored_trials(tmp_path / "nas.db")
    assert nas(*SEARCH, f"budget.trials={stored + 1}").returncode == 0
    assert stored_trials(tmp_path / "nas.db") == stored + 1


def test_workers_that_receive_the_signal_too_fail_no_trial(signalled, tmp_path, nas):
    number = signal.SIGUSR1
    arguments = [*SEARCH, "executor=processes", "workers=2"]
    ended = signalled(arguments, lambda _: stored_trials(tmp_path / "nas.db") >= 2, number, everyone=True)
    assert ended.returncode == 128 + number
    trials = json.loads(nas("leaderboard", "run=one", "top=0", "format=json").stdout)
    assert {trial["status"] for trial in trials} == {"completed"}


@pytest.mark.slow
def test_workers_that_receive_the_signal_while_they_start_are_no_error(signalled):
    ended = signalled(
        [*SEARCH, "executor=processes", "workers=2"], lambda pid: len(children(pid)) >= 2, signal.SIGTERM, everyone=True
    )
    assert ended.returncode == 143
    assert "cannot start" not in ended.stderr


def test_a_signal_ends_a_training_and_leaves_its_checkpoint(signalled, tmp_path):
    ended = signalled(RETRAIN, lambda _: (tmp_path / "trained.partial.pt").exists(), signal.SIGTERM)
    assert ended.returncode == 143
    assert "rerun the command to resume from the last checkpoint" in ended.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("trained")] == ["trained.partial.pt"]


def test_a_signal_ends_an_export_and_the_process_that_checks_it(signalled, tmp_path):
    arguments = ["export", f"arch={ARCH}", "data=digits", "out=model", "format=[state]"]
    ended = signalled(arguments, children, signal.SIGTERM)
    assert ended.returncode == 143
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_a_signal_ends_a_tabulation(signalled, tmp_path):
    tabulate = ["tabulate", *TINY, "workers=2", "seeds=1"]
    ended = signalled(tabulate, lambda _: journal_lines(tmp_path) > 2, signal.SIGTERM)
    assert ended.returncode == 143
    assert not (tmp_path / "table.csv.gz").exists()


@pytest.mark.slow
def test_a_signal_ends_a_comparison(signalled, tmp_path):
    arguments = ["compare", *TINY, "evaluator=training", "strategies=[random]", "seeds=2", "budget.trials=9999"]
    arguments += ["executor=inline", "out=c"]
    ended = signalled(arguments, lambda _: stored_trials(tmp_path / "c" / "runs.db") > 1, signal.SIGTERM)
    assert ended.returncode == 143
    assert "every finished run is stored. Resume with:" in ended.stderr


def test_a_signal_ends_a_sweep_and_its_jobs(signalled, tmp_path, nas):
    arguments = [*SEARCH[:-1], "-m", "sweep=lab", "seed=0,1", "launcher.jobs=2"]
    ended = signalled(arguments, lambda _: stored_trials(tmp_path / "nas.db") >= 4, signal.SIGTERM)
    assert ended.returncode == 143
    assert (
        "\ninterrupted; finished jobs and trials are stored. Resume with:\n  nas search -m data=digits" in ended.stderr
    )
    assert ended.stderr.count("interrupted") == 1
    for seed in (0, 1):
        log = (tmp_path / "sweeps" / "lab" / f"seed={seed}" / "log.txt").read_text()
        assert "interrupted; every finished trial is stored" in log
    states = [run["state"] for run in json.loads(nas("runs", "format=json").stdout)]
    assert states == ["interrupted", "interrupted"]


def test_sigterm_that_is_switched_off_stays_so(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    arguments = ["-c", f"trap '' TERM; exec {sys.executable} -m nas --version"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert subprocess.run(["sh", *arguments], cwd=tmp_path, env=env, capture_output=True, check=False).returncode == 0
