"""What the commands refuse: one sentence for each mistake, and nothing is lost or changed."""

import re
import sqlite3

import pytest
from conftest import ARCH, QUICK_SETTINGS, rows

from nas.config.composition import group_options
from nas.export.assembly import forms
from nas.store.base import Run
from nas.store.sqlite import SQLiteStore

SPACES = ", ".join(group_options()["space"])
FORMATS = ", ".join(["genotype", *forms()])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serch"], "unknown command 'serch' (did you mean 'search'?)"),
        (["search", "--fast"], "unknown option '--fast'"),
        (["search", "budget.trials=0"], "budget.trials must be a whole number of at least 1, got 0"),
        (["search", "budget.hours=0"], "budget.hours must be a number above 0 or null, got 0"),
        (["search", "seed=-1"], "seed must be a whole number of at least 0, got -1"),
        (["search", "run="], "run must be a name of 1 to 100 printable characters, got ''"),
        (["search", "device=tpu"], "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
        (["search", "duplicates=skip"], "duplicates must be one of reuse, retrain, got 'skip'"),
        (["search", "objective.direction=up"], "objective.direction must be one of maximize, minimize, got 'up'"),
        (["search", "space=xyz"], f"unknown space 'xyz'; expected one of {SPACES}"),
        (["search", "strategy=evolution"], "unknown strategy 'evolution' (did you mean 'regularized_evolution'?)"),
        (["search", "strategy.sample_size=99"], "strategy.sample_size must be 1 to population_size (10), got 99"),
        (["search", "trainer.lr=-1"], "trainer.lr must be a number above 0, got -1"),
        (["search", "trainer.network.width=3"], "unknown key 'trainer.network.width'"),
        (["search", "+trainer.foo=1"], "training cannot be constructed: trainer.foo is not a setting of Recipe"),
        (["search", "+strategy.foo=1"], "strategy.foo is not a setting of RegularizedEvolution; leave it out"),
        (["search", "+strategy.a-b=1"], "strategy.a-b is not a setting of RegularizedEvolution; leave it out"),
        (["search", "store.url=nas.db"], "store.url must be sqlite:///FILE"),
        (["describe", "arch=|conv~0|+|a~0|b~1|+|c~0|d~1|e~2|"], "'conv~0' is not an edge of NAS-Bench-201"),
        (["describe", "arch=nothing"], "arch='nothing' is not a NAS-Bench-201 string"),
        (["describe", "format=xml"], "format must be one of table, json, got 'xml'"),
        (["retrain"], "run=null and arch=null; expected one of run=, comparison= and arch="),
        (["retrain", "arch=none.json"], "arch=none.json cannot be read (No such file or directory)"),
        (["leaderboard"], "there is no store nas.db"),
        (["export", "run=x"], "there is no store nas.db"),
        (["retrain", f"arch={ARCH}", "store.url=x.db"], "store.url must be sqlite:///FILE"),
        (["retrain", f"arch={ARCH}", "seed=9223372036854775808"], "seed must be a whole number of at least 0"),
        (["search", "dir=null"], "dir must be text, got null"),
        (["leaderboard", "top=-1"], "top must be a whole number of at least 0, got -1"),
    ],
)  # fmt: skip
def test_wrong_usage_gets_one_sentence_and_starts_nothing(refused, tmp_path, arguments, message):
    error = refused(*arguments, match=re.escape(message))
    assert error.startswith("nas: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["leaderboard", "run=two"], "there is no run 'two' in the store; it has 'one'"),
        (["leaderboard", "sort=speed"], "sort must be score, number or one of"),
        (["export", "run=one", "trial=7"], "trial=7 is not a trial of run 'one'; expected best or 0 to 2"),
        (["export", "run=one", "trial=last"], "trial=last is not a trial of run 'one'"),
        (
            ["export", "run=one", "format=tflite"],
            f"format must be one of {FORMATS}, got 'tflite'",
        ),
        (["retrain", "run=one", f"arch={ARCH}"], "expected one of run=, comparison= and arch="),
        (["search", "run=one", "objective.metric=speed", *QUICK_SETTINGS], "(now speed)"),
    ],
)
def test_mistakes_about_a_store_leave_it_as_it_was(searched, refused, arguments, message):
    before = rows(searched)
    assert refused(*arguments, match=re.escape(message)).count("\n") == 1
    assert rows(searched) == before


