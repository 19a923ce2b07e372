"""A space of one network."""

import numpy as np
import pytest
import torch
from torch import nn

from nas.core import Task
from nas.errors import UsageError
from nas.testing import check_space
from search_spaces.darts import DARTS
from search_spaces.fixed import Fixed

TASK = Task(3, 16, 16, 7)


class Plain(nn.Sequential):
    def __init__(self, classes, in_chans, img_size, width=4):
        super().__init__(nn.Flatten(), nn.Linear(in_chans * img_size**2, width), nn.ReLU(), nn.Linear(width, classes))


def of_task(task, width=4):
    return Plain(task.classes, task.channels, task.height, width)


def with_keywords(**settings):
    return Plain(settings["num_classes"], 3, 16)


def needs_more(depth, num_classes):
    return Plain(num_classes, 3, 16, depth)


@pytest.mark.parametrize("name", ["Plain", "of_task", "with_keywords"])
def test_a_network_of_ones_own_is_built_for_the_task(name):
    network = Fixed(network=f"{__name__}.{name}").build((0,), TASK)
    assert network(torch.randn(2, 3, 16, 16)).shape == (2, 7)


def test_its_other_parameters_are_sizes():
    space = Fixed(network=f"{__name__}.Plain")
    assert space.network_sizes == ("width",)
    assert space.build((0,), TASK, {"width": 9})[1].out_features == 9
    assert space.known_sizes({"channels": 8, "cells": None, "width": None}) == {}
    with pytest.raises(UsageError, match=r"trainer\.network\.depth is not a size of Fixed; it has width"):
        space.known_sizes({"depth": 2})


def test_an_architecture_of_another_space_is_the_same_network():
    space = Fixed(arch="DARTS_V2")
    sizes = {"channels": 4, "cells": 3}
    torch.manual_seed(0)
    ours = space.build((0,), TASK, sizes)
    torch.manual_seed(0)
    theirs = DARTS().build(DARTS().from_text("DARTS_V2"), TASK, sizes)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert set(space.graphs((0,))) == {"normal", "reduction"}


def test_it_is_a_space_like_any_other():
    check_space(Fixed(network=f"{__name__}.Plain"), TASK)


def test_it_has_one_architecture():
    space, rng = Fixed(network=f"{__name__}.Plain"), np.random.default_rng(0)
    assert space.size == 1
    assert space.sample(rng) == space.mutate((0,), rng) == (0,)
    assert list(space.neighbours((0,))) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "expected one of them, such as space.arch=DARTS_V2 or space.network=my_net.Net"),
        ({"arch": "DARTS_V2", "network": "a.B"}, "expected one of them"),
        ({"network": "a.B", "of": "darts"}, "space.of=darts has no effect with space.network=a.B"),
        ({"arch": "DARTS_V3"}, "space.arch='DARTS_V3' is not an architecture of .*darts.*published names are"),
        ({"arch": "DARTS_V2", "of": "nasbench201"}, "not a NAS-Bench-201 string"),
        ({"network": "Net"}, "space.network=Net is not module.name; expected such as my_module.Net"),
        ({"network": "no_such_module.Net"}, "cannot be imported: No module named 'no_such_module'"),
        ({"network": "torch.nn.NoSuchLayer"}, "module torch.nn has no NoSuchLayer"),
        ({"network": "torch.__version__"}, "expected a class or a function"),
    ],
)
def test_what_names_no_network_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Fixed(**settings)


def test_a_network_that_needs_more_says_what_it_was_given():
    space = Fixed(network=f"{__name__}.needs_more")
    with pytest.raises(UsageError, match=r"cannot be built with num_classes=7: .*missing 1 required.*'depth'"):
        space.build((0,), TASK)
    assert space.build((0,), TASK, {"depth": 5})[1].out_features == 5
