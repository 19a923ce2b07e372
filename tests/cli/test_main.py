"""The commands as a person types them: results on stdout, one sentence for each mistake, and nothing lost."""

import inspect
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest
import users_space
from conftest import ARCH, QUICK_SETTINGS, rows
from torch import nn

from nas import UsageError, UserError, describe
from nas.cli.help import own_settings
from nas.cli.main import commands
from nas.cli.selection import named_architecture
from nas.config.composition import group_options
from nas.config.settings import compose, make_space
from nas.core import Task
from nas.data.digits import Digits
from nas.export.folder import Folder
from nas.export.prediction import logits_function
from nas.formatting import plural
from nas.space.base import SearchSpace
from nas.training import count
from nas.training.summary import DEFAULT_TASK
from search_spaces.nasbench201 import NASBench201

TABLE = ["evaluator=table", "table=cifar10_8x8", "strategy=random"]
"""A search that costs nothing."""


def test_a_message_is_one_line_and_moves_no_cursor_whatever_a_file_holds(refused, tmp_path):
    (tmp_path / "odd.csv").write_text("arch,\x1b[2Jaccuracy\u2028\n|x|,1\n")
    error = refused("search", *TABLE, "table.file=odd.csv", match=r"; it has arch, \\x1b\[2Jaccuracy\\u2028\.")
    assert error.count("\n") == 1


def test_describe_counts_for_cifar_images_unless_data_is_set(nas):
    facts = json.loads(nas("describe", "space=nasbench201", f"arch={ARCH}", "format=json").stdout)
    assert (facts["text"], facts["params"], facts["flops"]) == (ARCH, 802_426, 113_951_360)
    assert facts["decisions"]["0->1"] == "nor_conv_3x3"
    assert facts["canonical"] == "conv3#0(conv3#1(x))+conv3#2(x)+pool(conv3#1(x))+x"
    table = nas("describe", f"arch={ARCH}", "space.channels=1", "space.cells=1").stdout
    assert "task:        3x32x32, 10 classes (assumed, since data= is not set)" in table
    small = json.loads(nas("describe", f"arch={ARCH}", "data=digits", "space.channels=8", "format=json").stdout)
    assert small["params"] < facts["params"]
    assert small["task"] == "1x8x8, 10 classes"


def test_describe_in_python_gives_what_the_command_gives(nas):
    printed = json.loads(nas("describe", f"arch={ARCH}", "data=digits", "space.channels=8", "format=json").stdout)
    space = NASBench201(channels=8)
    assert describe(space, ARCH, Digits.task) == printed
    assert describe(space, space.from_text(ARCH), Digits.task) == printed
    assert describe(space, ARCH, network={"channels": 4})["network"] == {"channels": 4, "cells": 5}
    with pytest.raises(UsageError, match="is not a NAS-Bench-201 string"):
        describe(space, "nonsense")


class Failing(SearchSpace):
    """A space whose networks are all broken."""

    choices = MappingProxyType({"fails": ("in build", "counted", "in a library", "no network")})

    def build(self, architecture, task, network=None):
        (fails,) = self.options(architecture)
        if fails == "in build":
            raise KeyError("missing")
        if fails == "no network":
            return None
        layers = {"counted": lambda x: x.flatten(1) @ x.new_zeros(7, 7), "in a library": nn.Linear(7, 7)}
        return Calling(layers[fails])


class Calling(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)  # the line


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("in build", r"the network cannot be built for an image of 3x32x32, which is assumed if data= is not set: "
                     r"KeyError: 'missing' \(test_main.py:\d+, in build\)"),
        ("counted", r"the network fails on an image of 3x32x32, .*cannot be multiplied.* \(test_main.py:\d+, in "),
        ("in a library", r"the network fails on an image of 3x32x32, .* \(test_main.py:LINE, in forward\)"),
        ("no network", "build returned a NoneType; expected a torch.nn.Module"),
    ],
)  # fmt: skip
def test_describe_names_the_users_line_where_a_network_fails(fails, message):
    line = inspect.getsourcelines(Calling.forward)[1] + 1
    with pytest.raises(UserError, match=message.replace("LINE", str(line))):
        describe(Failing(), f"fails={fails}")
    small = Task(1, 12, 12, 5)
    if fails == "counted":
        with pytest.raises(UserError, match="fails on an image of 1x12x12: RuntimeError"):
            describe(Failing(), f"fails={fails}", small)


