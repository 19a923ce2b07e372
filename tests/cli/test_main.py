"""The commands as a person types them: results on stdout, one sentence for each mistake, and nothing lost."""

import inspect
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import MappingProxyType

import pytest
from conftest import ARCH, QUICK, rows
from torch import nn

from nas import UsageError, UserError, describe
from nas.core import Task
from nas.data.digits import Digits
from nas.space.base import SearchSpace
from search_spaces.nasbench201 import NASBench201


def test_describe_counts_for_cifar_images_unless_data_are_given(nas):
    facts = json.loads(nas("describe", "space=nasbench201", f"arch={ARCH}", "format=json").stdout)
    assert (facts["text"], facts["params"], facts["flops"]) == (ARCH, 802_426, 113_951_360)
    assert facts["decisions"]["0->1"] == "nor_conv_3x3"
    assert facts["canonical"] == "conv3#0(conv3#1(x))+conv3#2(x)+pool(conv3#1(x))+x"
    small = json.loads(nas("describe", f"arch={ARCH}", "data=digits", "space.channels=8", "format=json").stdout)
    assert small["params"] < facts["params"]
    assert small["task"] == "1x8x8, 10 classes"


def test_describe_in_python_gives_what_the_command_gives(nas):
    said = json.loads(nas("describe", f"arch={ARCH}", "data=digits", "space.channels=8", "format=json").stdout)
    space = NASBench201(channels=8)
    assert describe(space, ARCH, Digits.task) == said
    assert describe(space, space.from_text(ARCH), Digits.task) == said
    assert describe(space, ARCH, network={"channels": 4})["network"] == {"channels": 4, "cells": 5}
    with pytest.raises(UsageError, match="is not a NAS-Bench-201 string"):
        describe(space, "nonsense")


class Failing(SearchSpace):
    """A space of which no network is sound."""

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
    ("fails", "said"),
    [
        ("in build", r"the network cannot be built for an image of 3x32x32, which is assumed where data= is not set: "
                     r"KeyError: 'missing' \(test_main.py:\d+, in build\)"),
        ("counted", r"the network fails on an image of 3x32x32, .*cannot be multiplied.* \(test_main.py:\d+, in "),
        ("in a library", r"the network fails on an image of 3x32x32, .* \(test_main.py:LINE, in forward\)"),
        ("no network", "build returned a NoneType; expected a torch.nn.Module"),
    ],
)  # fmt: skip
def test_describe_tells_of_a_network_that_fails_with_the_users_line(fails, said):
    line = inspect.getsourcelines(Calling.forward)[1] + 1
    with pytest.raises(UserError, match=said.replace("LINE", str(line))):
        describe(Failing(), f"fails={fails}")
    small = Task(1, 12, 12, 5)
    if fails == "counted":
        with pytest.raises(UserError, match="fails on an image of 1x12x12: RuntimeError"):
            describe(Failing(), f"fails={fails}", small)


def test_describe_takes_a_file_with_an_architecture_a_line(nas, tmp_path):
    other = ARCH.replace("avg_pool_3x3", "none")
    (tmp_path / "cells.txt").write_text(f"# two cells\n{ARCH}\n\n{other}\n")
    found = json.loads(nas("describe", "arch=cells.txt", "format=json").stdout)
    assert [one["text"] for one in found] == [ARCH, other]
    assert found[0] == json.loads(nas("describe", f"arch={ARCH}", "format=json").stdout)
    shown = nas("describe", "arch=cells.txt").stdout
    assert all(f"{one['text']}" in shown and f"{one['flops']:,}" in shown for one in found)
    (tmp_path / "cells.txt").write_text(f"{ARCH}\nnonsense\n")
    wrong = nas("describe", "arch=cells.txt")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "arch=cells.txt, architecture 2: " in wrong.stderr
    (tmp_path / "empty.txt").write_text("")
    assert "arch=empty.txt holds no architecture; expected one a line" in nas("describe", "arch=empty.txt").stderr


def test_describe_without_an_architecture_describes_the_space(nas):
    facts = json.loads(nas("describe", "format=json").stdout)
    assert (facts["space"], facts["size"]) == ("nasbench201", 15_625)
    assert "15,625" in nas("describe").stdout


def test_raw_and_quoted_values_are_alike(nas, tmp_path):
    raw = nas("describe", f"arch={ARCH}", "format=json")
    quoted = nas("describe", f"arch='{ARCH}'", "format=json")
    assert raw.returncode == quoted.returncode == 0
    assert raw.stdout == quoted.stdout
    odd = "a run, 'odd' |x~0|+=[1]"
    folder = tmp_path / "a folder, with = signs"
    for mark in ("", '"'):
        words = [f"run={mark}{odd}{mark}", f"store.url={mark}sqlite:///{folder}/nas.db{mark}"]
        found = nas("search", *QUICK, "budget.trials=1", "format=json", *words)
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


def test_help_lists_every_setting_and_version_answers(nas):
    for command in ("search", "leaderboard", "describe", "retrain", "export"):
        text = nas(command, "--help").stdout
        assert "Settings of the command:" in text
        assert f"usage: nas {command}" in text
    text = nas("search", "strategy=random", "--help").stdout
    assert "trainer.epochs=3" in text
    assert "strategy=random   of darts | drnas | gdas | local_search | lstm_controller | pc_darts | random |" in text
    assert "strategy.sample_size" not in text
    assert nas("--version").stdout.startswith("cellnas 0.")
    assert nas("--help").returncode == 0
    assert "trials: 7" in nas("search", "budget.trials=7", "--cfg", "job").stdout


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
    command = Path(sys.executable).with_name("nas")
    found = subprocess.run([str(command), "--version"], capture_output=True, text=True, check=True)
    assert shell("--version").stdout == found.stdout


def test_events_of_another_stores_run_are_kept(searched, tmp_path):
    searched("search", *QUICK, "strategy=random", "budget.trials=1", "run=one", "store.url=sqlite:///other.db")
    assert list((tmp_path / "runs" / "one").glob("tensorboard-1/search/events*"))
    wrong = searched("search", *QUICK, "budget.trials=1", "run=two", "dir=/dev/null")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "TensorBoard events cannot be written" in wrong.stderr


@pytest.mark.parametrize(
    ("name", "parameters"), [("DARTS_V2", 3_349_342), ("NASNet-A", 3_830_950), ("AmoebaNet-A", 3_145_078)]
)
def test_a_published_name_finds_its_space(nas, name, parameters):
    assert json.loads(nas("describe", f"arch={name}", "format=json").stdout)["params"] == parameters


def test_a_name_of_another_space_than_the_one_that_was_asked_for_is_refused(nas):
    done = nas("describe", "space=nasnet", "arch=DARTS_V2")
    assert done.returncode == 2
    assert "arch=DARTS_V2 is a cell of space=darts, not of space=nasnet" in done.stderr
