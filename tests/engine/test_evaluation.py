"""Values that an evaluator may return, and the errors for all others."""

import os
import re
import sys
from asyncio import CancelledError
from decimal import Decimal

import numpy as np
import pytest
from light import LightSpace, Returning, steep

from nas import Budget, UsageError, search
from nas.core import Task
from nas.engine.evaluation import number
from nas.errors import TrialFailed
from nas.executors.inline import Inline
from nas.executors.processes import Processes
from nas.strategies.random import RandomSearch

# torch is imported where it is needed: the worker processes of these tests import this module
EXECUTORS = pytest.mark.parametrize("executor", [Inline(), Processes(1)], ids=["inline", "processes"])


def searched(evaluator, trials=1, executor=None):
    return search(LightSpace(), RandomSearch, evaluator, budget=Budget(trials=trials, failures=2), executor=executor)


@pytest.mark.parametrize(
    ("value", "message"),
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
def test_a_value_that_would_fail_every_trial_ends_the_search(value, message):
    with pytest.raises(UsageError, match=message):
        searched(Returning(value))


@pytest.mark.parametrize(
    ("value", "kind", "message"),
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
def test_a_metric_that_is_not_a_number_fails_its_trial(value, kind, message):
    (trial,) = searched(Returning(value)).trials
    assert trial.status == "failed"
    assert trial.error_kind == kind
    assert message in trial.error


def test_a_worker_refuses_the_same_values():
    with pytest.raises(UsageError, match=r"returned 0.9 \(float\); expected a mapping"):
        searched(Returning(0.9), executor=Processes(1))
    (trial,) = searched(Returning({"valid_accuracy": 10**400}), executor=Processes(1)).trials
    assert trial.error_kind == "bad_metrics"
    assert "(int); expected a number" in trial.error


def test_a_number_with_more_digits_than_python_prints_is_reported():
    with pytest.raises(TrialFailed, match="the evaluator's size is a value of type int; expected a number"):
        number("size", 10**5000)


def test_an_evaluator_that_never_returns_a_number_stops_after_the_allowed_failures():
    result = searched(Returning({"valid_accuracy": None}), trials=50)
    assert result.ended == "failures"
    assert len(result.trials) == 2


@pytest.mark.parametrize(
    "value",
    [np.float32(0.5), np.array(0.5), np.array([0.5]), Decimal("0.5")],
    ids=["numpy", "0-d array", "1-element array", "decimal"],
)
def test_numbers_of_other_libraries_become_python_numbers(value):
    (trial,) = searched(Returning({"valid_accuracy": value})).trials
    assert trial.metrics == {"valid_accuracy": 0.5}
    assert type(trial.metrics["valid_accuracy"]) is float


def test_tensors_of_one_element_are_numbers_and_others_are_not():
    import torch

    for value in (torch.tensor(0.5), torch.tensor([0.5])):
        (trial,) = searched(Returning({"valid_accuracy": value})).trials
        assert trial.metrics == {"valid_accuracy": 0.5}
        assert type(trial.metrics["valid_accuracy"]) is float
    (trial,) = searched(Returning({"valid_accuracy": torch.tensor([0.5, 0.6])})).trials
    assert "valid_accuracy is tensor([0.5000, 0.6000]) (Tensor); expected a number" in trial.error


@pytest.mark.parametrize("how", ["report", "measured"])
def test_reported_and_measured_values_must_be_numbers_too(how):
    def evaluator(proposal, context):
        if how == "report":
            context.report({"valid_accuracy": "high"})
        else:
            context.measured("memory", "much")
        return steep(proposal, context)

    (trial,) = searched(evaluator).trials
    assert trial.error_kind == "bad_metrics"
    assert "expected a number" in trial.error


def test_metrics_of_the_architecture_must_be_numbers_too():
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


ERRORS = (
    (CancelledError(), r"CancelledError: no message \(test_evaluation.py:\d+, in failing\)"),
    (GeneratorExit(), r"GeneratorExit: no message \(test_evaluation.py:\d+, in failing\)"),
    (Own("mine"), r"Own: mine \(test_evaluation.py:\d+, in failing\)"),
    (Mute(), r"Mute: its __str__ raises ZeroDivisionError \(test_evaluation.py:\d+, in failing\)"),
)
"""Exception and the error of its trial, by the first decision of the architecture."""


def failing(proposal, context):
    raise ERRORS[proposal.architecture[0]][0]


def forking(proposal, context):
    child = os.fork()
    if child == 0:
        sys.exit(7)
    return {"valid_accuracy": float(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))}


@EXECUTORS
def test_any_exception_of_an_evaluator_fails_its_trial(executor):
    result = search(LightSpace(), RandomSearch, failing, budget=Budget(trials=20, failures=None), executor=executor)
    assert {trial.proposal.architecture[0] for trial in result.trials} == {0, 1, 2, 3}
    for trial in result.trials:
        assert trial.error_kind == "error"
        assert re.fullmatch(ERRORS[trial.proposal.architecture[0]][1], trial.error)


@EXECUTORS
def test_a_process_that_an_evaluator_forks_ends_with_the_evaluation(executor):
    """It must neither continue the search nor answer for the worker; its parent receives its exit code."""
    (trial,) = searched(forking, executor=executor).trials
    assert trial.metrics == {"valid_accuracy": 7.0}


def test_a_task_accepts_the_integers_of_other_libraries():
    import torch

    task = Task(np.int64(1), torch.tensor(8), 8, np.array([3, 9]).max() + 1)
    assert task == Task(1, 8, 8, 10)
    assert {type(size) for size in (task.channels, task.height, task.classes)} == {int}
    assert Task(1, 8, 8, 2.5).classes == 2.5  # the check of the data set refuses it
