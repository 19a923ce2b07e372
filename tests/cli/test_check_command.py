"""`nas check`: a line for each promise of a part that a user wrote."""

import json
import re
import sys

import pytest

from nas.export.assembly import forms

SPACE = """
from torch import nn
from nas.space import SearchSpace


class Good(SearchSpace):
    choices = {"depth": ("1", "2"), "activation": ("relu", "gelu")}

    def build(self, architecture, task, network=None):
        depth, activation = self.options(architecture)
        layers, size = [nn.Flatten()], task.channels * task.height * task.width
        for _ in range(int(depth)):
            layers += [nn.Linear(size, 16), nn.ReLU() if activation == "relu" else nn.GELU(), nn.Dropout(0.2)]
            size = 16
        return nn.Sequential(*layers, nn.Linear(size, task.classes))


class Bad(Good):
    def mutate(self, architecture, rng):
        return tuple(1 - option for option in architecture)

    def from_text(self, text):
        return (0, 0)


class Wrong(Good):
    def build(self, architecture, task, network=None):
        return nn.Sequential(nn.Flatten(), nn.Linear(7, task.classes))
"""
PARTS = """
import random

from nas.core import Proposal
from nas.data.digits import Digits


class Forgetful:
    def __init__(self, space, objective):
        self.space, self.count = space, 0

    def reset(self, rng):
        self.count = 0

    def ask(self, rng, pending):
        self.count += 1
        return Proposal(self.space.sample(rng) if self.count % 2 else (0,) * len(self.space.sizes))

    def tell(self, trial):
        pass


class Noisy:
    def __init__(self, space):
        pass

    def __call__(self, proposal, context):
        return {"valid_accuracy": random.random()}


class Spaceless:
    def __call__(self, proposal, context):
        return {"valid_accuracy": 0.5}


class Scoring:
    def __init__(self, space, objective):
        self.space, self.objective = space, objective

    def reset(self, rng):
        pass

    def ask(self, rng, pending):
        return Proposal(self.space.sample(rng))

    def tell(self, trial):
        self.objective.score(trial)


class Shrunk(Digits):
    task = Digits.task.__class__(3, 8, 8, 10)
"""


@pytest.fixture
def check(nas, tmp_path, monkeypatch):
    """Runs `nas check` with options of a user's own."""
    for module in ("checked_space", "checked_parts"):  # another test's folder may be gone
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "checked_space.py").write_text(SPACE)
    (tmp_path / "checked_parts.py").write_text(PARTS)
    targets = {
        "space": {"good": "checked_space.Good", "bad": "checked_space.Bad", "wrong": "checked_space.Wrong"}
        | {"missing": "checked_space.Missing"},
        "strategy": {"forgetful": "checked_parts.Forgetful", "scoring": "checked_parts.Scoring"},
        "evaluator": {"noisy": "checked_parts.Noisy", "spaceless": "checked_parts.Spaceless"},
        "data": {"shrunk": "checked_parts.Shrunk"},
    }
    for group, options in targets.items():
        (tmp_path / "conf" / group).mkdir(parents=True)
        for option, target in options.items():
            more = "valid_fraction: 0.2\n" if group == "data" else ""
            (tmp_path / "conf" / group / f"{option}.yaml").write_text(f"_target_: {target}\n{more}")
    return lambda *arguments: nas("check", "--config-dir", "conf", *arguments)


def lines(result, sign):
    return [line.strip() for line in result.stdout.splitlines() if line.strip().startswith(sign)]


def test_a_good_space_keeps_every_promise(check):
    result = check("space=good", "export=false")
    assert result.stderr == ""
    assert lines(result, "✗") == []
    assert result.stdout.splitlines()[0] == "space=good"
    assert "  ✓ networks classify images of the task" in result.stdout
    assert result.stdout.splitlines()[-1] == f"{len(lines(result, '✓'))} requirements met, 0 failed"
    assert result.returncode == 0


@pytest.mark.slow
def test_a_random_architecture_is_exported_in_every_format(check):
    result = check("space=good")
    assert result.returncode == 0, result.stdout
    exported = [line.rsplit(" ", 1)[1] for line in lines(result, "✓ a random architecture can be exported as")]
    assert exported == sorted(forms())


