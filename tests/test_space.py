from types import MappingProxyType

import numpy as np
import pytest
from conftest import ToySpace

from nas.core import UsageError, UserError
from nas.space import SearchSpace


class Even(ToySpace):
    """Only architectures whose indices sum to an even number."""

    def is_valid(self, architecture):
        return sum(architecture) % 2 == 0


class Uneven(SearchSpace):
    choices = MappingProxyType({"depth": ("1", "2"), "only": ("x",), "width": ("8", "16", "32")})

    def build(self, architecture, task, network=None):
        raise AssertionError("not built here")


def test_everything_follows_from_choices():
    space = Uneven()
    assert space.sizes == (2, 1, 3)
    assert space.size == 6
    assert space.to_text((1, 0, 2)) == "depth=2;only=x;width=32"
    assert space.from_text("depth=2;only=x;width=32") == (1, 0, 2)
    assert space.options((1, 0, 2)) == ("2", "x", "32")
    assert list(space.neighbours((0, 0, 0))) == [(1, 0, 0), (0, 0, 1), (0, 0, 2)]
    assert space.encode((1, 0, 2)).tolist() == [0, 1, 1, 0, 0, 1]
    assert len(list(space.architectures())) == 6


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

    with pytest.raises(UserError, match="Empty: none of 10000 random architectures meets its constraints"):
        Empty().sample(rng)


@pytest.mark.parametrize(
    ("architecture", "words"),
    [((0, 0, 0), "has 3 decisions, ToySpace has 6"), ((0, 0, 0, 0, 0, 4), "d5 must be 0 to 3, got 4")],
)
def test_architectures_of_another_space_are_refused(toy_space, architecture, words):
    with pytest.raises(UsageError, match=words):
        toy_space.validate(architecture)


@pytest.mark.parametrize("text", ["", "d0=a", "d0=a;d1=a;d2=a;d3=a;d4=a;d5=z", "d0=a;d1=a;d2=a;d3=a;d5=a;d4=a"])
def test_text_of_another_space_is_refused(toy_space, text):
    with pytest.raises(UsageError):
        toy_space.from_text(text)


def test_sampling_is_uniform_over_a_constrained_space():
    """12 valid architectures of 2 x 1 x 3 x …: chi-square of 1,200 draws over Even-like halves stays small."""

    class Half(Uneven):
        def is_valid(self, architecture):
            return architecture[0] == 1

    rng = np.random.default_rng(0)
    drawn = [Half().sample(rng) for _ in range(1200)]
    counts = [drawn.count((1, 0, width)) for width in range(3)]
    assert sum(counts) == 1200
    assert all(330 < count < 470 for count in counts)
