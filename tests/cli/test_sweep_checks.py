"""What a sweep refuses before its first job starts, and what its help lists."""

import json
import subprocess
import sys

import pytest

from nas.cli.sweep_checks import values_of
from nas.config.settings import compose

POSTGRES = "postgresql+psycopg://me@127.0.0.1:1/none"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "seed=0,-1"], "seed must be a whole number of at least 0, got -1"),
        (["search", "budget.trials=5,0"], "budget.trials must be a whole number of at least 1, got 0"),
        (["search", "seed=0,1", "objective.direction=up"], "objective.direction must be one of maximize, minimize"),
        (["search", "trainer.lr=0.1,-3"], "trainer.lr must be a number above 0, got -3"),
        (["search", "seed=0,1", "executor=processes", "workers=0"], "workers must be a whole number of at least 1"),
        (["compare", "seeds=3,0"], "seeds must be a whole number of at least 1 and at most 10000, got 0"),
        (["retrain", "run=one", "tested=last,first"], "tested must be one of last, best, got 'first'"),
        (["search", "seed=0,1", "launcher.partition=gpu"], "launcher.partition belongs to launcher=slurm, but "),
        (["search", "seed=0,1", "launcher=slurm", "launcher.minutes=0"], "launcher.minutes must be a whole number of"),
        (["search", "seed=0,1", "launcher=slurm", "launcher.partition=[a]"], "launcher.partition must be the name of"),
        (["search", "seed=0,1", "launcher=ray", "launcher.jobs=2"], "launcher.jobs belongs to launcher=local or slurm"),
        (
            ["search", "seed=0,1", "launcher=ray", "launcher.address=here"],
            "launcher.address must be auto, null or host",
        ),
        (["search", "seed=0,1", "+launcher.x=1"], "launcher=local cannot be constructed: launcher.x is not a setting"),
    ],
)
@pytest.mark.parametrize("more", [[], ["dry_run=true"]], ids=["run", "dry"])
def test_a_value_that_a_job_would_refuse_starts_none(nas, tmp_path, arguments, message, more):
    command, *values = arguments
    refused = nas(command, "-m", *values, *more)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"nas: {message}"), refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_opened_is_named_once_and_no_part_of_the_sweep(nas, tmp_path):
    (tmp_path / "file").write_text("")
    for url in ("sqlite:///file/nas.db", POSTGRES):
        refused = nas("search", "-m", "seed=0,1", "sweep=lab", f"store.url={url}")
        assert (refused.returncode, refused.stdout) == (1, "") or refused.returncode == 2
        assert refused.stderr.startswith("nas: store "), refused.stderr
        assert refused.stderr.count("nas: ") == 1
        assert [path.name for path in (tmp_path / "sweeps" / "lab").iterdir()] == ["lock"]


@pytest.mark.parametrize("name", ["a,b", "..", "/tmp/x", "a/b", "-a", "'a", "a\nb", " ", "x" * 101])
@pytest.mark.parametrize("flags", [["-m", "seed=0,1", "dry_run=true"], []], ids=["sweep", "single"])
def test_the_name_of_a_sweep_is_no_path_and_no_list(nas, tmp_path, name, flags):
    refused = nas("search", *flags, f"sweep={name}")
    assert refused.returncode == 2
    assert refused.stderr.startswith("nas: sweep must be a name of 1 to 100 letters, digits, spaces or ._-+=@~ that ")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_of_one_job_says_that_no_key_has_several_values(nas):
    listed = nas("search", "-m", "seed=3", "dry_run=true", "sweep=lab")
    assert listed.stdout.splitlines()[0] == "sweep lab: 1 job"
    assert listed.stderr == "nas: warning: no key has several values, such as seed=0,1 or seed=range(0,5)\n"
    assert nas("search", "-m", "seed=3,4", "dry_run=true").stderr == ""


def test_help_lists_the_settings_of_the_launcher(nas):
    text = nas("search", "-m", "launcher=slurm", "seed=range(0,3)", "strategy=random,reinforce", "--help").stdout
    assert "Settings of a sweep (-m), with launcher=slurm   one of local | ray | slurm:\n  sweep: null" in text
    assert "  launcher.partition=null\n" in text
    assert "  strategy=random   one of " in text
    assert nas("search", "--help").stdout.endswith("  launcher.jobs=1\n")
    shown = nas("search", "-m", "launcher=slurm", "--cfg")
    assert "nas search -m --help lists the settings of a sweep" in shown.stderr
    assert nas("runs", "-m", "--help").stderr.startswith("nas: -m has no use with nas runs, which computes nothing")


def test_a_default_counts_as_much_as_the_same_value_given():
    def values(*arguments, deferred=()):
        given = dict(argument.split("=", 1) for argument in arguments)
        keys = ["strategy", "strategy.population_size", "space.cells", "+strategy.x"]
        return values_of(lambda words: compose("search", words, deferred=deferred), given, keys, deferred)

    given = values("strategy=regularized_evolution", "strategy.population_size=10", "space.cells=5")
    assert values() == given
    assert given == {
        "strategy": "regularized_evolution",
        "strategy.population_size": "10",
        "space.cells": "5",
        "+strategy.x": None,
    }
    assert values("+strategy.x=1")["+strategy.x"] == "1"
    assert values(deferred=["space"])["space.cells"] is None  # the run has it
    assert values("strategy=gone")["strategy"] == "gone"  # an option of another version


def test_nothing_is_computed_before_the_first_job(tmp_path):
    program = (
        "import sys; from nas.cli.main import main; "
        "code = main(['search', '-m', 'seed=0,1', 'dry_run=true', 'format=json', 'progress=false']); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, len(json.loads(done.stdout)["jobs"])) == (0, 2), done.stderr
