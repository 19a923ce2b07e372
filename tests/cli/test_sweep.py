"""`nas COMMAND -m`: the jobs of a sweep, what a second start skips, and what is refused before anything runs."""

import json
import shlex

import pytest
from conftest import ARCH, rows

from nas.cli.rerun import without_secrets
from nas.launchers.base import Job

TABLE = ["evaluator=table", "table=cifar10_8x8", "budget.trials=5"]
RECORDING = """
import contextlib
import sys
from pathlib import Path

from nas.cli.main import main
from nas.launchers.base import JobResult


class Recording:
    '''Runs jobs in this process, and records their names; those in `failing` fail instead.'''

    def __init__(self, failing=(), reason="made to fail"):
        self.failing = list(failing)
        self.reason = reason

    def check(self):
        pass

    def run(self, jobs):
        with Path("ran.txt").open("a") as file:
            for job in jobs:
                print(job.name, file=file)
        for job in jobs:
            with contextlib.redirect_stdout(sys.stderr):
                code = 1 if job.name in self.failing else main(list(job.words))
            yield JobResult(job.name, tuple(job.words), code, 1.0, self.reason if code else None)
"""
SWEEP = ["--config-dir", "conf", "search", "-m", "launcher=recording", "sweep=lab", *TABLE]


@pytest.fixture
def folder(nas, tmp_path):
    """`nas` in a folder with a launcher of the user's own."""
    (tmp_path / "conf" / "launcher").mkdir(parents=True)
    (tmp_path / "conf" / "launcher" / "recording.yaml").write_text(
        "# In this process.\n_target_: recording.Recording\nfailing: []\nreason: made to fail\n"
    )
    (tmp_path / "recording.py").write_text(RECORDING)
    return nas


@pytest.fixture
def ran(tmp_path):
    """Names of the jobs that ran since the last call."""

    def names():
        path = tmp_path / "ran.txt"
        found = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    return names


def runs(nas):
    """Run -> texts of its trials."""
    found = {}
    for row in rows(nas):
        found.setdefault(row["run"], []).append(row["arch"])
    return found


def test_each_combination_is_a_run_named_after_what_differs(folder, ran):
    done = folder(*SWEEP, "strategy=random,regularized_evolution", "seed=range(0,2)")
    assert done.returncode == 0, done.stderr
    names = [f"strategy={strategy}-seed={seed}" for strategy in ("random", "regularized_evolution") for seed in (0, 1)]
    assert ran() == names
    assert set(runs(folder)) == {f"lab-{name}" for name in names}
    alone = folder("search", "strategy=random", "seed=1", *TABLE, "run=alone")
    assert alone.returncode == 0, alone.stderr
    found = runs(folder)
    assert sorted(found["alone"]) == sorted(found["lab-strategy=random-seed=1"])
    assert "sweep lab: 4 of 4 jobs done" in done.stdout
    assert "nas --config-dir conf leaderboard sweep=lab" in done.stdout


def test_the_same_command_skips_what_is_done_and_more_values_extend_it(folder, ran):
    first = [*SWEEP, "strategy=random"]
    assert folder(*first, "seed=0,1").returncode == 0
    assert ran() == ["seed=0", "seed=1"]
    again = folder(*first, "seed=0,1")
    assert (again.returncode, ran()) == (0, [])
    assert again.stdout.count("done before") == 2
    assert folder(*first, "seed=0,1,2").returncode == 0
    assert ran() == ["seed=2"]
    assert set(runs(folder)) == {"lab-seed=0", "lab-seed=1", "lab-seed=2"}


def test_a_job_whose_run_was_lost_runs_again(folder, ran, tmp_path):
    assert folder(*SWEEP, "seed=0,1").returncode == 0
    ran()
    for path in tmp_path.glob("nas.db*"):
        path.unlink()
    assert folder(*SWEEP, "seed=0,1").returncode == 0
    assert ran() == ["seed=0", "seed=1"]


def test_a_larger_budget_extends_each_run(folder, ran):
    assert folder(*SWEEP, "seed=0,1").returncode == 0
    ran()
    larger = [*SWEEP[:-1], "budget.trials=7"]
    assert folder(*larger, "seed=0,1").returncode == 0
    assert ran() == ["seed=0", "seed=1"]
    assert {len(texts) for texts in runs(folder).values()} == {7}


def test_a_failed_job_is_named_and_the_command_that_runs_it_again(folder, ran):
    arguments = [*SWEEP, "seed=0,1"]
    failing = folder(*arguments, "launcher.failing=[seed=1]")
    assert failing.returncode == 1
    assert "sweep lab: 1 of 2 jobs done" in failing.stdout
    assert "failed" in failing.stdout
    assert "made to fail" in failing.stdout
    printed = next(line for line in failing.stdout.splitlines() if " -m " in line)
    assert shlex.split(printed, comments=True) == ["nas", *arguments, "launcher.failing=[seed=1]"]
    ran()
    assert folder(*arguments).returncode == 0
    assert ran() == ["seed=1"]