def test_a_broken_promise_is_printed_with_the_line_that_broke_it(check):
    result = check("space=bad", "export=false")
    broken = lines(result, "✗")
    line = SPACE.splitlines().index("    def mutate(self, architecture, rng):") + 1
    assert broken[0].startswith("✗ mutate changes exactly one decision: mutate changed 2 decisions of ")
    assert broken[0].endswith(f"(checked_space.py:{line})")
    assert broken[1].startswith("✗ from_text reads what to_text writes: from_text('depth=")
    assert broken[2].startswith("✗ from_text refuses what is not of the space: from_text accepted nonsense")
    assert result.returncode == 1


def test_what_needs_a_broken_promise_is_not_checked(check):
    result = check("space=wrong")
    (broken,) = lines(result, "✗")
    assert "networks classify images of the task: " in broken
    assert "mat1 and mat2 shapes cannot be multiplied" in broken
    assert "checked_space.py:" in broken
    assert "- a network trains for an epoch: not checked" in lines(result, "-")
    assert result.stdout.splitlines()[-1].endswith(f"1 failed, {len(lines(result, '-'))} not checked")


@pytest.mark.parametrize(
    ("arguments", "promise", "reason"),
    [
        (["space=missing"], "it can be constructed", "checked_space.Missing"),
        (["strategy=forgetful", "space=good"], "ask is pure", "trial 0 was proposed as"),
        (["evaluator=noisy", "space=good"], "the same seed gives the same metrics", "context.measured"),
        (["evaluator=spaceless"], "it can be constructed", "Spaceless() takes no arguments"),
        (["data=shrunk"], "read_train gives images and labels", "the task says N x 3 x 8 x 8"),
    ],
)
def test_each_kind_of_part_is_checked(check, arguments, promise, reason):
    result = check(*arguments, "export=false", "format=json")
    assert result.returncode == 1
    broken = [verdict for verdict in json.loads(result.stdout) if verdict["kept"] is False]
    assert [verdict["part"] for verdict in broken] == [arguments[0]] * len(broken)
    (message,) = [verdict["reason"] for verdict in broken if verdict["promise"].startswith(promise)]
    assert reason in message


def test_a_table_is_checked_with_its_evaluator(nas):
    result = nas("check", "table=cifar10_8x8")
    assert (result.returncode, lines(result, "✗")) == (0, []), result.stdout
    assert "  ✓ it reports its columns after a search" in result.stdout


def test_a_gradient_strategy_is_checked_on_its_supernet(nas):
    result = nas("check", "strategy=gdas", "trainer.network={channels: 4, cells: 1}")
    assert (result.returncode, lines(result, "✗")) == (0, []), result.stdout
    assert "  ✓ alpha_step leaves the supernet's weights unchanged" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no part to check; name one of space, data, strategy, evaluator, table, executor, such as space="),
        (["trainer=tiny"], "no part to check; name one of"),
        (["space=good", "export=2"], "export must be true or false, got 2"),
        (["space=good", "format=yaml"], "format must be one of table, json, got 'yaml'"),
        (["space=goood"], "unknown space 'goood' (did you mean 'good'?)"),
    ],
)
def test_wrong_arguments_are_refused_with_one_sentence(check, refused, arguments, message):
    error = refused("check", "--config-dir", "conf", *arguments, match=re.escape(message))
    assert error.count("\n") == 1


def test_a_reason_that_several_promises_share_is_printed_once(check):
    result = check("strategy=scoring")
    assert result.stdout.splitlines()[0] == "strategy=scoring with space=nasbench201"
    first, *others = lines(result, "✗")
    line = PARTS.splitlines().index("        self.objective.score(trial)") + 1
    assert "trial 3 has no metric 'valid_accuracy' (it failed: made to fail)" in first
    assert first.endswith(f"(checked_parts.py:{line})")
    assert len(others) >= 4
    assert [line for line in others if not line.endswith(": as above")] == [others[-1]]  # whose first trial fails
