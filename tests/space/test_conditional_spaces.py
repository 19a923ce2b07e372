"""Decisions that matter only under options of others."""

from collections import Counter

import numpy as np
import pytest

from nas.core import Objective, Proposal
from nas.errors import UsageError, UserError
from nas.space import Categorical, Integer, Ordinal
from nas.space.base import SearchSpace
from nas.space.notation import recorded_conditions
from nas.strategies.reinforce import Reinforce


class Layers(SearchSpace):
    """Up to three layers; the third may be separable, and then has a rank."""

    choices = {
        "depth": Ordinal((1, 2, 3)),
        "width": Integer(8, 32, step=8),
        "kernel_2": Ordinal((3, 5, 7)),
        "kind_3": Categorical(("full", "separable")),
        "rank_3": Integer(1, 4),
    }
    conditions = {
        "kernel_2": {"depth": (2, 3)},
        "kind_3": {"depth": 3},
        "rank_3": {"kind_3": "separable"},
    }

    def build(self, architecture, task, network=None):
        raise AssertionError("not built here")


SPACE = Layers()
ALL = list(SPACE.architectures())


def test_what_is_off_is_the_first_option_and_is_not_written():
    assert SPACE.active((0, 1, 2, 1, 3)) == {"depth", "width"}
    assert SPACE.reduced((0, 1, 2, 1, 3)) == (0, 1, 0, 0, 0)
    assert SPACE.to_text((0, 1, 2, 1, 3)) == "depth=1;width=16"
    assert SPACE.canonical((0, 1, 2, 1, 3)) == SPACE.canonical((0, 1, 0, 0, 0))
    assert SPACE.settings((2, 0, 1, 1, 3)) == {
        "depth": 3, "width": 8, "kernel_2": 5, "kind_3": "separable", "rank_3": 4,
    }  # fmt: skip


def test_an_option_of_a_parent_that_is_off_itself_holds_for_nothing():
    assert "rank_3" not in SPACE.active((1, 0, 0, 1, 2))


def test_the_size_counts_what_differs_in_what_matters():
    assert SPACE.size == len(ALL) == len(set(ALL)) == 4 * (1 + 3 + 3 * (1 + 4))
    assert SPACE.size_is_exact


def test_text_is_read_back_and_must_name_what_matters():
    assert all(SPACE.from_text(SPACE.to_text(each)) == each for each in ALL)
    for text, message in (
        ("depth=1;width=8;kernel_2=3", "it has kernel_2, which is inactive here"),
        ("depth=2;width=8", "it lacks kernel_2, which is active here"),
        ("depth=1;depth=1;width=8", "expected text like 'depth=1;width=8'"),
    ):
        with pytest.raises(UsageError, match=message):
            SPACE.from_text(text)


def test_no_mutation_and_no_neighbour_is_idle():
    rng = np.random.default_rng(0)
    for architecture in ALL:
        known = SPACE.canonical(architecture)
        near = list(SPACE.neighbours(architecture))
        assert len(near) == len(set(near))
        assert known not in {SPACE.canonical(other) for other in near}
        assert all(SPACE.canonical(SPACE.mutate(architecture, rng)) != known for _ in range(20))


def test_what_becomes_active_by_a_mutation_is_drawn_uniformly():
    rng = np.random.default_rng(0)
    children = [SPACE.mutate((0, 0, 0, 0, 0), rng) for _ in range(4000)]
    counts = Counter(child[2] for child in children if child[0] == 1)
    assert set(counts) == {0, 1, 2}
    assert max(counts.values()) < 1.2 * min(counts.values())


def test_a_child_takes_what_matters_in_one_parent_from_it():
    rng = np.random.default_rng(0)
    deep, flat = (2, 0, 2, 1, 3), (0, 1, 0, 0, 0)
    children = {SPACE.crossover(deep, flat, rng) for _ in range(100)}
    assert {child[2:] for child in children if child[0] == 2} == {(2, 1, 3)}
    assert {child[2:] for child in children if child[0] == 0} == {(0, 0, 0)}