def test_describe_reads_a_file_with_one_architecture_a_line(nas, tmp_path, refused):
    other = ARCH.replace("avg_pool_3x3", "none")
    (tmp_path / "cells.txt").write_text(f"# two cells\n{ARCH}\n\n{other}\n")
    described = json.loads(nas("describe", "arch=cells.txt", "format=json").stdout)
    assert [one["text"] for one in described] == [ARCH, other]
    assert described[0] == json.loads(nas("describe", f"arch={ARCH}", "format=json").stdout)
    table = nas("describe", "arch=cells.txt").stdout
    assert all(f"{one['text']}" in table and f"{one['flops']:,}" in table for one in described)
    (tmp_path / "cells.txt").write_text(f"{ARCH}\nnonsense\n")
    refused("describe", "arch=cells.txt", match="arch=cells.txt, architecture 2: ")
    (tmp_path / "empty.txt").write_text("")
    refused("describe", "arch=empty.txt", match="arch=empty.txt holds no architecture; expected one per line")


def test_describe_without_an_architecture_describes_the_space(nas):
    facts = json.loads(nas("describe", "format=json").stdout)
    assert (facts["space"], facts["size"]) == ("nasbench201", 15_625)
    printed = nas("describe", "space=darts", "space.channels=8").stdout
    assert "space:       darts" in printed
    assert "  channels   8" in printed


def test_describe_prints_an_architecture_of_a_run(searched):
    best = json.loads(searched("leaderboard", "format=json").stdout)[0]
    assert json.loads(searched("describe", "run=one", "format=json").stdout)["text"] == best["arch"]
    first = json.loads(searched("describe", "run=one", "trial=0", "data=digits", "format=json").stdout)
    assert (first["text"], first["task"]) == (rows(searched)[0]["arch"], "1x8x8, 10 classes")


def test_raw_and_quoted_values_are_alike(nas, tmp_path):
    raw = nas("describe", f"arch={ARCH}", "format=json")
    quoted = nas("describe", f"arch='{ARCH}'", "format=json")
    assert raw.returncode == quoted.returncode == 0
    assert raw.stdout == quoted.stdout
    odd = "a run, 'odd' |x~0|+=[1]"
    folder = tmp_path / "a folder, with = signs"
    for mark in ("", '"'):
        arguments = [f"run={mark}{odd}{mark}", f"store.url={mark}sqlite:///{folder}/nas.db{mark}"]
        result = nas("search", *TABLE, "budget.trials=1", "format=json", *arguments)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["run"] == odd
        assert json.loads(result.stdout)["trials"] == 1


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


def test_a_larger_budget_extends_a_finished_run(searched):
    before = rows(searched)
    again = searched("search", *QUICK_SETTINGS, "strategy=random", "budget.trials=5", "run=one", "format=json")
    assert json.loads(again.stdout)["trials"] == 5
    assert rows(searched)[:3] == before


def test_other_settings_are_refused_with_the_keys_that_differ(searched, refused):
    before = rows(searched)
    other = ["search", *QUICK_SETTINGS, "strategy=random", "run=one", "seed=4", "trainer.lr=0.3", "budget.trials=9"]
    message = refused(*other, match=r"seed=0 \(now 4\)")
    assert "trainer.lr=0.1 (now 0.3)" in message
    assert "nothing was changed" in message
    assert rows(searched) == before


def test_without_a_name_the_same_command_resumes_the_same_run(nas):
    command = ["search", *TABLE, "format=json"]
    first = json.loads(nas(*command, "budget.trials=1").stdout)
    second = json.loads(nas(*command, "budget.trials=2").stdout)
    other = json.loads(nas(*command, "budget.trials=1", "seed=1").stdout)
    assert first["run"] == second["run"] != other["run"]
    assert second["trials"] == 2


