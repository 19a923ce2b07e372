"""What an evaluator may answer with, and what is said of everything else."""

import os
import re
import sys
from asyncio import CancelledError
from decimal import Decimal
from functools import partial

import numpy as np
import pytest
import torch
from light import LightSpace, Returning, steep

from nas import Budget, UsageError, search
from nas.core import Task
from nas.engine.evaluation import number
from nas.errors import TrialFailed
from nas.executors.inline import Inline
from nas.executors.processes import Processes
from nas.strategies.random import RandomSearch

EXECUTORS = pytest.mark.parametrize("executor", [Inline(), Processes(1)], ids=["inline", "processes"])


def searched(evaluator, trials=1, executor=None):
    return search(LightSpace(), RandomSearch, evaluator, budget=Budget(trials=trials, failures=2), executor=executor)


@EXECUTORS
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "returned None; expected a mapping of metrics to numbers"),
        (0.9, r"returned 0.9 \(float\); expected a mapping"),
        ("0.9", r"returned '0.9' \(str\); expected a mapping"),
        ([("valid_accuracy", 0.9)], "expected a mapping"),
        ({}, r"one of the evaluator's metrics \(none\), got 'valid_accuracy'"),
        ({"accuracy": 0.9}, r"one of the evaluator's metrics \(accuracy\), got 'valid_accuracy'"),
    ],
    ids=["None", "float", "text", "list", "empty", "another metric"],
)
def test_what_no_trial_would_come_through_ends_the_search(value, said, executor):
    with pytest.raises(UsageError, match=said):
        searched(Returning(value), executor=executor)


@EXECUTORS
@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ({"valid_accuracy": None}, "bad_metrics", "the evaluator's valid_accuracy is None; expected a number"),
        ({"valid_accuracy": "0.9"}, "bad_metrics", "valid_accuracy is '0.9' (str); expected a number"),
        ({"valid_accuracy": 0.9, "loss": [1.0]}, "bad_metrics", "loss is [1.0] (list); expected a number"),
        ({"valid_accuracy": 1j}, "bad_metrics", "valid_accuracy is 1j (complex); expected a number"),
        ({"valid_accuracy": float("nan")}, "not_finite", "valid_accuracy is nan; expected a finite number"),
        ({"valid_accuracy": float("inf")}, "not_finite", "valid_accuracy is inf; expected a finite number"),
        ({"valid_accuracy": 10**400}, "bad_metrics", "(int); expected a number"),
        ({"valid_accuracy": np.array([0.5, 0.6])}, "bad_metrics", "(ndarray); expected a number"),
    ],
    ids=["None", "text", "list", "complex", "nan", "inf", "huge", "two"],
)
def test_a_metric_that_is_not_a_number_fails_its_trial(value, kind, said, executor):
    (trial,) = searched(Returning(value), executor=executor).trials
    assert (trial.status, trial.error_kind) == ("failed", kind)
    assert said in trial.error


def test_a_number_of_more_digits_than_python_writes_is_told_too():
    with pytest.raises(TrialFailed, match="the evaluator's size is a value of type int; expected a number"):
        number("size", 10**5000)


def test_an_evaluator_that_always_answers_badly_stops_after_the_failures_that_are_allowed():
    result = searched(Returning({"valid_accuracy": None}), trials=50)
    assert (result.ended, len(result.trials)) == ("failures", 2)


@pytest.mark.parametrize(
    "value",
    [
        np.float32(0.5),
        np.array(0.5),
        np.array([0.5]),
        torch.tensor(0.5),
        torch.tensor([0.5]),
        Decimal("0.5"),
    ],
    ids=["numpy", "0-d array", "1-element array", "0-d tensor", "1-element tensor", "decimal"],
)
def test_numbers_of_other_libraries_are_numbers(value):
    (trial,) = searched(Returning({"valid_accuracy": value})).trials
    assert trial.metrics == {"valid_accuracy": 0.5}
    assert type(trial.metrics["valid_accuracy"]) is float


def test_a_tensor_of_several_numbers_is_not_a_number():
    (trial,) = searched(Returning({"valid_accuracy": torch.tensor([0.5, 0.6])})).trials
    assert "valid_accuracy is tensor([0.5000, 0.6000]) (Tensor); expected a number" in trial.error


@pytest.mark.parametrize("how", ["report", "measured"])
def test_what_is_reported_on_the_way_is_held_to_the_same(how):
    def evaluator(proposal, context):
        if how == "report":
            context.report({"valid_accuracy": "high"})
        else:
            context.measured("memory", "much")
        return steep(proposal, context)

    (trial,) = searched(evaluator).trials
    assert (trial.error_kind, "expected a number" in trial.error) == ("bad_metrics", True)


def test_metrics_of_the_architecture_itself_are_held_to_the_same():
    class Equal(LightSpace):
        def canonical(self, architecture):
            return "all"

    class Describing:
        def __call__(self, proposal, context):
            return steep(proposal, context)

        def architecture_metrics(self, architecture):
            return {"parameters": "many"}

    with pytest.raises(UsageError, match=r"the evaluator's parameters is 'many' \(str\); expected a number"):
        search(Equal(), RandomSearch, Describing(), budget=Budget(trials=2))


class Own(BaseException):
    pass


class Mute(Exception):
    def __str__(self):
        raise ZeroDivisionError


def failing(proposal, context, error=None):
    raise error


def forking(proposal, context):
    child = os.fork()
    if child == 0:
        sys.exit(7)
    return {"valid_accuracy": float(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))}


@EXECUTORS
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CancelledError(), r"CancelledError: no message \(test_evaluation.py:\d+, in failing\)"),
        (GeneratorExit(), r"GeneratorExit: no message \(test_evaluation.py:\d+, in failing\)"),
        (Own("mine"), r"Own: mine \(test_evaluation.py:\d+, in failing\)"),
        (Mute(), r"Mute: its __str__ raises ZeroDivisionError \(test_evaluation.py:\d+, in failing\)"),
    ],
    ids=["cancelled", "generator", "own", "mute"],
)
def test_whatever_an_evaluator_raises_fails_its_trial(error, said, executor):
    (trial,) = searched(partial(failing, error=error), executor=executor).trials
    assert (trial.status, trial.error_kind) == ("failed", "error")
    assert re.fullmatch(said, trial.error)


@EXECUTORS
def test_a_process_that_an_evaluator_forks_ends_where_the_evaluation_does(executor):
    """It would go on with the search, or answer for the worker; its parent sees the exit code that it asked for."""
    (trial,) = searched(forking, executor=executor).trials
    assert trial.metrics == {"valid_accuracy": 7.0}


def test_a_task_takes_the_whole_numbers_of_other_libraries():
    task = Task(np.int64(1), torch.tensor(8), 8, np.array([3, 9]).max() + 1)
    assert task == Task(1, 8, 8, 10)
    assert {type(size) for size in (task.channels, task.height, task.classes)} == {int}
    assert Task(1, 8, 8, 2.5).classes == 2.5  # refused in words, with the data set that states it
