"""The commands as a person types them: results on stdout, one sentence for each mistake, and nothing lost."""

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from conftest import ROOT

ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
QUICK = ["data=digits", "trainer.epochs=1", "trainer.train_images=200", "trainer.network={channels: 4, cells: 1}"]


@pytest.fixture
def searched(nas):
    """A finished search of three trials in the current folder, as run `one`."""
    assert nas("search", *QUICK, "strategy=random", "budget.trials=3", "run=one").returncode == 0
    return nas


def rows(nas, *words):
    return json.loads(nas("leaderboard", "sort=number", "top=0", "format=json", *words).stdout)


# --- what the commands give ---


def test_describe_counts_for_cifar_images_unless_data_are_given(nas):
    facts = json.loads(nas("describe", "space=nasbench201", f"arch={ARCH}", "format=json").stdout)
    assert (facts["text"], facts["params"], facts["flops"]) == (ARCH, 802_426, 113_951_360)
    assert facts["decisions"]["0->1"] == "nor_conv_3x3"
    assert facts["canonical"] == "conv3#0(conv3#1(x))+conv3#2(x)+pool(conv3#1(x))+x"
    small = json.loads(nas("describe", f"arch={ARCH}", "data=digits", "space.channels=8", "format=json").stdout)
    assert small["params"] < facts["params"]
    assert small["task"] == "1x8x8, 10 classes"


def test_describe_without_an_architecture_describes_the_space(nas):
    facts = json.loads(nas("describe", "format=json").stdout)
    assert (facts["space"], facts["size"]) == ("nasbench201", 15_625)
    assert "15,625" in nas("describe").stdout


def test_raw_and_quoted_values_work_alike_through_a_shell(shell, tmp_path):
    raw = shell("describe", f"arch={ARCH}", "format=json")
    quoted = shell("describe", f"arch='{ARCH}'", "format=json")
    assert raw.returncode == quoted.returncode == 0
    assert raw.stdout == quoted.stdout
    odd = "a run, 'odd' |x~0|+=[1]"
    folder = tmp_path / "a folder, with = signs"
    for mark in ("", '"'):
        words = [f"run={mark}{odd}{mark}", f"store.url={mark}sqlite:///{folder}/nas.db{mark}"]
        found = shell("search", *QUICK, "budget.trials=1", "format=json", *words)
        assert found.returncode == 0, found.stderr
        assert json.loads(found.stdout)["run"] == odd
        assert json.loads(found.stdout)["trials"] == 1


def test_a_trial_as_json_has_all_that_is_known_of_it(searched):
    listing = rows(searched)
    assert [row["number"] for row in listing] == [0, 1, 2]
    row = listing[0]
    assert {"run", "number", "arch", "canonical", "status", "error", "epochs", "seed", "metrics", "seconds"} <= set(row)
    assert (row["run"], row["status"], row["error"], row["epochs"]) == ("one", "completed", None, 1)
    assert 0 <= row["metrics"]["valid_accuracy"] <= 1
    assert {"valid_loss", "train_loss", "parameters", "flops"} <= set(row["metrics"])
    assert row["cost"]["peak_memory_mb"] > 0
    assert row["seconds"] > 0


def test_a_finished_run_goes_on_with_a_larger_budget_and_keeps_its_trials(searched):
    before = rows(searched)
    again = searched("search", *QUICK, "strategy=random", "budget.trials=5", "run=one", "format=json")
    assert json.loads(again.stdout)["trials"] == 5
    assert rows(searched)[:3] == before


def test_other_settings_are_refused_with_the_keys_that_differ(searched):
    before = rows(searched)
    other = searched("search", *QUICK, "strategy=random", "run=one", "seed=4", "trainer.lr=0.3", "budget.trials=9")
    assert other.returncode == 2
    assert "seed=0, now it is 4" in other.stderr
    assert "trainer.lr=0.1, now it is 0.3" in other.stderr
    assert "nothing was changed" in other.stderr
    assert rows(searched) == before


