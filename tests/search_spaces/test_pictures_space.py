"""The space of methods for pictures of one's own."""

import numpy as np
import pytest
import torch

from nas.core import Task
from nas.errors import UsageError
from nas.space import SupportsPretrainedFeatures
from nas.testing import check_space
from search_spaces.pictures import GOOD_CELL, METHODS, Pictures

TASK = Task(channels=1, height=8, width=8, classes=3)


def test_it_meets_what_every_space_promises():
    check_space(Pictures(methods=("baseline", "searched")), TASK)


def test_texts_are_read_back_for_every_method():
    space, rng = Pictures(), np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(200)]
    assert {space.settings(one)["method"] for one in drawn} == set(METHODS)
    assert all(space.from_text(space.to_text(one)) == one for one in drawn)


def test_the_first_architectures_hold_every_method_and_the_tuned_baseline():
    space = Pictures()
    first = [space.settings(one) for one in space.first_architectures()]
    assert [one["method"] for one in first[:4]] == list(METHODS)
    assert {one["rate"] for one in first[:6] if one["method"] == "baseline"} == {0.3, 1.0, 3.0}
    assert first[1]["side"] == 224
    assert Pictures(backbone=None).methods == ("baseline", "searched")


def test_a_method_decides_its_training():
    space = Pictures(epochs={"finetuned": 3}, train_images={"searched": 500})
    tuned = space.trainer_settings(space.from_text("method=finetuned;finetuned_side=96;tuned=half;rate=3.0"))
    assert (tuned["epochs"], tuned["optimizer"], tuned["lr"]) == (3, "adamw", pytest.approx(9e-4))
    searched = space.trainer_settings(space.from_text(f"method=searched;rate=1.0;width=16;cell={GOOD_CELL}"))
    assert (searched["train_images"], searched["epochs"]) == (500, 10)
    assert space.trainer_settings(space.from_text("method=frozen;side=96"))["epochs"] == 1


@pytest.mark.parametrize("tuned", ["last", "half", "all"])
def test_a_tuned_network_trains_its_last_parts_and_keeps_its_statistics(tuned):
    space = Pictures()
    network = space.build(space.from_text(f"method=finetuned;finetuned_side=96;tuned={tuned};rate=1.0"), TASK)
    assert isinstance(network, SupportsPretrainedFeatures)
    trained = sum(p.numel() for p in network.body.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in network.body.parameters())
    assert (trained == whole) == (tuned == "all")
    assert 0 < trained <= whole
    network.train()
    before = network.body.head[1].running_mean.clone()
    assert network(torch.randn(4, 1, 8, 8)).shape == (4, 3)
    assert torch.equal(before, network.body.head[1].running_mean)


def test_large_pictures_are_reduced_before_a_network_that_starts_from_nothing():
    space = Pictures()
    network = space.build(space.from_text("method=baseline;rate=1.0"), Task(3, 224, 224, 5))
    assert network.factor == 5
    assert network(torch.zeros(2, 3, 224, 224)).shape == (2, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ["frozen"]}, r"space.methods=\['frozen'\] lacks baseline"),
        ({"methods": ["baseline", "magic"]}, r"space.methods=.* must be a list of some of baseline, frozen"),
        ({"sides": [128, 96]}, r"space.sides must rise"),
        ({"sides": [8]}, r"each of space.sides must be"),
        ({"epochs": {"magic": 1}}, r"space.epochs.magic is not a method; expected one of"),
        ({"epochs": {"baseline": 0}}, r"space.epochs.baseline must be a whole number of at least 1, got 0"),
        ({"shares": []}, r"space.shares=\[\] must be a list of some of last, half, all"),
        ({"download": 1}, r"space.download must be true or false"),
    ],
)
def test_a_mistake_is_one_sentence(settings, message):
    with pytest.raises(UsageError, match=message):
        Pictures(**settings)
