from types import MappingProxyType

import numpy as np
import pytest
from conftest import ToySpace, steep

from nas import Budget, search
from nas.errors import UsageError, UserError
from nas.space.base import SearchSpace
from nas.space.notation import parse, recorded_choices
from nas.strategies.random import RandomSearch


class Even(ToySpace):
    """Only architectures whose indices sum to an even number."""

    def is_valid(self, architecture):
        return sum(architecture) % 2 == 0


class Uneven(SearchSpace):
    choices = MappingProxyType({"depth": ("1", "2"), "only": ("x",), "width": ("8", "16", "32")})

    def build(self, architecture, task, network=None):
        raise AssertionError("not built here")


def test_sizes_text_neighbours_and_encoding_follow_from_the_choices():
    space = Uneven()
    assert space.sizes == (2, 1, 3)
    assert space.size == 6
    assert space.to_text((1, 0, 2)) == "depth=2;only=x;width=32"
    assert space.from_text("depth=2;only=x;width=32") == (1, 0, 2)
    assert space.options((1, 0, 2)) == ("2", "x", "32")
    assert list(space.neighbours((0, 0, 0))) == [(1, 0, 0), (0, 0, 1), (0, 0, 2)]
    assert space.encode((1, 0, 2)).tolist() == [0, 1, 1, 0, 0, 1]
    assert len(list(space.architectures())) == 6


def test_a_space_may_name_its_helpers_as_it_likes(rng):
    space = type("WithHelpers", (Uneven,), {"_free": 3, "_constrained": True})()
    assert space.mutate(space.sample(rng), rng) in set(space.architectures())


def test_mutation_never_picks_a_decision_without_alternative(rng):
    space = Uneven()
    children = {space.mutate((0, 0, 0), rng) for _ in range(200)}
    assert children == {(1, 0, 0), (0, 0, 1), (0, 0, 2)}


def test_constraints_hold_everywhere(rng):
    space = Even()
    for _ in range(100):
        a, b = space.sample(rng), space.sample(rng)
        for child in (a, space.mutate(a, rng), space.crossover(a, b, rng), *space.neighbours(a)):
            assert space.is_valid(child)
    assert len(list(space.architectures())) == 4**6 / 2


def test_a_space_without_valid_architectures_says_so(rng):
    class Empty(ToySpace):
        def is_valid(self, architecture):
            return False

    with pytest.raises(UserError, match="Empty: none of its architectures meets its constraints; loosen is_valid"):
        Empty().sample(rng)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [((0, 0, 0), "has 3 decisions, ToySpace has 6"), ((0, 0, 0, 0, 0, 4), "d5 must be 0 to 3, got 4")],
)
def test_architectures_of_another_space_are_refused(toy_space, architecture, message):
    with pytest.raises(UsageError, match=message):
        toy_space.validate(architecture)


@pytest.mark.parametrize("text", ["", "d0=a", "d0=a;d1=a;d2=a;d3=a;d4=a;d5=z", "d0=a;d1=a;d2=a;d3=a;d5=a;d4=a"])
def test_text_of_another_space_is_refused(toy_space, text):
    with pytest.raises(UsageError, match=r"is not an (architecture of ToySpace|option); expected"):
        toy_space.from_text(text)


def test_sampling_is_uniform_over_a_constrained_space():
    """Three valid architectures, so each is expected in 400 of 1,200 draws, with a standard deviation of 16."""

    class Half(Uneven):
        def is_valid(self, architecture):
            return architecture[0] == 1

    rng = np.random.default_rng(0)
    drawn = [Half().sample(rng) for _ in range(1200)]
    counts = [drawn.count((1, 0, width)) for width in range(3)]
    assert sum(counts) == 1200
    assert all(330 < count < 470 for count in counts)


def space_of(choices, notation=None):
    body = {"choices": choices, "build": Uneven.build}
    if notation is not None:
        body |= {"to_text": notation, "from_text": notation}
    return type("Mine", (SearchSpace,), body)()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"act": ("relu")}, r"Mine.choices\['act'\] must be a list or tuple of .*, got .relu.; write \("),
        ({"act": {"relu", "gelu"}}, r"Mine.choices\['act'\] must be a list or tuple of options, in order, got {"),
        ({"act": ("relu", "gelu", "relu")}, r"Mine.choices\['act'\] has the option 'relu' twice"),
        ({"width": (16, "16")}, r"Mine.choices\['width'\] has the option '16' twice"),
        ({"act": ()}, r"Mine.choices\['act'\] has no options"),
        ({"act": (None, "relu")}, r"Mine.choices\['act'\] has the option null; expected text"),
        ({"act": ("relu;b=1",)}, r"Mine.choices\['act'\] has the option 'relu;b=1'; expected printable"),
        ({"act": ("relu\n",)}, r"Mine.choices\['act'\] has the option 'relu\\n'; expected printable text"),
        ({"act": (" relu",)}, r"Mine.choices\['act'\] has the option ' relu'; expected printable text"),
        ({"a=b": ("relu",)}, r"Mine.choices\['a=b'\]: a decision must be named by printable text without ';', '='"),
        ({"a;b": ("relu",)}, r"Mine.choices\['a;b'\]: a decision must be named by printable text without ';', '='"),
        ({3: ("relu",)}, r"Mine.choices\[3\]: a decision must be named by printable text"),
        ({}, r"Mine.choices must be a mapping from each decision to its options, such as .*, got {}"),
        ([("act", ("relu",))], r"Mine.choices must be a mapping from each decision to its options"),
        (None, r"Mine.choices must be a mapping .*, got null"),
    ],
)  # fmt: skip
def test_choices_that_cannot_be_searched_are_refused_by_name(choices, message):
    with pytest.raises(UsageError, match=message):
        search(space_of(choices), RandomSearch, steep, budget=Budget(trials=1))
    with pytest.raises(UsageError, match=message):
        parse(space_of(choices), "act=relu")


def test_numbers_and_equals_signs_in_options_are_written_as_text():
    space = space_of({"width": (16, 32), "op": ("k=3", "k=5"), "rate": np.array([0.1, 0.2])})
    assert parse(space, space.to_text((1, 0, 1))) == (1, 0, 1)
    assert recorded_choices(space) == [["width", ["16", "32"]], ["op", ["k=3", "k=5"]], ["rate", ["0.1", "0.2"]]]


def test_a_custom_notation_may_use_any_character():
    space = space_of({"a;b": ("x;y", "x=y")}, notation=lambda self, value: value)
    assert space.sizes == (2,)


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (ValueError("3 parts"), "'x' is not an architecture of Mine: ValueError: 3 parts"),
        (KeyError("q"), "'x' is not an architecture of Mine: KeyError: 'q'"),
        (UsageError("in its own words"), "^in its own words$"),
    ],
)
def test_any_exception_of_from_text_becomes_one_sentence(raised, message):
    def raising(self, text):
        raise raised

    with pytest.raises(UsageError, match=message):
        parse(space_of({"a": ("b",)}, notation=raising), "x")