def test_without_a_name_the_same_command_continues_the_same_run(nas):
    words = ["search", *QUICK, "strategy=random", "format=json"]
    first = json.loads(nas(*words, "budget.trials=1").stdout)
    second = json.loads(nas(*words, "budget.trials=2").stdout)
    other = json.loads(nas(*words, "budget.trials=1", "seed=1").stdout)
    assert first["run"] == second["run"] != other["run"]
    assert second["trials"] == 2


def test_tensorboard_shows_every_trial_the_incumbent_and_the_curves_once(searched, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    searched("search", *QUICK, "strategy=random", "budget.trials=4", "run=one")
    events = EventAccumulator(str(tmp_path / "runs" / "one" / "tensorboard" / "search"))
    events.Reload()
    scores = [row["metrics"]["valid_accuracy"] for row in rows(searched)]
    assert [e.step for e in events.Scalars("trial/valid_accuracy")] == [0, 1, 2, 3]
    assert [e.value for e in events.Scalars("trial/valid_accuracy")] == pytest.approx(scores)
    assert [e.value for e in events.Scalars("incumbent/valid_accuracy")] == pytest.approx(
        [max(scores[: n + 1]) for n in range(4)]
    )
    curve = EventAccumulator(str(tmp_path / "runs" / "one" / "tensorboard" / "trial-0003"))
    curve.Reload()
    assert [e.value for e in curve.Scalars("curve/valid_accuracy")] == pytest.approx([scores[3]])


def test_export_and_retrain_go_round(searched, tmp_path):
    """Search, export, retrain the file and the trial; the test result stands on the leaderboard, measured once."""
    best = max(rows(searched), key=lambda row: row["score"])
    exported = searched("export", "run=one", "trial=best", "format=genotype", "out=won")
    assert exported.returncode == 0
    genotype = json.loads((tmp_path / "won" / "genotype.json").read_text())
    assert (genotype["arch"], genotype["found"]["trial"]) == (best["arch"], best["number"])
    assert searched("export", "run=one", "trial=best", "out=won").returncode == 0  # the same again changes nothing
    refused = searched("export", "run=one", "trial=0" if best["number"] else "trial=1", "out=won")
    assert (refused.returncode, "out=won is not empty" in refused.stderr) == (2, True)

    quick = ["trainer.epochs=2", "trainer.network={channels: 4, cells: 1}", "format=json"]
    first = json.loads(searched("retrain", "run=one", "trial=best", *quick).stdout)
    assert first["new"]
    assert (first["run"], first["trial"], first["text"]) == ("one", best["number"], best["arch"])
    assert 0 < first["metrics"]["test_accuracy"] <= 1
    again = json.loads(searched("retrain", "run=one", "trial=best", *quick).stdout)
    assert not again["new"]
    assert again["metrics"] == first["metrics"]
    other = json.loads(searched("retrain", "run=one", "trial=best", "seed=1", *quick).stdout)
    assert other["new"]
    assert other["metrics"] != first["metrics"]
    row = rows(searched, "run=one")[best["number"]]
    assert [test["metrics"]["test_accuracy"] for test in row["retrained"]] == [
        result["metrics"]["test_accuracy"] for result in (first, other)
    ]
    assert "test_accuracy" not in row["metrics"]
    assert "test_accuracy" in searched("leaderboard").stdout

    file = json.loads(searched("retrain", "arch=won/genotype.json", *quick).stdout)
    # same architecture, data, recipe and seed: the test set is not looked at again
    assert (file["new"], file["metrics"], file["folder"]) == (False, first["metrics"], first["folder"])


def test_the_checkpoint_scores_what_was_reported(searched):
    from safetensors.torch import load_file

    from nas.core import Task
    from nas.data.digits import Digits
    from nas.training.fit import evaluate
    from nas.training.recipe import Recipe
    from search_spaces.nasbench201 import NASBench201

    words = ["trainer.epochs=2", "trainer.network={channels: 4, cells: 1}", "format=json"]
    result = json.loads(searched("retrain", f"arch={ARCH}", "data=digits", *words).stdout)
    space = NASBench201(4, 1)
    network = space.build(space.from_text(ARCH), Task(1, 8, 8, 10))
    network.load_state_dict(load_file(f"{result['folder']}/model.safetensors"))
    accuracy, _ = evaluate(network, Digits().read_test(), Recipe(epochs=1))
    assert accuracy == result["metrics"]["test_accuracy"]


def test_help_lists_every_setting_and_version_answers(nas):
    for command in ("search", "leaderboard", "describe", "retrain", "export"):
        text = nas(command, "--help").stdout
        assert "Settings:" in text
        assert f"usage: nas {command}" in text
    assert "regularized_evolution" in nas("search", "--help").stdout
    assert nas("--version").stdout.startswith("cellnas 0.")
    assert nas("--help").returncode == 0
    assert "trials: 7" in nas("search", "budget.trials=7", "--cfg", "job").stdout


# --- what the commands refuse ---


@pytest.mark.parametrize(
    ("words", "said"),
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
        (["search", "space=resnet"], "unknown space 'resnet'; there are nasbench201"),
        (["search", "strategy=evolution"], "unknown strategy 'evolution' (did you mean 'regularized_evolution'?)"),
        (["search", "strategy.sample_size=99"], "strategy.sample_size must be 1 to population_size (10), got 99"),
        (["search", "trainer.lr=-1"], "trainer.lr must be a number above 0, got -1"),
        (["search", "trainer.network.width=3"], "unknown key 'trainer.network.width'"),
        (["search", "store.url=nas.db"], "store.url must be sqlite:///FILE"),
        (["describe", "arch=|conv~0|+|a~0|b~1|+|c~0|d~1|e~2|"], "'conv~0' is not an edge of NAS-Bench-201"),
        (["describe", "arch=nothing"], "arch='nothing' is not a NAS-Bench-201 string"),
        (["describe", "format=xml"], "format must be one of table, json, got 'xml'"),
        (["retrain"], "run=null and arch=null; expected exactly one of them"),
        (["retrain", "arch=none.json"], "arch=none.json cannot be read (No such file or directory)"),
        (["leaderboard"], "there is no store nas.db"),
        (["export", "run=x"], "there is no store nas.db"),
        (["retrain", f"arch={ARCH}", "store.url=x.db"], "store.url must be sqlite:///FILE"),
        (["retrain", f"arch={ARCH}", "seed=9223372036854775808"], "seed must be a whole number of at least 0"),
        (["search", "dir=null"], "dir must be text, got null"),
        (["leaderboard", "top=-1"], "top must be a whole number of at least 0, got -1"),
    ],
)  # fmt: skip
def test_wrong_usage_gets_one_sentence_and_starts_nothing(nas, tmp_path, words, said):
    result = nas(*words)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.startswith("nas: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["leaderboard", "run=two"], "there is no run 'two' in the store; it has 'one'"),
        (["leaderboard", "sort=speed"], "sort must be score, number or one of"),
        (["export", "run=one", "trial=7"], "trial=7 is not a trial of run 'one'; expected best or 0 to 2"),
        (["export", "run=one", "trial=last"], "trial=last is not a trial of run 'one'"),
        (["export", "run=one", "format=onnx"], "format must be one of genotype, got 'onnx'"),
        (["retrain", "run=one", f"arch={ARCH}"], "expected exactly one of them"),
        (["search", "run=one", "objective.metric=speed", *QUICK], "now it is speed"),
    ],
)
def test_mistakes_about_a_store_leave_it_as_it_was(searched, words, said):
    before = rows(searched)
    result = searched(*words)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert rows(searched) == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no valid JSON"),
        ("[1]", "it has no key cellnas_genotype"),
        ('{"cellnas_genotype": 99}', "is of version 99"),
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
        ("[" * 100_000, "no valid JSON"),
        ('{"cellnas_genotype": 1, "space": {"name": "os.system"}, "arch": "x", "canonical": "x"}', "unknown space"),
        ('{"cellnas_genotype": 1, "space": {"name": "nasbench201"}, "arch": "x", "canonical": "x"}', "arch='x'"),
    ],
)
def test_a_damaged_genotype_file_is_refused(nas, tmp_path, content, said):
    (tmp_path / "g.json").write_text(content)
    result = nas("retrain", "arch=g.json")
    assert (result.returncode, said in result.stderr, result.stderr.count("\n")) == (2, True, 1), result.stderr