def test_codes_are_places_and_flags():
    """Depth and width always matter; kernel and rank have a flag; the kind is one-hot."""
    assert SPACE.encode((2, 3, 1, 1, 3)).tolist() == [1.0, 1.0, 0.5, 1.0, 0.0, 1.0, 1.0, 1.0]
    assert SPACE.encode((0, 0, 0, 0, 0)).tolist() == [0.0] * 8


def test_reinforce_learns_nothing_about_what_is_off():
    strategy = Reinforce(SPACE, Objective(), entropy_weight=0.1)
    strategy.reset(np.random.default_rng(0))
    gradient = strategy.gradient((0, 1, 0, 0, 0), advantage=1.0)
    assert np.abs(gradient[:2]).max() > 0
    assert not gradient[2:].any()
    proposals = [strategy.ask(np.random.default_rng(seed), ()) for seed in range(50)]
    assert all(proposal == Proposal(SPACE.reduced(proposal.architecture)) for proposal in proposals)


def test_conditions_are_recorded_by_their_options():
    assert recorded_conditions(SPACE) == [
        ["kernel_2", [["depth", ["2", "3"]]]],
        ["kind_3", [["depth", ["3"]]]],
        ["rank_3", [["kind_3", ["separable"]]]],
    ]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"kernel_2": {"dpth": 2}}, r"'dpth' is not a decision of the space \(did you mean 'depth'\?\)"),
        ({"nothing": {"depth": 2}}, "'nothing' is not a decision of the space"),
        ({"depth": {"width": 8}}, "depends on 'width', which comes later in choices; list 'width' before 'depth'"),
        ({"width": {"width": 8}}, "form a circle: width -> width"),
        ({"width": {"rank_3": 1}, "rank_3": {"width": 8}}, "form a circle: width -> rank_3 -> width"),
        ({"width": {"depth": 4}}, "depth has no option 4; expected one of 1, 2, 3"),
        ({"width": {"depth": ()}}, "no option of 'depth' is given, so 'width' never matters"),
        ({"width": (1, 2)}, "conditions must be a mapping such as"),
    ],
)
def test_a_condition_that_cannot_hold_is_refused_by_name(conditions, message):
    space = type("Other", (Layers,), {"conditions": conditions})()
    with pytest.raises(UsageError, match=message):
        space.sample(np.random.default_rng(0))


def test_a_space_with_too_many_states_to_count_says_at_most():
    gates = {f"gate_{i}": ("on", "off") for i in range(24)}
    layers = {f"layer_{i}": ("a", "b") for i in range(24)}
    conditions = {f"layer_{i}": {f"gate_{i}": "on"} for i in range(24)}
    space = type("Gated", (Layers,), {"choices": gates | layers, "conditions": conditions})()
    assert (space.size, space.size_is_exact) == (2**48, False)


@pytest.mark.parametrize("option", [None, np.int64(2)])
def test_any_single_option_may_be_a_condition_or_is_refused(option):
    space = type("Other", (Layers,), {"conditions": {"kernel_2": {"depth": option}}})()
    if option is None:
        with pytest.raises(UsageError, match="depth has no option null"):
            space.sample(np.random.default_rng(0))
    else:
        assert "kernel_2" in space.active((1, 0, 0, 0, 0))


class Rare(SearchSpace):
    """Three of 10,000 architectures are valid."""

    choices = {name: Integer(0, 9) for name in "abcd"}

    def is_valid(self, architecture):
        return architecture in {(1, 2, 3, 4), (5, 6, 7, 8), (9, 9, 9, 9)}

    def build(self, architecture, task, network=None):
        raise AssertionError("not built here")


def test_the_few_valid_architectures_of_a_small_space_are_listed_and_drawn_uniformly():
    space, rng = Rare(), np.random.default_rng(0)
    counts = Counter(space.sample(rng) for _ in range(60))
    assert len(counts) == space.size == 3
    assert space.size_is_exact
    assert min(counts.values()) > 8


def test_a_large_space_that_is_nearly_empty_says_so():
    class Large(Rare):
        choices = {name: Integer(0, 9) for name in "abcdefg"}

    space = Large()
    assert not space.size_is_exact
    with pytest.raises(UserError, match="none of 10,000 random architectures meets its constraints, so the space is"):
        space.sample(np.random.default_rng(0))
