"""A user's own space: one class and one YAML file in a folder outside the repository."""

import json
import shlex

import pytest
from users_space import write

from nas import UsageError
from nas.cli.commands.search import automatic_name
from nas.config.composition import group_options
from nas.config.settings import compose

SPACES = ", ".join(group_options()["space"])


def test_it_is_searched_retrained_and_exported_like_a_shipped_one(nas, tmp_path):
    write(tmp_path)
    quick = ["trainer.epochs=2", "trainer.network={}", "trainer.threads=1", "format=json"]
    arguments = ["space=mine", "data=digits", "budget.trials=2", "run=mine", "space.dropout=0.1", *quick]
    searched = nas("--config-dir", "conf", "search", *arguments)
    assert searched.returncode == 0, searched.stderr
    best = json.loads(searched.stdout)["best"]
    assert best["valid_accuracy"] > 0.3
    export = nas("export", "--config-dir", "conf", "run=mine", "format=genotype", "out=won")
    assert export.returncode == 0, export.stderr
    genotype = json.loads((tmp_path / "won" / "genotype.json").read_text())
    assert genotype["space"] == {"name": "mine", "settings": {"dropout": 0.1}}
    retrained = nas("retrain", "--config-dir=conf", "arch=won/genotype.json", *quick)
    assert retrained.returncode == 0, retrained.stderr
    assert json.loads(retrained.stdout)["text"] == best["arch"]


def test_a_missing_module_option_or_folder_is_reported_in_one_sentence(refused, tmp_path):
    write(tmp_path, target="my_spaec.MySpace")
    message = "space=mine cannot be constructed.*my_spaec"
    error = refused("search", "--config-dir", "conf", "space=mine", "budget.trials=1", match=message)
    assert error.count("\n") == 1
    refused("search", "space=mine", match=f"unknown space 'mine'.*; expected one of {SPACES}")
    error = refused("search", "--config-dir", "none", "space=mine", match="is not a folder")
    assert error == "nas: --config-dir none is not a folder\n"


LIGHT_PARTS = """
from light import LightSpace

class Evaluator:
    def __init__(self, space): ...
    def __call__(self, proposal, context): return {"valid_accuracy": sum(proposal.architecture) / 18}
"""


@pytest.fixture
def own_parts(nas, tmp_path):
    """A run with the user's own space and evaluator: `nas`, the search's result and its arguments."""
    (tmp_path / "my_parts.py").write_text(LIGHT_PARTS)
    for kind, target in (("space", "LightSpace"), ("evaluator", "Evaluator")):
        (tmp_path / "conf" / kind).mkdir(parents=True)
        (tmp_path / "conf" / kind / "mine.yaml").write_text(f"_target_: my_parts.{target}\n")
    arguments = ["search", "space=mine", "evaluator=mine", "budget.trials=3", "run=r"]
    searched = nas("--config-dir", "conf", *arguments)
    assert searched.returncode == 0, searched.stderr
    return nas, searched, arguments


def test_commands_on_a_run_say_that_it_was_made_with_a_config_dir(own_parts, refused, tmp_path):
    nas, searched, arguments = own_parts
    printed = [shlex.split(line, comments=True) for line in searched.stdout.splitlines() if line.startswith("  nas ")]
    assert [(line[1:3], line[3]) for line in printed] == [
        (["--config-dir", "conf"], command) for command in ("leaderboard", "retrain", "export")
    ]
    for command in ("retrain", "draw", "export"):
        error = refused(command, "run=r", match="^nas: unknown space 'mine'")
        assert error.endswith(
            f"; expected one of {SPACES}. It was created with --config-dir {tmp_path / 'conf'}; pass it here too\n"
        )
    assert nas("leaderboard", "run=r").returncode == 0
    assert nas("export", "--config-dir", "conf", "run=r", "format=genotype", "out=won").returncode == 0
    hint = f"; expected one of {SPACES}; an option of your own needs --config-dir"
    assert hint in refused("draw", "arch=won/genotype.json", match="unknown space 'mine'")
    # the location of the folder is not part of the run's identity
    (tmp_path / "conf").rename(tmp_path / "elsewhere")
    again = nas("--config-dir", "elsewhere", *arguments, "budget.trials=5")
    assert again.returncode == 0, again.stderr
    assert "(3 from an earlier session)" in again.stdout


def test_a_run_of_an_earlier_version_gets_a_hint():
    with pytest.raises(UsageError, match=f"expected one of {SPACES}; an option of your own needs --config-"):
        compose("describe", []).inheriting({"space": ("mine", {})})


def test_the_folder_is_not_part_of_the_automatic_name_of_a_run():
    config = {"choices": {"space": "a", "strategy": "b", "data": "c"}, "seed": 0}
    assert automatic_name(config) == automatic_name(config | {"config_dir": "/a/conf"})