SMALL = ["trainer.epochs=1", "trainer.train_images=100", "trainer.network={channels: 4, cells: 1}", "format=json"]


def test_retraining_tells_networks_of_unlike_settings_apart(nas):
    words = [
        "retrain",
        f"arch={ARCH}",
        "trainer.epochs=1",
        "trainer.train_images=100",
        "trainer.network={}",
        "format=json",
    ]
    small = json.loads(nas(*words, "space.cells=1", "space.channels=4").stdout)
    large = json.loads(nas(*words, "space.cells=1", "space.channels=8").stdout)
    assert (small["new"], large["new"]) == (True, True)
    assert small["metrics"]["parameters"] < large["metrics"]["parameters"]


def test_retraining_tries_store_and_folder_before_it_trains(nas, tmp_path, monkeypatch):
    def never(*args, **more):
        raise AssertionError("it trained")

    monkeypatch.setattr("nas.retraining.fit", never)
    (tmp_path / "notes.txt").write_text("not a database")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    for words, said in (
        (["store.url=sqlite:///notes.txt"], "is not an SQLite database"),
        (["out=notes.txt"], "notes.txt holds something else"),
        (["out=full"], "full holds something else"),
        (["out=/dev/null/x"], "cannot be written"),
    ):
        result = nas("retrain", f"arch={ARCH}", *SMALL, *words)
        assert (result.returncode in (1, 2), said in result.stderr, result.stderr.count("\n")) == (True, True, 1)
    assert (tmp_path / "full" / "precious").read_text() == "mine"


