import math

import pytest

from nas import UsageError
from nas.store.conditions import parse_condition

VALUES = {"parameters": 5e5, "epochs": 3, "strategy": "random", "run": "7", "loss": math.nan, "fidelity": None}


def holds(text, **values):
    return parse_condition(text).holds({**VALUES, **values}.get)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params<=1e6 and epochs=3", True),
        ("params <= 400k", False),
        ("params<=.5M and params>=0.5M and params=500_000", True),
        ("epochs==3", True),
        ("epochs!=3", False),
        ("epochs>-1", True),
        ("strategy=random", True),
        ("strategy = 'random'", True),
        ('strategy != "random"', False),
        ("run=7", True),  # a name that looks like a number
        ("run=7.0", False),
        ("strategy in (random, darts)", True),
        ("epochs not in (1, 2)", True),
        ("epochs in (1,2) or not strategy=darts", True),
        ("epochs=1 and epochs=2 or epochs=3", True),  # and binds more tightly
        ("epochs=1 and (epochs=2 or epochs=3)", False),
        ("not (epochs=3)", False),
        ("not not epochs=3", True),
        ("fidelity=null", True),
        ("fidelity!=null", False),
        ("epochs!=null", True),
        ("'epochs'=3", True),
    ],
)
def test_a_condition_holds(text, expected):
    assert holds(text) is expected


@pytest.mark.parametrize(
    "text", ["latency<1", "not latency<1", "loss<1", "not loss<1", "loss=1", "loss!=1", "fidelity in (1)"]
)
def test_what_a_trial_does_not_have_matches_neither_way(text):
    assert not holds(text)
    assert holds(f"{text} or epochs=3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "where='': expected the name of a metric, a cost or a fact, got the end"),
        ("params<<1", "where='params<<1': expected a number, a word or a text in quotes, got '<' at character 8"),
        ("params", "where='params': expected an operator such as <= after 'params', got the end"),
        ("1e6>=params", "expected a name before the operator .params<=1e6, not 1e6>=params., got '1e6' at character 1"),
        ("(epochs=3", r"expected '\)', 'and' or 'or', got the end"),
        ("epochs=3 strategy=random", "expected 'and', 'or' or the end, got 'strategy' at character 10"),
        ("epochs=3)", r"expected 'and', 'or' or the end, got '\)' at character 9"),
        ("epochs in 3", r"expected in \(value, …\), got '3' at character 11"),
        ("epochs in (3 4)", r"expected ',' or '\)', got '4' at character 14"),
        ("run='a", "has a quote that is never closed at character 5"),
        ("epochs=!3", "has '!' at character 8"),
        ("epochs<null", "null at character 8 can only be compared by = and !="),
        ("and", "expected the name of a metric, a cost or a fact, got 'and' at character 1"),
        ("not " * 200 + "epochs=3", "nests more than 50 levels of not and parentheses"),
        ("(" * 900, "nests more than 50 levels"),
        ("epochs=3 or " * 200, "where has 2,400 characters; expected at most 2,000"),
        ("__import__('os')", "expected an operator such as <= after '__import__'"),
    ],
)
def test_a_mistake_is_named_with_its_position(text, message):
    with pytest.raises(UsageError, match=message):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs=three", "where='epochs=three': epochs is a number, got 'three' at character 8"),
        ("strategy<random", "strategy is a text .'random'., which only =, != and in compare"),
    ],
)
def test_a_number_is_not_compared_with_a_text(text, message):
    with pytest.raises(UsageError, match=message):
        holds(text)


def test_an_unknown_name_is_refused_with_the_closest():
    with pytest.raises(
        UsageError, match=r"unknown name 'parms' \(did you mean 'params'\?\); expected one of epochs, fid"
    ):
        parse_condition("parms<1").check_names(VALUES)
