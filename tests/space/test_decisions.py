"""Kinds of decision: options, order, scale and near moves, and what is refused."""

import pickle
from collections import Counter

import numpy as np
import pytest

from nas.errors import UsageError
from nas.space import Categorical, Float, Integer, Ordinal
from nas.space.decisions import decision
from nas.space.specification import parse_decision


def test_a_range_of_whole_numbers_has_every_step():
    assert tuple(Integer(8, 64, step=8)) == (8, 16, 24, 32, 40, 48, 56, 64)
    assert tuple(Integer(1, 3)) == (1, 2, 3)


def test_a_logarithmic_range_of_whole_numbers_has_each_once():
    assert tuple(Integer(1, 16, log=True, steps=5)) == (1, 2, 4, 8, 16)
    assert tuple(Integer(1, 4, log=True)) == (1, 2, 3, 4)


def test_a_range_of_real_numbers_has_its_ends_and_even_steps():
    assert tuple(Float(0.001, 1.0, log=True, steps=4)) == (0.001, 0.01, 0.1, 1.0)
    assert tuple(Float(0, 1, steps=5)) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert len(Float(0.1, 0.2)) == 21


def test_close_steps_keep_as_many_digits_as_tell_them_apart():
    options = tuple(Float(1.0, 1.0001, steps=11))
    assert len(set(options)) == 11
    assert options[1] == 1.00001


def test_rounding_keeps_a_range_rising():
    assert tuple(Float(0.99991, 0.99999, steps=3)) == (0.99991, 0.99995, 0.99999)


def test_places_are_scaled_as_the_range_is():
    assert [Float(0.001, 1.0, log=True, steps=4).scaled(i) for i in range(4)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert [Integer(10, 30, step=10).scaled(i) for i in range(3)] == [0.0, 0.5, 1.0]
    assert Ordinal(("small",)).scaled(0) == 0.0


def test_neighbours_of_an_ordered_option_are_beside_it_and_those_of_another_are_all():
    assert Ordinal((3, 5, 7)).adjacent(0) == [1]
    assert Ordinal((3, 5, 7)).adjacent(1) == [0, 2]
    assert Categorical(("a", "b", "c")).adjacent(0) == [1, 2]


def test_a_move_on_an_ordered_decision_is_near():
    """With weights exp(-d / 10), the mean distance from the middle of 100 options is about a tenth of them."""
    kind, rng = Integer(1, 100), np.random.default_rng(0)
    moved = [kind.moved(50, rng.random()) for _ in range(4000)]
    distances = [abs(other - 50) for other in moved]
    assert min(distances) == 1
    assert 9 < sum(distances) / len(distances) < 11.5
    assert {other < 50 for other in moved} == {True, False}


def test_a_move_on_an_unordered_decision_reaches_every_other_option_equally():
    rng = np.random.default_rng(0)
    counts = Counter(Categorical(("a", "b", "c")).moved(1, rng.random()) for _ in range(2000))
    assert counts.keys() == {0, 2}
    assert 900 < counts[0] < 1100


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
def test_a_move_stays_inside_and_changes_the_option(uniform):
    for kind in (Ordinal((3, 5)), Integer(1, 7), Categorical((1, 2, 3))):
        for position in range(len(kind)):
            other = kind.moved(position, uniform)
            assert 0 <= other < len(kind)
            assert other != position


def test_kinds_compare_by_value_and_survive_pickling():
    assert pickle.loads(pickle.dumps(Float(0.1, 1.0, log=True))) == Float(0.1, 1.0, log=True)
    assert Ordinal((1, 2)) != Categorical((1, 2))
    assert decision(("a", "b")) == Categorical(("a", "b"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(0.5, 0.005), r"Float\(0.5, 0.005\): low is above high; expected the lower number first"),
        (lambda: Float(0, 1, log=True), "a logarithmic range must start above 0, got 0"),
        (lambda: Float(0.1, 0.1), "has one value; expected low below high, or set that value without a range"),
        (lambda: Float(0, 1, steps=10**9), "has 1,000,000,000 options; expected 2 to 10,000; set steps"),
        (lambda: Float(0, float("nan")), "expected finite numbers, got nan"),
        (lambda: Float(1.0, 1.0 + 1e-15, steps=100), "100 steps are too close to tell apart; set fewer steps"),
        (lambda: Float(0, 1, steps=2.5), "steps must be a whole number, got 2.5"),
        (lambda: Integer(1, 10**9), "has 1,000,000,000 options; expected 2 to 10,000; set step"),
        (lambda: Integer(8, 60, step=8), "step must be a divisor of 52, the length of the range, got 8"),
        (lambda: Integer(1, 2.5), "expected whole numbers, got 2.5"),
        (lambda: Integer(1, 8, log=True, step=2), "step=2 and log exclude each other; set steps"),
        (lambda: Integer(1, 8, steps=3), "steps=3 is for log; set step"),
        (lambda: Ordinal("abc"), "Ordinal needs a list or tuple of at least one option, got 'abc'"),
        (lambda: Categorical(()), "Categorical needs a list or tuple of at least one option"),
    ],
)
def test_a_range_that_cannot_be_searched_is_refused_in_one_sentence(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("float(0.005, 0.5, log)", Float(0.005, 0.5, log=True)),
        ("float(1e-5, 1e-2, log=true, steps=4)", Float(1e-5, 1e-2, log=True, steps=4)),
        ("integer(16, 64, step=16)", Integer(16, 64, step=16)),
        ("int(0, 3)", Integer(0, 3)),
        ("ordinal(3,5,7)", Ordinal((3, 5, 7))),
        (" Categorical(sgd, adamw) ", Categorical(("sgd", "adamw"))),
        ("categorical(true, null, 0.5)", Categorical((True, None, 0.5))),
        ("categorical(on, no, 010)", Categorical(("on", "no", 10))),
    ],
)
def test_a_decision_is_read_from_text(text, kind):
    assert parse_decision("tune.lr", text) == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.1", r"tune.lr=0.1 is one value; expected several, such as float\(0.005, 0.5, log\)"),
        ("flaot(0, 1)", r"unknown kind 'flaot' \(did you mean 'float'\?\); expected one of categorical, float"),
        ("float(1)", "a range has a low and a high number, got 1"),
        ("float(1, 2, stps=3)", "stps is unknown; a range takes log, steps"),
        ("float(2, 1)", r"tune.lr=float\(2, 1\): low is above high"),
        ("float(1, 1)", r"tune.lr=float\(1, 1\): it has one value"),
        ("float(a, b)", "expected finite numbers, got 'a'"),
        ("categorical(a, a)", "an option is listed twice"),
        ("categorical(1, 1.0)", "an option is listed twice"),
        ("categorical()", "Categorical needs a list or tuple"),
    ],
)
def test_text_that_is_no_decision_is_refused_with_its_key(text, message):
    with pytest.raises(UsageError, match=message):
        parse_decision("tune.lr", text)