def test_tensorboard_shows_every_trial_the_incumbent_and_the_curves_once(searched, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    searched("search", *QUICK_SETTINGS, "strategy=random", "budget.trials=4", "run=one")
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


def test_help_lists_every_setting_and_version_answers(nas):
    for command in commands():
        text = nas(command, "--help").stdout
        assert f"usage: nas {command}" in text
        own = text.split("Settings of the command:\n")[1].split("\n\n")[0].splitlines()
        assert all(line.startswith("  ") and not line.startswith("  -") and line.strip() for line in own)
    text = nas("search", "strategy=random", "--help").stdout
    assert "trainer.epochs=3" in text
    assert f"  strategy=random   one of {' | '.join(group_options()['strategy'])}\n" in text
    assert "strategy.sample_size" not in text
    assert nas("--version").stdout.startswith("cellnas 0.")
    overview = nas("--help").stdout
    assert "  leaderboard  Rank the trials of a store" in overview
    assert all(f"  {command} " in overview for command in commands())
    assert "trials: 7" in nas("search", "budget.trials=7", "--cfg", "job").stdout


def test_help_lists_the_settings_of_a_command_without_parts():
    """Its YAML has no defaults, and may begin with comments."""
    assert own_settings("# nas count: trials.\nrun: null   # a run\n") == ["run: null   # a run"]


def test_ctrl_c_leaves_a_run_that_the_printed_command_resumes(nas, tmp_path):
    arguments = ["search", *TABLE, "budget.trials=100000", "run=a b"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "/100000 trials" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    printed = shlex.split(err.strip().splitlines()[-1])
    assert printed == ["nas", *arguments]
    before = rows(nas, "run=a b")
    again = nas(*printed[1:], f"budget.trials={len(before) + 1}")
    assert again.returncode == 0
    assert f"{plural(len(before), 'trial')} stored; resuming after them" in again.stderr
    assert rows(nas, "run=a b")[:-1] == before


def test_stdout_can_be_closed_early(searched, tmp_path):
    command = f"{sys.executable} -m nas leaderboard format=json | head -c 1"
    result = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("[", "")


def test_the_module_and_the_command_are_the_same(shell):
    command = Path(sys.executable).with_name("nas")
    result = subprocess.run([str(command), "--version"], capture_output=True, text=True, check=True)
    assert shell("--version").stdout == result.stdout


def test_events_of_another_stores_run_are_left_alone(searched, tmp_path, refused):
    searched("search", *TABLE, "budget.trials=1", "run=one", "store.url=sqlite:///other.db")
    assert list((tmp_path / "runs" / "one").glob("tensorboard-1/search/events*"))
    error = refused(
        "search",
        *TABLE,
        "budget.trials=1",
        "run=two",
        "dir=/dev/null",
        match="TensorBoard events cannot be written",
        code=1,
    )
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "space", "parameters"),
    [
        ("DARTS_V2", "darts", 3_349_342),
        ("NASNet-A", "nasnet", 3_830_950),
        ("AmoebaNet-A", "nasnet", 3_145_078),
        ("NB101-best", "nasbench101", 32_426_634),
    ],
)
def test_a_published_name_finds_its_space(name, space, parameters):
    settings = compose("describe", [f"arch={name}"], deferred=("space",))
    settings, text, _ = named_architecture(settings, name, ("space",))
    assert settings.choices["space"] == space
    searched_space = settings.make("space")
    assert count.parameters(searched_space.build(searched_space.from_text(text), DEFAULT_TASK)) == parameters


def test_a_published_name_of_another_space_is_refused(refused):
    message = "arch=DARTS_V2 is a cell of space=darts, not of space=nasnet"
    refused("describe", "space=nasnet", "arch=DARTS_V2", match=message)


def test_an_earlier_export_is_left_alone(refused, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.json").write_text("{}")
    refused(
        "export", f"arch={ARCH}", "out=mine", match="mine holds an earlier export, .*choose another folder with out="
    )
    assert (tmp_path / "mine" / "model.json").read_text() == "{}"


def test_an_exported_onnx_file_needs_no_space(tmp_path):
    """A folder of a user's space is labelled by ONNX Runtime where the space is not at hand."""
    folder = Folder(tmp_path, {"space": {"name": "theirs", "settings": {}}})
    for name in ("model.safetensors", "model.onnx"):
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(UsageError, match=r"model\.onnx is not a valid ONNX model"):
        logits_function(folder, make_space)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(UsageError, match="unknown space 'theirs'"):
        logits_function(folder, make_space)


def test_the_commands_after_a_search_fit_a_users_space(nas, tmp_path):
    users_space.write(tmp_path)
    run = ["--config-dir", "conf", "search", "space=mine", "trainer.epochs=1", "trainer.train_images=50", "run=one"]
    printed = nas(*run, "trainer.valid_images=50", "budget.trials=1").stdout.split("Next:\n")[1]
    commands = [shlex.split(line, comments=True) for line in printed.splitlines()]
    retrain = ["nas", "--config-dir", "conf", "retrain", "run=one", "trial=best", "trainer=proxy"]
    assert [command for command in commands if "retrain" in command] == [retrain]
    shown = nas(*retrain[1:], "trainer.epochs=1", "trainer.train_images=50").stdout
    assert "data           digits (split " in shown
    assert "recipe         training and validation images, 50 of them, 1 epoch" in shown