def test_a_store_names_its_last_runs_where_one_is_missing(refused, tmp_path):
    store = SQLiteStore(f"sqlite:///{tmp_path}/nas.db")
    for number in range(6):
        with store.open(Run(f"r{number}", 0, {}, {})):
            pass
    refused("leaderboard", "run=two", match="in the store; it has 'r1', 'r2', 'r3', 'r4', 'r5' and 1 more$")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "it has no key cellnas_genotype"),
        ('{"cellnas_genotype": 99}', "has version 99"),
        ('{"cellnas_genotype": 1, "space": {"name": "nasbench201"}}', "damaged genotype file"),
        (
            '{"cellnas_genotype": 1, "space": {"name": "nasbench201", "settings": "x"}, "arch": "x"}',
            "settings mappings",
        ),
        ('{"cellnas_genotype": 1, "space": {"name": 5}, "arch": "x"}', "names must be text"),
        (
            '{"cellnas_genotype": 1, "space": {"name": "nasbench201", "settings": {"_target_": "x"}}, "arch": "x"}',
            "_target_",
        ),
        (
            '{"cellnas_genotype": 1, "space": {"name": "nasbench201", "settings": {"cells": "${a}"}}, "arch": "x"}',
            "contains '${a}', and interpolation is not allowed; it was not used",
        ),
        ("[" * 100_000, "not valid JSON"),
        ('{"cellnas_genotype": 1, "space": {"name": "os.system"}, "arch": "x", "canonical": "x"}', "unknown space"),
        ('{"cellnas_genotype": 1, "space": {"name": "nasbench201"}, "arch": "x", "canonical": "x"}', "arch='x'"),
    ],
)
def test_a_damaged_genotype_file_is_refused(refused, tmp_path, content, message):
    (tmp_path / "g.json").write_text(content)
    assert refused("retrain", "arch=g.json", match=re.escape(message)).count("\n") == 1


def test_an_error_in_a_users_part_is_reported_with_its_line(refused, tmp_path):
    (tmp_path / "bad_space.py").write_text(
        "from nas import SearchSpace\n"
        "class Bad(SearchSpace):\n"
        "    choices = {'a': ('x', 'y')}\n"
        "    def build(self, architecture, task, network=None): ...\n"
        "    def canonical(self, architecture): return 1 / 0\n"
    )
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "bad.yaml").write_text("_target_: bad_space.Bad\n")
    message = r"unexpected ZeroDivisionError: division by zero \(bad_space.py:5, in canonical\)"
    command = ["--config-dir", "conf", "search", "space=bad", *QUICK_SETTINGS[:1], "budget.trials=1"]
    assert refused(*command, match=message, code=1).count("\n") == 1


def test_a_trial_that_cannot_be_trained_is_reported_and_stored(nas):
    result = nas("search", *QUICK_SETTINGS, "trainer.lr=1e30", "budget.trials=20", "budget.failures=3", "run=hot")
    assert result.returncode == 1
    assert "trial 0 failed: train loss became" in result.stderr
    assert "in epoch 1 of 1 (learning rate 1e+30). Try trainer.lr=1e+29" in result.stderr
    assert [row["error_kind"] for row in rows(nas)] == ["not_finite"] * 3
    assert "nas: no trial succeeded; the last error was: train loss became" in result.stderr
    assert result.stderr.endswith("The whole error: nas show run=hot trial=2\n")
    late = nas("search", *QUICK_SETTINGS, "trainer.time_limit=0.000001", "budget.trials=1", "run=late")
    assert late.returncode == 1
    assert rows(nas, "run=late")[0]["error_kind"] == "time_limit"


