"""Snapshots of parts made in Python: they identify a run, and parts that look alike do not resume each other's runs."""

import asyncio
import datetime
from functools import partial

import numpy as np
import pytest
from conftest import steep

from nas import Budget, Objective, UsageError, search
from nas.provenance import config_snapshot, indistinguishable_parts
from nas.space.base import SearchSpace
from nas.store.memory import MemoryStore
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.random import RandomSearch

EVOLUTION = partial(RegularizedEvolution, population_size=10, sample_size=3)


def test_parts_are_recorded_by_their_class_and_settings(toy_space):
    assert config_snapshot(EVOLUTION) == {
        "type": "nas.strategies.evolution.RegularizedEvolution",
        "population_size": 10,
        "sample_size": 3,
    }
    assert config_snapshot(steep) == "conftest.steep"
    assert config_snapshot(Objective("loss", "minimize")) == {
        "type": "nas.core.Objective",
        "metric": "loss",
        "direction": "minimize",
    }


def scaled(scale, proposal=None, context=None):
    return {"valid_accuracy": scale}


def scored(proposal, context):
    return {"valid_accuracy": 0.5}


def closure(scale):
    def evaluator(proposal, context):
        return {"valid_accuracy": scale}

    return evaluator


class Keeping:
    def __init__(self, scale):
        self._scale = scale

    def __call__(self, proposal, context):
        return {"valid_accuracy": self._scale}

    def method(self, proposal, context):
        return {"valid_accuracy": self._scale}


def test_positional_arguments_of_a_partial_are_settings_of_a_run(toy_space):
    assert config_snapshot(partial(scaled, 0.1)) == {"type": "test_snapshots.scaled", "args": [0.1]}
    store = MemoryStore()
    search(toy_space, RandomSearch, partial(scaled, 0.1), budget=Budget(trials=3), store=store)
    with pytest.raises(UsageError, match=r"evaluator.args=\[0.1\] \(now \[0.9\]\)"):
        search(toy_space, RandomSearch, partial(scaled, 0.9), budget=Budget(trials=6), store=store)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda scale: lambda proposal, context: {"valid_accuracy": scale}, "a lambda of test_snapshots"),
        (closure, "the function closure.<locals>.evaluator, which holds values"),
        (Keeping, "Keeping, which has no attribute 'scale' for its argument"),
        (lambda scale: Keeping(scale).method, "the method Keeping.method"),
        (lambda scale: partial(closure(scale)), "the function closure"),
        (lambda scale: partial(scaled, np.r_[np.zeros(1000), scale, np.zeros(1000)]), "numpy.ndarray with many values"),
        (lambda scale: partial(scaled, datetime.date(2020, 1, int(10 * scale))), "date, which takes its arguments in"),
    ],
)
def test_evaluators_that_look_alike_do_not_resume_each_others_runs(toy_space, recwarn, make, message):
    store = MemoryStore()
    search(toy_space, RandomSearch, make(0.1), budget=Budget(trials=3), store=store)
    with pytest.raises(UsageError, match=f"the settings of {message}.* cannot be recorded, so the 3 stored trials"):
        search(toy_space, RandomSearch, make(0.9), budget=Budget(trials=6), store=store)
    assert not recwarn
    assert len(store.trials("search")) == 3
    resumed = "run 'search' is resumed by its name only; make sure that its 3 trials come from the same settings"
    with pytest.warns(UserWarning, match=resumed):
        search(toy_space, RandomSearch, make(0.1), budget=Budget(trials=6), store=store, run="search")


class Wide(SearchSpace):
    def __init__(self, width):
        self._width = width

    @property
    def choices(self):
        return {"op": ("a", "b")}

    def build(self, architecture, task, network=None):
        raise NotImplementedError


def test_spaces_that_look_alike_do_not_resume_each_others_runs(recwarn):
    store = MemoryStore()
    search(Wide(1), RandomSearch, scored, budget=Budget(trials=3), store=store)
    message = "the settings of Wide, which has no attribute 'width' for its argument cannot be recorded, so the 3 st"
    with pytest.raises(UsageError, match=message):
        search(Wide(100), RandomSearch, scored, budget=Budget(trials=6), store=store)
    assert not recwarn
    assert len(store.trials("search")) == 3


def test_objects_without_a_readable_signature_are_recorded_by_their_repr():
    assert config_snapshot(partial(scaled, asyncio.CancelledError(1)))["args"] == ["CancelledError(1)"]
    assert indistinguishable_parts(partial(scaled, asyncio.CancelledError(1))) == []


def test_parts_that_are_recorded_in_full_are_distinguishable(toy_space):
    assert (
        indistinguishable_parts([EVOLUTION, steep, Objective(), toy_space, closure, {"a": (1, None)}, np.zeros(9)])
        == []
    )