def test_a_retraining_whose_process_died_before_it_told_the_store_is_found_again(nas, tmp_path):
    first = json.loads(nas("retrain", f"arch={ARCH}", *SMALL).stdout)
    (tmp_path / "nas.db").unlink()
    again = json.loads(nas("retrain", f"arch={ARCH}", *SMALL).stdout)
    assert (again["new"], again["metrics"]) == (False, first["metrics"])
    assert not any(path.name.startswith(".") for path in (tmp_path / "runs" / "retrained").iterdir())


def test_a_retraining_that_diverges_is_no_result(nas, tmp_path):
    result = nas("retrain", f"arch={ARCH}", *SMALL, "trainer.lr=1e30")
    assert (result.returncode, "retraining failed" in result.stderr, result.stdout) == (1, True, "")
    assert list((tmp_path / "runs" / "retrained").iterdir()) == []


def test_events_of_another_stores_run_are_kept(searched, tmp_path):
    searched("search", *QUICK, "strategy=random", "budget.trials=1", "run=one", "store.url=sqlite:///other.db")
    assert list((tmp_path / "runs" / "one").glob("tensorboard-1/search/events*"))
    wrong = searched("search", *QUICK, "budget.trials=1", "run=two", "dir=/dev/null")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "TensorBoard events cannot be written" in wrong.stderr


def test_a_mistake_in_someones_part_is_told_with_its_place(nas, tmp_path, monkeypatch):
    (tmp_path / "bad_space.py").write_text(
        "from nas import SearchSpace\n"
        "class Bad(SearchSpace):\n"
        "    choices = {'a': ('x', 'y')}\n"
        "    def build(self, architecture, task, network=None): ...\n"
        "    def canonical(self, architecture): return 1 / 0\n"
    )
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "bad.yaml").write_text("_target_: bad_space.Bad\n")
    result = nas("--config-dir", "conf", "search", "space=bad", *QUICK[:1], "budget.trials=1")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "unexpected ZeroDivisionError: division by zero (bad_space.py:5, in canonical)" in result.stderr