def test_a_dry_run_prints_the_commands_and_starts_nothing(folder, ran, tmp_path):
    listed = folder(*SWEEP, "strategy=random,reinforce", "dry_run=true")
    lines = listed.stdout.splitlines()
    assert lines[0] == "sweep lab: 2 jobs"
    assert shlex.split(lines[1])[-2:] == ["run=lab-strategy=random", "sweep=lab"]
    assert ran() == []
    assert not (tmp_path / "sweeps").exists()
    document = json.loads(folder(*SWEEP, "seed=0,1", "dry_run=true", "format=json").stdout)
    assert [job["job"] for job in document["jobs"]] == ["seed=0", "seed=1"]


def test_a_sweep_without_a_name_gets_one_from_its_settings(folder):
    def name(*arguments):
        command = ["--config-dir", "conf", "search", "-m", "launcher=recording", "dry_run=true", *arguments]
        return folder(*command).stdout.split(":")[0]

    first = name("seed=0,1", "data=digits")
    assert first.startswith("sweep search-seed-")
    assert name("seed=0,1,2", "data=digits", "store.url=sqlite:///nas.db") == first  # further values extend it
    assert name("seed=0,1", "data=digits", "store.url=sqlite:///other.db") != first
    assert name("seed=0,1", "data=cifar10") != first


def test_another_command_writes_the_output_of_each_job_to_its_folder(folder, ran, tmp_path):
    arguments = ["--config-dir", "conf", "draw", "-m", "launcher=recording", "sweep=pictures"]
    drawn = folder(*arguments, "space=nasbench201", f"arch={ARCH}", "space.cells=1,2")
    assert drawn.returncode == 0, drawn.stderr
    assert ran() == ["space.cells=1", "space.cells=2"]
    for job in ("space.cells=1", "space.cells=2"):
        assert any((tmp_path / "sweeps" / "pictures" / job / "output").iterdir())


def test_json_holds_what_each_job_found(folder):
    document = json.loads(folder(*SWEEP, "seed=0,1", "format=json").stdout)
    assert document["sweep"] == "lab"
    assert [(job["run"], job["state"], job["trials"]) for job in document["jobs"]] == [
        ("lab-seed=0", "done", 5),
        ("lab-seed=1", "done", 5),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seeed=1,2"], "unknown key 'seeed' (did you mean 'seed'?)"),
        (["strategy=random,randon"], "unknown strategy 'randon' (did you mean 'random'?)"),
        (["seed=1,x"], "seed must be a whole number, got 'x'"),
        (["seed=range(0,10000)"], "this sweep has 10,000 jobs (10,000 of seed), more than max_jobs=1000; set max_jobs"),
        (["seed=1,2", "run=one"], "run= names a single search; name the runs of a sweep by sweep=NAME"),
        (["run=a,b", "seed=1,2"], "run=a would be the run of 2 jobs; leave run= out, or vary only run="),
        (["seed=1,2", "store.url=sqlite:///a.db,sqlite:///b.db"], "store.url has several values; expected one, since"),
        (["seed=1,2", "launcher=clusters"], "unknown launcher 'clusters'"),
        (["seed=1,2", "launcher.job=2"], "unknown key 'launcher.job' (did you mean 'launcher.jobs'?)"),
        (["seed=1,2", "launcher.jobs=0"], "launcher.jobs must be a whole number of at least 1 and at most 1024, got 0"),
        (
            ["seed=1,2", "sweep="],
            "sweep must be a name of 1 to 100 letters, digits, spaces or ._-+=@~ that begins with a",
        ),
        (["seed=1,2", "dry_run=maybe"], "dry_run must be true or false, got 'maybe'"),
        (["seed=1,2", "--cfg"], "--cfg and --info show one job of a sweep; leave out -m and the settings of the sweep"),
    ],
)
def test_a_wrong_sweep_is_refused_before_anything_runs(nas, tmp_path, arguments, message):
    refused = nas("search", "-m", *arguments)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"nas: {message}"), refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_sweeps_of_one_name_that_differ_are_refused(folder, ran):
    command = [*SWEEP[:5], "sweep=lab"]
    assert folder(*command, *TABLE, "strategy=random", "seed=0,1").returncode == 0
    ran()
    for arguments, difference in (
        ([*TABLE, "strategy=reinforce", "seed=0,1"], "strategy=random (now reinforce)"),
        ([*TABLE, "seed=0,1"], "strategy=random (now regularized_evolution)"),
        ([*TABLE, "strategy=random,reinforce"], "several values of seed (now several values of strategy)"),
        ([*TABLE, "strategy=random"], "several values of seed (now one value of each key)"),
        ([*TABLE, "strategy=random", "seed=0,1", "+strategy.x=1"], "no +strategy.x (now 1)"),
    ):
        refused = folder(*command, *arguments)
        assert refused.returncode == 2
        assert f"nas: sweep 'lab' was started with {difference}" in refused.stderr
        assert "Choose another sweep= or restore the old settings; nothing was changed." in refused.stderr
    assert ran() == []


