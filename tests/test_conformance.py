"""Every part that has a YAML keeps the promises of its kind. A new part is found here by its YAML."""

import os
import re
from pathlib import Path

import pytest
from conftest import ROOT, ToySpace
from hydra.utils import get_class
from light import MixedSpace

from nas.config.checks import used_parts
from nas.config.composition import group_options
from nas.config.settings import compose
from nas.core import Objective, Task
from nas.data.cifar10 import TRAIN
from nas.errors import UsageError, UserError
from nas.supernets.base import SupernetSpace
from nas.testing import (
    check_data,
    check_evaluator,
    check_executor,
    check_gradient_strategy,
    check_space,
    check_strategy,
    check_supernet_space,
)

OPTIONS = group_options()
NAS_DATA = Path(os.environ.get("NAS_DATA", "/nowhere"))


WORDS = {"fixed": ["space.arch=DARTS_V2", "tune.lr=float(0.01, 0.5, log)", "tune.optimizer=categorical(sgd, adamw)"]}
"""Settings without which a space has nothing to search."""


def composed(group, option):
    return compose("search", [f"{group}={option}", *WORDS.get(option, ())])


def text(group, option):
    return (ROOT / "configs" / group / f"{option}.yaml").read_text()


# read from the YAML: a composition for each would take seconds while the tests are collected
WITH_SUPERNET = [
    option
    for option in OPTIONS["space"]
    if issubclass(get_class(re.search(r"_target_: (\S+)", text("space", option))[1]), SupernetSpace)
]
GRADIENT = [option for option in OPTIONS["strategy"] if "override /supernet@" in text("strategy", option)]
TINY = {
    "autoformer": {"width": 0.125},
    "darts": {"channels": 4, "cells": 3},
    "mobilenetv3": {"width": 0.1},
    "nasbench101": {"channels": 5, "cells": 1},
    "nasbench201": {"channels": 4, "cells": 1},
    "nasnet": {"channels": 4, "cells": 3},
}
"""The smallest sizes of a space that have every kind of cell."""


def tiny(option, space):
    """Sizes to test a space at; those of a space that `TINY` lacks are its own small ones."""
    return space.known_sizes(TINY.get(option, {"channels": 4, "cells": None}))


OF_DARTS = ("pc_darts", "gdas")
TRIALS = {"bayesian": 20, "lstm_controller": 8, "optuna": 24}
"""Trials of a search with a strategy that thinks for long."""
TEST_SPACES = {"toy": ToySpace, "mixed": MixedSpace}
GRID = 20_000
"""Most combinations of a grid here; larger spaces are refused."""


@pytest.mark.parametrize("task", [Task(3, 16, 16, 10), Task(1, 8, 8, 4)], ids=["16x16", "8x8"])
@pytest.mark.parametrize("option", OPTIONS["space"])
def test_spaces(option, task):
    space = composed("space", option).make("space")
    check_space(space, task, network=tiny(option, space))


def test_the_toy_space_of_the_tests_is_a_space():
    check_space(ToySpace(), Task(1, 8, 8, 4))


# the largest supernet takes long on 16x16; odd sizes and a single pixel ask more of it, and the strategies run on 8x8
@pytest.mark.parametrize(
    ("option", "task"),
    [
        pytest.param(option, task, marks=[pytest.mark.slow] * (option == "darts" and task.height == 16))
        for option in WITH_SUPERNET
        for task in (Task(3, 16, 16, 10), Task(1, 9, 7, 3), Task(2, 1, 1, 2))
    ],
)
def test_spaces_with_a_supernet(option, task):
    space = composed("space", option).make("space")
    check_supernet_space(space, task, tiny(option, space), samples=2)  # besides those with one option everywhere


@pytest.mark.parametrize(
    ("option", "name"),
    # the larger space only with the most of a supernet: a part of the channels, and sampled paths
    [(option, name) for option in GRADIENT for name in WITH_SUPERNET if name != "darts" or option in OF_DARTS],
)
def test_gradient_strategies(option, name):
    space = composed("space", name).make("space")
    make = composed("strategy", option).factory("strategy")
    if make(space=space, objective=Objective()).partial_channels > 1 and not space.supports_partial_channels:
        pytest.skip(f"space={name} takes no partial channels")
    check_gradient_strategy(make, space, Task(1, 8, 8, 4), tiny(name, space))


