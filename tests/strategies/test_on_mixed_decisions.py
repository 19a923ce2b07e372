"""Every strategy that proposes, on a space with all kinds of decision, conditions and a constraint.

What each of them promises alone is in test_conformance.py; here they search, with two workers, failures and a resume.
"""

import sqlite3

import pytest
from light import MixedSpace, mixed, mixed_failing
from test_conformance import GRADIENT, OPTIONS

from nas import Budget, search
from nas.config.settings import compose
from nas.executors.processes import Processes
from nas.store.sqlite import SQLiteStore

STRATEGIES = [option for option in OPTIONS["strategy"] if option not in GRADIENT]
TRIALS = 24
pytestmark = pytest.mark.usefixtures("forked_workers")


def searched(strategy, evaluator=mixed_failing, **settings):
    make = compose("search", [f"strategy={strategy}"]).partial("strategy")
    budget = Budget(trials=TRIALS, failures=None)
    return search(MixedSpace(), make, evaluator, budget=budget, executor=Processes(2), run="one", **settings)


def course(result):
    return [(trial.number, trial.proposal, trial.seed, trial.metrics, trial.status) for trial in result.trials]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_interrupted_search_with_failures_and_two_workers_ends_as_an_uninterrupted_one(strategy, tmp_path):
    store = SQLiteStore(f"sqlite:///{tmp_path}/nas.db")
    whole = searched(strategy, store=store)
    assert len(whole.trials) == TRIALS
    assert all(trial.completed == ("op=pool" not in trial.text) for trial in whole.trials)
    with sqlite3.connect(tmp_path / "nas.db") as connection:  # trial 12 was in flight when it was interrupted
        connection.execute("DELETE FROM trials WHERE number = 12 OR number > 13")
    assert course(searched(strategy, store=store)) == course(whole)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_proposal_differs_from_another_only_in_a_decision_that_is_off(strategy):
    space = MixedSpace()
    for trial in searched(strategy, mixed).trials:
        architecture = trial.proposal.architecture
        space.validate(architecture)
        assert architecture == space.reduced(architecture)


@pytest.mark.parametrize("strategy", ["bayesian", "grid", "local_search"])
def test_a_strategy_that_remembers_proposes_nothing_twice_although_results_are_late(strategy):
    texts = [trial.text for trial in searched(strategy, mixed, duplicates="retrain").trials]
    assert len(set(texts)) == TRIALS
