"""A space and settings of the trainer as one space."""

import pickle
from collections import Counter

import numpy as np
import pytest
from conftest import ToySpace
from test_conditional_spaces import Layers

from nas.errors import UsageError
from nas.space import Categorical, Float, Integer, Ordinal
from nas.space.notation import parse
from nas.space.tuned import TunedSpace

TUNE = {
    "momentum": Ordinal((0.5, 0.9)),
    "lr": Float(0.01, 1.0, log=True, steps=3),
    "optimizer": Categorical(("sgd", "adamw")),
    "network.channels": Integer(4, 8, step=4),
}


@pytest.fixture
def space():
    return TunedSpace(Layers(), TUNE)


def test_an_architecture_has_both_parts(space):
    architecture = space.from_text("depth=1;width=16 @ optimizer=sgd;momentum=0.9;lr=0.1;network.channels=8")
    assert space.trainer_settings(architecture) == {
        "optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "network.channels": 8,
    }  # fmt: skip
    assert space.decided_sizes(architecture) == {"channels": 8}
    assert space.settings(architecture)["tune.lr"] == 0.1
    assert space.to_text(architecture) == "depth=1;width=16 @ optimizer=sgd;momentum=0.9;lr=0.1;network.channels=8"


def test_momentum_matters_only_with_sgd(space):
    text = "depth=1;width=8 @ optimizer=adamw;lr=0.01;network.channels=4"
    architecture = space.from_text(text)
    assert "tune.momentum" not in space.active(architecture)
    assert "momentum" not in space.trainer_settings(architecture)
    assert space.to_text(architecture) == text


def test_the_size_is_the_product(space):
    assert space.size == len(list(space.architectures())) == Layers().size * (2 * 3 * 2 + 3 * 2)
    assert space.size_is_exact


def test_one_decision_of_either_part_is_mutated(space):
    rng = np.random.default_rng(0)
    kinds = Counter()
    for _ in range(600):
        before = space.sample(rng)
        after = space.mutate(before, rng)
        inner, tuned = (a != b for a, b in zip(space.parts(before), space.parts(after), strict=True))
        assert inner != tuned
        assert space.canonical(before) != space.canonical(after)
        kinds[inner] += 1
    assert 0.35 < kinds[True] / 600 < 0.65


def test_neighbours_crossover_and_codes_cover_both_parts(space):
    rng = np.random.default_rng(0)
    for _ in range(30):
        first, second = space.sample(rng), space.sample(rng)
        near = list(space.neighbours(first))
        assert len({space.canonical(each) for each in near} - {space.canonical(first)}) == len(near)
        space.validate(space.crossover(first, second, rng))
        assert space.encode(first).shape == space.encode(second).shape


def test_it_reaches_a_worker_process(space):
    copied = pickle.loads(pickle.dumps(space))
    assert copied.choices == space.choices


def test_a_setting_of_sgd_without_sgd_is_refused():
    tune = {"optimizer": Categorical(("adamw",)), "momentum": Ordinal((0.5, 0.9))}
    with pytest.raises(UsageError, match=r"tune\.momentum has no effect, since tune\.optimizer is never sgd"):
        TunedSpace(ToySpace(), tune)


def test_nesterov_matters_only_with_a_momentum():
    space = TunedSpace(ToySpace(), {"nesterov": Categorical((True, False)), "momentum": Ordinal((0.0, 0.9))})
    assert space.size == 4**6 * 3


def test_an_option_with_the_separator_is_refused():
    with pytest.raises(UsageError, match=r"tune\.lr: the option a@b contains '@', which separates the settings"):
        TunedSpace(ToySpace(), {"lr": Categorical(("a@b", "c"))})


def test_a_setting_is_tuned_once():
    with pytest.raises(UsageError, match=r"tune\.lr is a decision of the space already"):
        TunedSpace(TunedSpace(ToySpace(), {"lr": Float(0.1, 1.0)}), {"lr": Float(0.1, 1.0)})


def test_text_without_the_settings_says_what_is_missing():
    space = TunedSpace(ToySpace(), {"lr": Float(0.1, 1.0)})
    with pytest.raises(UsageError, match=r"has no settings of tune.lr; expected ARCHITECTURE @ lr=0.1"):
        parse(space, "d0=a;d1=a;d2=a;d3=a;d4=a;d5=a")