def test_a_trial_that_cannot_be_trained_is_told_and_kept(nas):
    result = nas("search", *QUICK, "trainer.lr=1e30", "budget.trials=20", "budget.failures=3", "run=hot")
    assert result.returncode == 1
    assert "trial 0 failed: train loss became" in result.stderr
    assert "in epoch 1 of 1 (learning rate 1e+30). Try trainer.lr=1e+29" in result.stderr
    assert [row["error_kind"] for row in rows(nas)] == ["not_finite"] * 3
    late = nas("search", *QUICK, "trainer.time_limit=0.000001", "budget.trials=1", "run=late")
    assert late.returncode == 1
    assert rows(nas, "run=late")[0]["error_kind"] == "time_limit"


def test_the_search_passes_without_the_test_batch_and_retraining_says_what_is_missing(nas, cifar10_root, tmp_path):
    folder = tmp_path / "data" / cifar10_root.name
    folder.mkdir(parents=True)
    for path in cifar10_root.iterdir():
        if path.name != "test_batch":
            (folder / path.name).symlink_to(path)
    words = ["data=cifar10", f"data.root={tmp_path}/data", *QUICK[1:]]
    assert nas("search", *words, "budget.trials=1", "run=one").returncode == 0
    result = nas("retrain", "run=one", f"data.root={tmp_path}/data", "trainer.epochs=1", "trainer.network.cells=1")
    assert result.returncode == 1
    assert "test_batch cannot be read" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_read_only_store_is_told_before_anything_is_trained(searched, tmp_path):
    (tmp_path / "nas.db").chmod(0o444)
    result = searched("search", *QUICK, "run=two", "budget.trials=1")
    assert (result.returncode, "store file nas.db is read-only" in result.stderr) == (2, True)
    assert len(rows(searched)) == 3


def test_a_store_that_is_something_else_is_left_alone(nas, tmp_path):
    (tmp_path / "nas.db").write_text("not a database")
    for command in (["search", *QUICK, "run=x"], ["leaderboard"], ["retrain", "run=x"], ["export", "run=x"]):
        result = nas(*command)
        assert (result.returncode, "nas.db is not an SQLite database" in result.stderr) == (2, True)
    assert (tmp_path / "nas.db").read_text() == "not a database"


def test_a_store_of_a_newer_version_is_left_alone(searched, tmp_path):
    with sqlite3.connect(tmp_path / "nas.db") as connection:
        connection.execute("UPDATE cellnas_meta SET value = '2' WHERE key = 'schema'")
    for command in (["search", *QUICK, "run=x"], ["leaderboard"]):
        result = searched(*command)
        assert (result.returncode, "made by a newer version of cellnas (schema 2" in result.stderr) == (2, True)


def test_ctrl_c_leaves_a_run_that_the_printed_command_continues(nas, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", "search", "data=digits", "budget.trials=200", "trainer.threads=1", "run=a b"],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    assert "1/200 trials" in process.stderr.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    printed = shlex.split(err.strip().splitlines()[-1])
    assert printed == ["nas", "search", "data=digits", "budget.trials=200", "trainer.threads=1", "run=a b"]
    before = rows(nas, "run=a b")
    again = nas(*printed[1:], f"budget.trials={len(before) + 1}")
    assert again.returncode == 0
    assert f"{len(before)} trials are stored; going on after them" in again.stderr
    assert rows(nas, "run=a b")[:-1] == before


def test_stdout_can_be_closed_early(searched, tmp_path):
    command = f"{sys.executable} -m nas leaderboard format=json | head -c 1"
    result = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("[", "")


def test_the_module_and_the_command_are_the_same(shell):
    assert shell("--version").stdout == subprocess.run(
        [str(ROOT / ".venv/bin/nas") if (ROOT / ".venv/bin/nas").exists() else "nas", "--version"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
