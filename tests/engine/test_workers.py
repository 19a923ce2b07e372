"""Searches with several workers: they do not depend on which worker finishes first, and no finished trial is lost."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import partial

import pytest
from light import (
    Counting,
    FewClasses,
    FrozenSpace,
    Holding,
    LightSpace,
    by_class,
    dying,
    even,
    failing_class,
    hanging,
    killable,
    killable_bayesian,
    leaving,
    nested,
    steep,
    uneven,
)

from nas import Budget, Objective, Proposal, UsageError, search
from nas.data.lock import check_unlocked
from nas.executors.processes import Processes
from nas.store.memory import MemoryStore
from nas.store.sqlite import SQLiteStore
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.local_search import LocalSearch
from nas.strategies.random import RandomSearch

FORKED_WORKERS = pytest.mark.usefixtures("forked_workers")
"""Of tests of the order of trials; how workers start is tested by the others, and with the executor."""
EVOLUTION = partial(RegularizedEvolution, population_size=4, sample_size=2)


def peeking(proposal, context):
    check_unlocked("test images of digits")  # as every data set does
    return steep(proposal, context)


def course(result):
    """What a search proposed and found, trial by trial."""
    return [(trial.number, trial.text, trial.seed, trial.metrics, trial.status) for trial in result.trials]


@dataclass
class Watching:
    """Random search that records what it knew at each proposal."""

    space: LightSpace
    objective: object
    told: list = field(default_factory=list)

    def reset(self, rng):
        self.told = []

    def ask(self, rng, pending):
        return Proposal(self.space.sample(rng), info={"told": list(self.told), "pending": len(pending)})

    def tell(self, trial):
        self.told.append(trial.number)


@FORKED_WORKERS
def test_an_ordered_search_does_not_depend_on_which_worker_finishes_first():
    runs = [
        search(LightSpace(), EVOLUTION, evaluator, budget=Budget(trials=14), executor=Processes(3))
        for evaluator in (uneven, even)
    ]
    assert course(runs[0]) == course(runs[1])


@FORKED_WORKERS
def test_an_ordered_trial_is_proposed_knowing_exactly_the_trials_before_those_in_flight():
    result = search(
        LightSpace(), Watching, uneven, budget=Budget(trials=10), executor=Processes(3), duplicates="retrain"
    )
    for trial in result.trials:
        known = max(0, trial.number - 2)
        assert trial.proposal.info == {"told": list(range(known)), "pending": trial.number - known}


@FORKED_WORKERS
def test_an_asynchronous_search_tells_the_strategy_trials_as_they_finish():
    executor = Processes(3, "async")
    result = search(LightSpace(), Watching, uneven, budget=Budget(trials=12), executor=executor, duplicates="retrain")
    told = result.trials[-1].proposal.info["told"]
    assert told != sorted(told)
    assert all(len(t.proposal.info["told"]) == max(0, t.number - 2) for t in result.trials)


@FORKED_WORKERS
def test_a_strategy_may_wait_for_trials_in_flight():
    result = search(LightSpace(), LocalSearch, uneven, budget=Budget(trials=20), executor=Processes(3))
    texts = [trial.text for trial in result.trials]
    assert len(texts) == len(set(texts)) == 20


@dataclass
class Generations:
    """Proposes three at a time and waits for the results of all three."""

    space: LightSpace
    objective: object
    told: int = 0

    def reset(self, rng):
        self.told = 0

    def ask(self, rng, pending):
        if self.told % 3 and len(pending) + self.told % 3 == 3:
            return None
        return Proposal(self.space.sample(rng), info={"told": self.told, "pending": len(pending)})

    def tell(self, trial):
        self.told += 1


WAITING_SEARCH = {"budget": Budget(trials=12), "executor": Processes(3), "duplicates": "retrain"}


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """A finished search whose strategy waits for results, and the file of its store."""
    path = tmp_path_factory.mktemp("waiting") / "nas.db"
    return search(LightSpace(), Generations, even, **WAITING_SEARCH, store=SQLiteStore(f"sqlite:///{path}")), path


@FORKED_WORKERS
@pytest.mark.parametrize("missing", [{4}, {5, 7}, {4, 7, 10}, {0, 1}])
def test_a_resumed_search_repeats_the_waits_of_its_strategy(tmp_path, waiting, missing):
    whole, path = waiting
    shutil.copy(path, tmp_path / "nas.db")
    with sqlite3.connect(tmp_path / "nas.db") as connection:
        connection.execute(f"DELETE FROM trials WHERE number IN ({', '.join(map(str, missing))})")
    seen, store = Seen(), SQLiteStore(f"sqlite:///{tmp_path}/nas.db")
    again = search(LightSpace(), Generations, even, **WAITING_SEARCH, store=store, listeners=[seen])
    assert [t.proposal for t in again.trials] == [t.proposal for t in whole.trials]
    assert [t.told_before for t in again.trials] == [t.told_before for t in whole.trials]
    assert seen.stored == sorted(set(range(12)) - missing)
    assert seen.new == sorted(missing)


class Seen:
    """Records the trials that a listener receives."""

    def start(self, run, trials, total, objective):
        self.stored = [trial.number for trial in trials]
        self.new = []

    def on_trial_end(self, trial):
        self.new.append(trial.number)

    def close(self):
        pass


def test_a_dead_worker_fails_its_trial_and_the_search_continues():
    result = search(LightSpace(), RandomSearch, dying, budget=Budget(trials=8), executor=Processes(2))
    failed = [trial for trial in result.trials if not trial.completed]
    assert failed
    assert all(trial.proposal.architecture[0] == 3 for trial in failed)
    assert {trial.error_kind for trial in failed} == {"worker_died"}
    assert len(result.trials) == 8


def test_the_test_set_is_locked_in_every_worker():
    result = search(LightSpace(), RandomSearch, peeking, budget=Budget(trials=2), executor=Processes(2))
    assert all("test images of digits are locked" in trial.error for trial in result.trials)


@FORKED_WORKERS
def test_another_number_of_workers_is_another_search():
    store = MemoryStore()
    search(LightSpace(), RandomSearch, steep, budget=Budget(trials=4), executor=Processes(2), store=store)
    with pytest.raises(UsageError, match=r"was started with workers=2 \(now 3\)"):
        search(LightSpace(), RandomSearch, steep, budget=Budget(trials=6), executor=Processes(3), store=store)


@FORKED_WORKERS
@pytest.mark.parametrize("order", ["ordered", "async"])
def test_trials_that_finished_out_of_order_are_replayed(tmp_path, order):
    """Trials 0-2 and 4 are stored and 3 was running: 3 runs again, 4 does not, and the rest follows."""
    executor = Processes(2, order)
    settings = {"budget": Budget(trials=9), "executor": executor, "run": "one", "objective": Objective()}
    url = f"sqlite:///{tmp_path}/part.db"
    whole = search(LightSpace(), EVOLUTION, even, **settings, store=SQLiteStore(url))
    with sqlite3.connect(tmp_path / "part.db") as connection:
        connection.execute("DELETE FROM trials WHERE number = 3 OR number > 4")
    counted = Counting(tmp_path / "count")
    again = search(LightSpace(), EVOLUTION, counted, **settings, store=SQLiteStore(url), config=config_of(tmp_path))
    # an asynchronous search may propose an equal architecture again, whose result is reused
    new = [trial for trial in again.trials if trial.number not in (0, 1, 2, 4) and trial.reused_from is None]
    assert len((tmp_path / "count").read_text()) == len(new)
    if order == "ordered":
        assert len(new) == 5
        assert course(again) == course(whole)
    assert [trial.number for trial in again.trials] == list(range(9))


def config_of(tmp_path):
    """The settings that the interrupted run was stored with, so that another evaluator may resume it."""
    with sqlite3.connect(tmp_path / "part.db") as connection:
        return json.loads(connection.execute("SELECT config FROM runs").fetchone()[0])


@pytest.mark.parametrize("killable", [killable, killable_bayesian])
def test_a_killed_search_with_workers_ends_with_the_trials_of_an_uninterrupted_one(tmp_path, killable):
    from conftest import stored_trials  # imports torch, which the workers of this module do without

    whole, killed = f"sqlite:///{tmp_path}/whole.db", f"sqlite:///{tmp_path}/killed.db"
    program = f"import light; light.{killable.__name__}({killed!r})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # with the folder of the tests
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    while process.poll() is None and stored_trials(tmp_path / "killed.db") < 3:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 3 <= stored_trials(tmp_path / "killed.db") < 40
    assert course(killable(killed)) == course(killable(whole))


def test_an_evaluation_that_hangs_fails_its_trial_and_the_search_continues():
    budget = Budget(trials=8, trial_seconds=0.5)
    result = search(LightSpace(), RandomSearch, hanging, budget=budget, executor=Processes(2))
    hung = [trial for trial in result.trials if trial.proposal.architecture[0] == 3]
    assert hung
    assert {trial.number for trial in hung} == {trial.number for trial in result.trials if not trial.completed}
    assert {(trial.error_kind, trial.error) for trial in hung} == {
        ("time_limit", "it took longer than budget.trial_seconds=0.5 and was stopped")
    }
    assert all(trial.seconds >= 0.5 for trial in hung)


def test_a_limit_for_a_trial_needs_a_worker():
    message = "budget.trial_seconds=5 needs a worker process that can be killed; set executor=processes"
    with pytest.raises(UsageError, match=message):
        search(LightSpace(), RandomSearch, steep, budget=Budget(trials=2, trial_seconds=5))
    with pytest.raises(UsageError, match=r"budget.trial_seconds must be a number above 0 or null, got -1"):
        Budget(trials=2, trial_seconds=-1)


def test_an_evaluator_may_have_child_processes_in_a_worker():
    result = search(LightSpace(), RandomSearch, nested, budget=Budget(trials=2), executor=Processes(1))
    assert [trial.metrics.get("children") for trial in result.trials] == [1.0, 1.0]


def test_an_evaluator_that_leaves_the_program_fails_its_trial_in_a_worker_too():
    result = search(LightSpace(), RandomSearch, leaving, budget=Budget(trials=2), executor=Processes(1))
    assert {(trial.error_kind, trial.error.partition(" (")[0]) for trial in result.trials} == {
        ("error", "SystemExit: 0")
    }


def test_a_space_that_sets_read_only_choices_in_its_init_can_be_sent_to_workers():
    result = search(FrozenSpace(), RandomSearch, Holding(FrozenSpace()), budget=Budget(trials=2), executor=Processes(1))
    assert all(trial.completed for trial in result.trials)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (
            threading.Lock(),
            r"cannot pickle '_thread.lock' object\); exclude the object that evaluator or space hold from pickling",
        ),
        (lambda: None, r"lambda.*; define evaluator and space at the top of a module, or use executor=inline"),
    ],
)
def test_an_evaluator_that_cannot_be_sent_is_refused_with_advice(held, message):
    with pytest.raises(UsageError, match=message):
        search(LightSpace(), RandomSearch, Holding(held), budget=Budget(trials=2), executor=Processes(1))


@FORKED_WORKERS
@pytest.mark.parametrize("order", ["ordered", "async"])
def test_equal_architectures_share_one_result_even_while_it_is_computed(order):
    result = search(FewClasses(), EVOLUTION, by_class, budget=Budget(trials=24), executor=Processes(4, order))
    evaluated = [trial for trial in result.trials if trial.reused_from is None]
    assert len(evaluated) == len({trial.canonical for trial in result.trials}) <= 4
    for trial in result.trials:
        if trial.reused_from is not None:
            assert trial.reused_from < trial.number
            assert trial.metrics == result.trials[trial.reused_from].metrics


@FORKED_WORKERS
def test_a_duplicate_of_a_failed_trial_is_evaluated_itself():
    budget = Budget(trials=16, failures=None)
    result = search(FewClasses(), RandomSearch, failing_class, budget=budget, executor=Processes(4))
    same = [trial for trial in result.trials if trial.canonical == "class 0"]
    assert len(same) > 1
    assert all(trial.error_kind == "error" and trial.reused_from is None for trial in same)
    assert len({trial.seed for trial in same}) == len(same)
    one = search(FewClasses(), RandomSearch, failing_class, budget=budget)
    assert course(result) == course(one)


FEW_CLASSES = {"budget": Budget(trials=12), "executor": Processes(3)}


@pytest.fixture(scope="module")
def few_classes(tmp_path_factory):
    """A finished search with many duplicates, and the file of its store."""
    path = tmp_path_factory.mktemp("few_classes") / "nas.db"
    return search(FewClasses(), EVOLUTION, by_class, **FEW_CLASSES, store=SQLiteStore(f"sqlite:///{path}")), path


@FORKED_WORKERS
@pytest.mark.parametrize("missing", [1, 2, 3, 5])
def test_duplicates_in_flight_are_replayed(tmp_path, few_classes, missing):
    whole, path = few_classes
    shutil.copy(path, tmp_path / "nas.db")
    with sqlite3.connect(tmp_path / "nas.db") as connection:
        connection.execute(
            f"DELETE FROM trials WHERE number = {missing} OR reused_from = {missing} OR number > {missing + 1}"
        )
    store = SQLiteStore(f"sqlite:///{tmp_path}/nas.db")
    again = search(FewClasses(), EVOLUTION, by_class, **FEW_CLASSES, store=store)
    assert [(*t, s.reused_from) for t, s in zip(course(again), again.trials, strict=True)] == [
        (*t, s.reused_from) for t, s in zip(course(whole), whole.trials, strict=True)
    ]


@FORKED_WORKERS
def test_a_resumed_run_of_version_0_1_0_evaluates_every_duplicate_in_flight(tmp_path):
    """That version did so, and its runs must take the same course."""
    store = SQLiteStore(f"sqlite:///{tmp_path}/nas.db")
    settings = {"executor": Processes(4), "store": store}
    search(FewClasses(), RandomSearch, by_class, budget=Budget(trials=1), **settings)
    with sqlite3.connect(tmp_path / "nas.db") as connection:
        config = json.loads(connection.execute("SELECT config FROM runs").fetchone()[0])
        del config["scheduling"]["in_flight"], config["decisions"]
        connection.execute("UPDATE runs SET config = ?", (json.dumps(config),))
    result = search(FewClasses(), RandomSearch, by_class, budget=Budget(trials=8), **settings)
    assert result.resumed == 1
    assert len([t for t in result.trials if t.reused_from is None]) > len({t.canonical for t in result.trials})