@pytest.mark.parametrize("option", GRADIENT)
def test_gradient_strategies_refuse_a_space_without_a_supernet(option):
    with pytest.raises(UsageError, match="needs a supernet, and the space NASNet has none"):
        composed("strategy", option).make(
            "strategy", space=composed("space", "nasnet").make("space"), objective=Objective()
        )


def pairs():
    """Every strategy with every space; those that think for long are tried on few of them, and on all by `-m slow`."""
    for option in OPTIONS["strategy"]:
        for name in [*TEST_SPACES, *OPTIONS["space"]] if option not in GRADIENT else ():
            slow = option in TRIALS and name not in (*TEST_SPACES, "nasbench201", "fixed")
            yield pytest.param(option, name, marks=[pytest.mark.slow] * slow)


@pytest.mark.parametrize(("option", "name"), pairs())
def test_strategies(option, name):
    space = TEST_SPACES[name]() if name in TEST_SPACES else composed("space", name).make("space")
    make = composed("strategy", option).factory("strategy")
    if option == "grid":
        make = compose("search", ["strategy=grid", f"strategy.max_combinations={GRID}"]).factory("strategy")
        if space.size > GRID:
            with pytest.raises(UsageError, match=r"a grid of \w+ has .*[\d,]+ combinations, more than"):
                make(space=space, objective=Objective())
            return
    check_strategy(make, space, trials=TRIALS.get(option, 60))


# cifar10 is the class of cifar10_8x8, which reads the same images; with `-m slow` each check reads all of them
@pytest.mark.parametrize(
    "option", [pytest.param(o, marks=[pytest.mark.slow] * (o == "cifar10")) for o in OPTIONS["data"]]
)
def test_data_sets(option, monkeypatch):
    if option in ("cifar10", "cifar10_8x8") and not (NAS_DATA / "cifar-10-batches-py").is_dir():
        pytest.skip("needs CIFAR-10 below NAS_DATA")
    if option == "cifar10_8x8":
        # one of five files, which each check reads from the disk: two reads are compared too
        monkeypatch.setattr("nas.data.cifar10.TRAIN", dict([*TRAIN.items()][:1]))
    monkeypatch.setattr("nas.data.torchvision_sets.reachable", lambda _address: "tests download nothing")
    chosen = composed("data", option)
    if "root" in chosen.node("data") and option not in ("cifar10", "cifar10_8x8"):
        try:
            chosen.make("data").read_train()
        except UserError as error:
            pytest.skip(f"needs its files: {error}")
    check_data(lambda: chosen.make("data"))


@pytest.mark.parametrize("option", [option for option in OPTIONS["evaluator"] if option != "table"])
def test_evaluators(option):
    used = used_parts(compose("search", [f"evaluator={option}"]).config) & {"trainer", "supernet"}
    words = ("epochs=1", "train_images=200", "network={channels: 4, cells: 1}")
    chosen = compose("search", [f"evaluator={option}", *(f"{part}.{word}" for part in sorted(used) for word in words)])
    check_evaluator(chosen.factory("evaluator"), chosen.make("space"))


@pytest.mark.parametrize("option", OPTIONS["table"])
def test_tables(option):
    chosen = compose("search", ["evaluator=table", f"table={option}"])
    file = chosen.get("table.file")
    if not file.startswith("pkg://") and not (NAS_DATA / file).is_file():
        pytest.skip(f"needs {file} below NAS_DATA")
    space = chosen.make("space")
    check_evaluator(chosen.factory("evaluator"), space)
    evaluator = chosen.make("evaluator", space=space)
    assert list(evaluator.reported(next(space.architectures()))) == list(chosen.get("table.reported"))


@pytest.mark.parametrize("option", [one for one in OPTIONS["executor"] if one != "ray"])  # by executors/test_ray.py
def test_executors(option):
    workers = ["workers=2"] if "${workers}" in text("executor", option) else []
    chosen = compose("search", [f"executor={option}", *workers])
    check_executor(chosen.make("executor"))
