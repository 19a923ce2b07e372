"""A stranger's space: one class and one YAML in a folder outside of the repository."""

import json
import shlex

import pytest
from users_space import write

from nas import UsageError
from nas.cli.commands.search import automatic_name
from nas.config.settings import compose


def test_it_is_searched_retrained_and_exported_like_our_own(shell, tmp_path):
    write(tmp_path)
    words = ["space=mine", "data=digits", "trainer.epochs=2", "budget.trials=3", "run=mine"]
    found = shell("--config-dir", "conf", "search", *words, "space.dropout=0.1", "format=json")
    assert found.returncode == 0, found.stderr
    best = json.loads(found.stdout)["best"]
    assert best["valid_accuracy"] > 0.3
    export = shell("export", "run=mine", "format=genotype", "out=won")
    assert export.returncode == 0, export.stderr
    genotype = json.loads((tmp_path / "won" / "genotype.json").read_text())
    assert genotype["space"] == {"name": "mine", "settings": {"dropout": 0.1}}
    again = shell(
        "retrain",
        "--config-dir=conf",
        "arch=won/genotype.json",
        "trainer.epochs=2",
        "trainer.network={}",
        "format=json",
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["text"] == best["arch"]


def test_what_is_missing_is_said_in_one_sentence(nas, tmp_path):
    write(tmp_path, target="my_spaec.MySpace")
    wrong = nas("search", "--config-dir", "conf", "space=mine", "budget.trials=1")
    assert wrong.returncode == 2
    assert "space=mine cannot be constructed" in wrong.stderr
    assert "my_spaec" in wrong.stderr
    assert wrong.stderr.count("\n") == 1
    unknown = nas("search", "space=mine")
    assert unknown.returncode == 2
    assert "unknown space 'mine'; there are darts, nasbench201, nasnet" in unknown.stderr
    nowhere = nas("search", "--config-dir", "none", "space=mine")
    assert (nowhere.returncode, nowhere.stderr) == (2, "nas: --config-dir none is not a folder\n")


LIGHT = """
from light import LightSpace

class Evaluator:
    def __init__(self, space): ...
    def __call__(self, proposal, context): return {"valid_accuracy": sum(proposal.architecture) / 18}
"""


@pytest.fixture
def own(nas, tmp_path):
    """A run on a space and an evaluator of the user's own."""
    (tmp_path / "my_parts.py").write_text(LIGHT)
    for kind, target in (("space", "LightSpace"), ("evaluator", "Evaluator")):
        (tmp_path / "conf" / kind).mkdir(parents=True)
        (tmp_path / "conf" / kind / "mine.yaml").write_text(f"_target_: my_parts.{target}\n")
    words = ["search", "space=mine", "evaluator=mine", "budget.trials=3", "run=r"]
    done = nas("--config-dir", "conf", *words)
    assert done.returncode == 0, done.stderr
    return nas, done, words


def test_commands_on_a_run_say_that_it_was_made_with_a_config_dir(own, tmp_path):
    nas, done, words = own
    printed = [shlex.split(line, comments=True) for line in done.stdout.splitlines() if line.startswith("  nas ")]
    assert [(line[1:3], line[3]) for line in printed] == [
        (["--config-dir", "conf"], command) for command in ("leaderboard", "retrain", "export")
    ]
    for command in ("retrain", "draw", "export"):
        lost = nas(command, "run=r")
        assert (lost.returncode, lost.stderr) == (
            2,
            "nas: unknown space 'mine'; there are darts, nasbench201, nasnet. "
            f"It was made with --config-dir {tmp_path / 'conf'}; give that here too\n",
        )
    assert nas("leaderboard", "run=r").returncode == 0
    assert nas("export", "--config-dir", "conf", "run=r", "format=genotype", "out=won").returncode == 0
    assert "unknown space 'mine'; there are darts, nasbench201, nasnet; an option of your own needs --config-dir" in (
        nas("draw", "arch=won/genotype.json").stderr
    )
    # where the folder lies is no part of the run: it may be moved
    (tmp_path / "conf").rename(tmp_path / "elsewhere")
    again = nas("--config-dir", "elsewhere", *words, "budget.trials=5")
    assert (again.returncode, "3 of them from before" in again.stdout) == (0, True)


def test_a_run_of_an_earlier_version_gets_a_hint():
    with pytest.raises(
        UsageError, match=r"there are darts, nasbench201, nasnet; an option of your own needs --config-"
    ):
        compose("describe", []).inheriting({"space": ("mine", {})})


def test_the_folder_is_no_part_of_a_runs_automatic_name():
    config = {"choices": {"space": "a", "strategy": "b", "data": "c"}, "seed": 0}
    assert automatic_name(config) == automatic_name(config | {"config_dir": "/a/conf"})