def test_a_sweep_stays_in_its_store_however_its_path_is_written(folder, ran, tmp_path):
    command = [*SWEEP, "seed=0,1"]
    assert folder(*command, "store.url=sqlite:///lab.db").returncode == 0
    ran()
    refused = folder(*command)
    assert (refused.returncode, ran()) == (2, [])
    assert refused.stderr.startswith(
        "nas: sweep 'lab' was started with store.url=sqlite:///lab.db (now sqlite:///nas.db). Choose another sweep= or"
    )
    assert folder(*command, f"store.url=sqlite:///{tmp_path}/lab.db").returncode == 0


def test_what_follows_names_the_store_and_the_users_options_and_its_notes_are_aligned(folder):
    done = folder(*SWEEP, "seed=0,1", "store.url=sqlite:///lab.db")
    following = done.stdout.split("Next:\n")[1].splitlines()
    store = "sweep=lab store.url=sqlite:///lab.db"
    assert following == [
        f"  nas --config-dir conf leaderboard {store}   # all trials, comparable ones together",
        f"  nas --config-dir conf compare {store}       # statistics and curves of the finished searches",
    ]
    assert len(rows(folder, *shlex.split(following[0], comments=True)[4:])) == 10


def test_a_reason_is_printed_once_for_all_its_jobs_and_nothing_that_would_find_nothing_follows(folder):
    reason = "x" * 300
    arguments = [*SWEEP, "seed=0,1", "launcher.failing=[seed=0,seed=1]", f"launcher.reason={reason}"]
    failed = folder(*arguments)
    assert failed.returncode == 1
    lines = failed.stdout.splitlines()
    assert lines.count(f"jobs seed=0, seed=1 failed: {reason}") == 1
    assert any(line.startswith("log of job seed=0: ") and line.endswith("/seed=0/log.txt") for line in lines)
    following = failed.stdout.split("Next:\n")[1].splitlines()
    assert [shlex.split(line, comments=True) for line in following] == [["nas", *arguments]]


def test_a_default_that_is_spelled_out_is_no_other_sweep(folder, ran):
    assert folder(*SWEEP, "seed=0,1").returncode == 0
    ran()
    again = folder(*SWEEP, "seed=0,1", "strategy=regularized_evolution", "strategy.population_size=10")
    assert again.returncode == 0, again.stderr
    assert {len(texts) for texts in runs(folder).values()} == {5}
    other = folder("--config-dir", "conf", "retrain", "-m", "launcher=recording", "sweep=lab", "run=lab-seed=0")
    assert "nas: sweep 'lab' was started with nas search (now nas retrain). Choose another sweep=" in other.stderr


def test_a_setting_of_a_sweep_and_several_values_need_the_flag(nas):
    for argument, message in (
        ("dry_run=true", "dry_run=true is a setting of a sweep; add -m, or leave it out"),
        ("launcher.jobs=2", "launcher.jobs=2 is a setting of a sweep; add -m, or leave it out"),
        ("seed=0,1", "seed=0,1 contains several values; expected one (a list is written [a,b]), or -m to run"),
        ("strategy=random,reinforce", "strategy=random,reinforce names several options; expected one, or -m to run"),
    ):
        refused = nas("search", argument)
        assert (refused.returncode, refused.stderr.startswith(f"nas: {message}")) == (2, True), refused.stderr
    assert nas("leaderboard", "-m", "run=a,b").stderr.startswith("nas: -m has no use with nas leaderboard, which comp")


def test_a_damaged_definition_is_named_and_left_as_it_is(folder, tmp_path):
    assert folder(*SWEEP, "seed=0").returncode == 0
    path = tmp_path / "sweeps" / "lab" / "sweep.json"
    path.write_text("[]")
    refused = folder(*SWEEP, "seed=0")
    assert refused.returncode == 1
    assert "sweep.json is damaged; remove it if sweep 'lab' has not changed" in refused.stderr
    assert path.read_text() == "[]"


def test_the_password_of_a_store_is_neither_printed_nor_written(folder, tmp_path):
    url = "store.url=postgresql+psycopg://me:s3cret@127.0.0.1:1/none"
    listed = folder(*SWEEP, "seed=0,1", url, "dry_run=true")
    assert "store.url=postgresql+psycopg://me@127.0.0.1:1/none" in listed.stdout
    arguments, environment = without_secrets(["seed=0", url])
    assert arguments == ["seed=0", "store.url=postgresql+psycopg://me@127.0.0.1:1/none"]
    assert environment == {"PGPASSWORD": "s3cret"}
    assert "s3cret" not in repr(Job("one", arguments, tmp_path, tmp_path, environment))
    assert "s3cret" not in listed.stdout + listed.stderr


def test_long_and_odd_values_still_name_different_runs_and_folders(folder, tmp_path):
    values = ",".join(f"'{letter * 120}/{letter} é'" for letter in "ab")
    listed = folder(*SWEEP, f"dir={values}", "dry_run=true", "format=json")
    jobs = json.loads(listed.stdout)["jobs"]
    names = [next(word for word in shlex.split(job["command"]) if word.startswith("run=")) for job in jobs]
    assert len(set(names)) == 2
    assert all(len(name) <= 104 for name in names)