def test_a_search_that_gives_up_shows_where_the_users_code_failed(nas, tmp_path):
    (tmp_path / "failing_space.py").write_text(
        "from nas import SearchSpace\n"
        "class Failing(SearchSpace):\n"
        "    choices = {'a': ('x', 'y')}\n"
        "    def build(self, architecture, task, network=None):\n"
        "        return self.layers()\n"
        "    def layers(self):\n"
        "        raise KeyError('width')\n"
    )
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "failing.yaml").write_text("_target_: failing_space.Failing\n")
    command = ["--config-dir", "conf", "search", "space=failing", *QUICK_SETTINGS[:1], "budget.failures=1", "run=r"]
    result = nas(*command, "strategy=random", "progress=false", "store.url=sqlite:///a.db")
    assert result.returncode == 1
    printed = result.stderr.splitlines()
    assert printed[0].startswith(
        "nas: no trial succeeded; the last error was: KeyError: 'width' (failing_space.py:7, in"
    )
    assert [line.strip() for line in printed[1:-1] if "^" not in line] == [
        f'File "{tmp_path}/failing_space.py", line 5, in build',
        "return self.layers()",
        f'File "{tmp_path}/failing_space.py", line 7, in layers',
        "raise KeyError('width')",
        "KeyError: 'width'",
    ]
    assert printed[-1] == "The whole error: nas --config-dir conf show run=r trial=0 store.url=sqlite:///a.db"


def test_the_failures_in_a_row_are_found_by_their_usual_name(refused):
    refused("search", "max_failures=3", match=r"unknown key 'max_failures' \(did you mean 'budget.failures'\?\)")


def test_a_search_needs_no_test_batch_and_retraining_names_it(nas, refused, cifar10_root, few_cifar10_images, tmp_path):
    folder = tmp_path / "data" / cifar10_root.name
    folder.mkdir(parents=True)
    for path in cifar10_root.iterdir():
        if path.name != "test_batch":
            (folder / path.name).symlink_to(path)
    root = f"data.root={tmp_path}/data"
    assert nas("search", "data=cifar10", root, *QUICK_SETTINGS[1:], "budget.trials=1", "run=one").returncode == 0
    retrain = ["retrain", "run=one", root, "trainer.epochs=1", "trainer.network.cells=1"]
    assert refused(*retrain, match="test_batch cannot be read", code=1).count("\n") == 1


def test_a_read_only_store_is_refused_before_anything_is_trained(searched, refused, tmp_path):
    (tmp_path / "nas.db").chmod(0o444)
    refused("search", *QUICK_SETTINGS, "run=two", "budget.trials=1", match="store file nas.db is read-only")
    assert len(rows(searched)) == 3


def test_a_store_that_is_something_else_is_left_alone(refused, tmp_path):
    (tmp_path / "nas.db").write_text("not a database")
    for command in (["search", *QUICK_SETTINGS, "run=x"], ["leaderboard"], ["retrain", "run=x"], ["export", "run=x"]):
        refused(*command, match="nas.db is not an SQLite database")
    assert (tmp_path / "nas.db").read_text() == "not a database"


def test_a_store_of_a_newer_version_is_left_alone(searched, refused, tmp_path):
    with sqlite3.connect(tmp_path / "nas.db") as connection:
        connection.execute("UPDATE cellnas_meta SET value = '99' WHERE key = 'schema'")
        before = list(connection.iterdump())
    for command in (["search", *QUICK_SETTINGS, "run=x"], ["leaderboard"]):
        refused(*command, match=r"made by a newer version of cellnas \(schema 99")
    with sqlite3.connect(tmp_path / "nas.db") as connection:
        assert list(connection.iterdump()) == before


def test_another_part_is_named_without_all_its_settings(searched):
    other = searched("search", *QUICK_SETTINGS, "strategy=regularized_evolution", "run=one", "budget.trials=9")
    assert other.stderr == (
        "nas: run 'one' was started with strategy=random (now regularized_evolution). "
        "Choose another run= or restore the old value; nothing was changed.\n"
    )
