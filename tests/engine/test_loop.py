"""Searching, as a tutorial: what a search needs, what it returns, and what it survives."""

import sys
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from conftest import steep

from nas import Budget, Objective, Proposal, TrialFailed, UsageError, UserError, search
from nas.core import Context, Trial
from nas.engine.trial import last_error
from nas.store.memory import MemoryStore
from nas.store.sqlite import SQLiteStore
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.random import RandomSearch

EVOLUTION = partial(RegularizedEvolution, population_size=10, sample_size=3)


def test_a_search_needs_a_space_a_strategy_and_a_function(toy_space):
    result = search(toy_space, RandomSearch, steep, budget=Budget(trials=50))
    assert len(result.trials) == 50
    assert result.best.metrics["valid_accuracy"] == max(t.metrics["valid_accuracy"] for t in result.trials)
    assert result.best.text == toy_space.to_text(result.best.proposal.architecture)


def test_equal_seeds_give_equal_trials_and_different_seeds_different_ones(toy_space):
    first, again, other = (
        search(toy_space, EVOLUTION, steep, budget=Budget(trials=60), seed=seed).trials for seed in (1, 1, 2)
    )
    assert timeless(first) == timeless(again)
    assert timeless(first) != timeless(other)


def timeless(trials):
    """Trials without measured times."""
    return [
        (t.number, t.proposal, t.canonical, t.seed, t.status, t.metrics, t.reused_from, t.error_kind, t.curve)
        for t in trials
    ]


def test_a_resumed_search_proposes_what_an_uninterrupted_one_does(toy_space):
    uninterrupted = search(toy_space, EVOLUTION, steep, budget=Budget(trials=60)).trials
    store = MemoryStore()
    for trials in (7, 8, 31, 60):
        result = search(toy_space, EVOLUTION, steep, budget=Budget(trials=trials), store=store)
    assert timeless(result.trials) == timeless(uninterrupted)
    assert result.resumed == 31


def test_an_interruption_loses_no_finished_trial(toy_space):
    calls = []

    def interrupted(proposal, context):
        calls.append(proposal)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return steep(proposal, context)

    store = MemoryStore()
    with pytest.raises(KeyboardInterrupt):
        search(toy_space, EVOLUTION, interrupted, budget=Budget(trials=20), store=store, config={})
    assert len(store.trials("search")) == 5
    result = search(toy_space, EVOLUTION, interrupted, budget=Budget(trials=20), store=store, config={})
    uninterrupted = search(toy_space, EVOLUTION, steep, budget=Budget(trials=20))
    assert timeless(result.trials) == timeless(uninterrupted.trials)


def test_other_settings_under_the_same_name_are_refused_with_the_keys_that_differ(toy_space):
    store = MemoryStore()
    search(toy_space, EVOLUTION, steep, budget=Budget(trials=5), store=store, run="first")
    other = partial(RegularizedEvolution, population_size=10, sample_size=5)
    with pytest.raises(UsageError, match=r"run 'first' was started with strategy.sample_size=3 \(now 5\). Choose"):
        search(toy_space, other, steep, budget=Budget(trials=9), store=store, run="first")
    with pytest.raises(UsageError, match=r"seed=0 \(now 1\)"):
        search(toy_space, EVOLUTION, steep, budget=Budget(trials=9), store=store, run="first", seed=1)
    assert len(store.trials("first")) == 5


def test_a_run_that_is_resumed_in_another_environment_warns(toy_space, monkeypatch):
    store = MemoryStore()
    search(toy_space, EVOLUTION, steep, budget=Budget(trials=5), store=store)
    monkeypatch.setattr("nas.engine.search.environment", lambda: {"python": "3.99"})
    with pytest.warns(UserWarning, match=r"run 'search' was started with python 3\.\d+\.\d+, now 3.99: new trials may"):
        search(toy_space, EVOLUTION, steep, budget=Budget(trials=6), store=store)


def test_a_failed_trial_is_stored_with_its_kind_and_the_search_continues(toy_space):
    def fragile(proposal, context):
        if proposal.architecture[0] == 0:
            raise TrialFailed("too_small", "decision d0 is a")
        if proposal.architecture[0] == 1:
            return {"valid_accuracy": float("nan")}
        if proposal.architecture[0] == 2:
            return {"valid_accuracy": 1 / 0}
        return steep(proposal, context)

    result = search(toy_space, EVOLUTION, fragile, budget=Budget(trials=60, failures=None))
    kinds = {trial.error_kind for trial in result.trials}
    assert kinds == {"too_small", "not_finite", "error", None}
    assert all(trial.completed == (trial.proposal.architecture[0] == 3) for trial in result.trials)
    broken = next(trial for trial in result.trials if trial.error_kind == "error")
    assert "ZeroDivisionError: division by zero (test_loop.py:" in broken.error


def test_a_search_with_only_failures_ends(toy_space):
    def broken(proposal, context):
        raise TrialFailed("always", "it never works")

    result = search(toy_space, RandomSearch, broken, budget=Budget(trials=1000, failures=10), duplicates="retrain")
    assert result.ended == "failures"
    assert len(result.trials) == 10
    assert result.best is None


def test_an_error_that_the_user_can_fix_ends_the_search_and_costs_no_trial(toy_space):
    store = MemoryStore()

    def missing(proposal, context):
        raise UserError("the data are gone")

    with pytest.raises(UserError, match="the data are gone"):
        search(toy_space, RandomSearch, missing, budget=Budget(trials=3), store=store)
    with pytest.raises(UsageError, match=r"objective.metric must be one of .*\(valid_accuracy\), got 'accuracy'"):
        search(toy_space, RandomSearch, steep, budget=Budget(trials=3), objective=Objective("accuracy"))
    assert store.trials("search") == []


def test_a_duplicate_is_reused_by_its_canonical_key_but_keeps_its_own_parameters(toy_space):
    """Here architectures with equal first decisions form a class; parameters belong to the architecture."""
    toy_space.canonical = lambda architecture: f"class {architecture[0]}"
    calls = []

    class Evaluator:
        def __call__(self, proposal, context):
            calls.append(proposal.architecture)
            return {"valid_accuracy": 0.1, **self.architecture_metrics(proposal.architecture)}

        def architecture_metrics(self, architecture):
            return {"parameters": sum(architecture)}

    result = search(toy_space, RandomSearch, Evaluator(), budget=Budget(trials=40))
    assert len(calls) == 4
    reused = [trial for trial in result.trials if trial.reused_from is not None]
    assert len(reused) == 36
    for trial in reused:
        original = result.trials[trial.reused_from]
        assert trial.canonical == original.canonical
        assert trial.seconds == 0
        assert trial.seed == original.seed
        assert trial.metrics == {"valid_accuracy": 0.1, "parameters": sum(trial.proposal.architecture)}


def test_retrained_duplicates_get_different_seeds(toy_space):
    toy_space.canonical = lambda architecture: "all one"
    result = search(toy_space, RandomSearch, steep, budget=Budget(trials=20), duplicates="retrain")
    assert len({trial.seed for trial in result.trials}) == 20
    assert all(trial.reused_from is None for trial in result.trials)


def test_an_architecture_at_another_fidelity_is_not_a_duplicate(toy_space):
    class Growing(RandomSearch):
        def ask(self, rng, pending):
            return Proposal((0,) * 6, fidelity=1 + int(rng.integers(2)))

    result = search(toy_space, Growing, steep, budget=Budget(trials=20))
    assert sum(trial.reused_from is None for trial in result.trials) == 2


def test_epochs_and_measurements_reach_the_trial(toy_space):
    def evaluator(proposal: Proposal, context: Context):
        for epoch in range(3):
            context.report({"valid_accuracy": epoch / 10})
        context.measured("peak_memory_mb", 12.5)
        return steep(proposal, context)

    trial: Trial = search(toy_space, RandomSearch, evaluator, budget=Budget(trials=1)).trials[0]
    assert trial.curve == ({"valid_accuracy": 0.0}, {"valid_accuracy": 0.1}, {"valid_accuracy": 0.2})
    assert trial.cost == {"peak_memory_mb": 12.5}
    assert "peak_memory_mb" not in trial.metrics


def test_a_minimised_objective_prefers_less(toy_space):
    objective = Objective("loss", "minimize")
    result = search(
        toy_space,
        EVOLUTION,
        lambda p, c: {"loss": float(sum(p.architecture))},
        budget=Budget(trials=80),
        objective=objective,
    )
    assert result.best.metrics["loss"] == min(trial.metrics["loss"] for trial in result.trials)
    assert result.best.metrics["loss"] <= 3


def test_a_strategy_that_proposes_nothing_more_ends_the_search(toy_space):
    class Two(RandomSearch):
        def reset(self, rng):
            self.told = 0

        def ask(self, rng, pending):
            return super().ask(rng, pending) if self.told < 2 else None

        def tell(self, trial):
            self.told += 1

    result = search(toy_space, Two, steep, budget=Budget(trials=9))
    assert (result.ended, len(result.trials)) == ("finished", 2)


def test_listeners_see_every_new_trial_and_are_closed_after_an_error(toy_space):
    class Watcher:
        seen = ()

        def start(self, run, trials, total, objective):
            self.seen = (*self.seen, f"start {len(trials)}/{total}")

        def on_trial_end(self, trial):
            self.seen = (*self.seen, trial.number)

        def close(self):
            self.seen = (*self.seen, "close")

    watcher, store = Watcher(), MemoryStore()
    search(toy_space, RandomSearch, steep, budget=Budget(trials=2), store=store, listeners=[watcher])
    search(toy_space, RandomSearch, steep, budget=Budget(trials=3), store=store, listeners=[watcher])
    assert watcher.seen == ("start 0/2", 0, 1, "close", "start 2/3", 2, "close")


def test_numbers_of_numpy_and_torch_are_stored_as_python_numbers(toy_space, tmp_path):
    class NumPyIntegers(RandomSearch):
        def ask(self, rng, pending):
            return Proposal(tuple(rng.integers(4, size=6)))

    def evaluator(proposal, context):
        context.report({"valid_accuracy": np.float32(0.25)})
        context.measured("latency_ms", torch.tensor(2.5))
        return {"valid_accuracy": np.float64(0.5), "parameters": torch.tensor(7)}

    store = SQLiteStore(f"sqlite:///{tmp_path}/nas.db")
    trial = search(toy_space, NumPyIntegers, evaluator, budget=Budget(trials=1), store=store).trials[0]
    assert store.trials("search") == [trial]
    assert trial.metrics == {"valid_accuracy": 0.5, "parameters": 7.0}
    assert trial.cost == {"latency_ms": 2.5}
    assert trial.curve == ({"valid_accuracy": 0.25},)


def test_resuming_does_not_change_how_many_failures_in_a_row_end_a_search(toy_space):
    def broken(proposal, context):
        raise TrialFailed("always", "it never works")

    store, settings = MemoryStore(), {"duplicates": "retrain"}
    search(toy_space, RandomSearch, broken, budget=Budget(trials=5), store=store, **settings)
    result = search(toy_space, RandomSearch, broken, budget=Budget(trials=100), store=store, **settings)
    assert (result.ended, len(result.trials)) == ("failures", 10)
    result = search(toy_space, RandomSearch, broken, budget=Budget(trials=100), store=store, **settings)
    assert (result.ended, len(result.trials)) == (
        "failures",
        20,
    )  # a search that gave up and is run again gets ten more


def test_a_run_without_trials_does_not_reserve_its_name(toy_space, tmp_path):
    for store in (MemoryStore(), SQLiteStore(f"sqlite:///{tmp_path}/nas.db")):
        with pytest.raises(UsageError, match=r"one of the evaluator's metrics .*, got 'typo'"):
            search(toy_space, RandomSearch, steep, budget=Budget(trials=2), store=store, objective=Objective("typo"))
        assert len(search(toy_space, RandomSearch, steep, budget=Budget(trials=2), store=store).trials) == 2


def test_objective_and_duplicates_are_settings_of_a_run_even_with_a_custom_config(toy_space):
    store, config = MemoryStore(), {"x": 1}
    search(toy_space, RandomSearch, steep, budget=Budget(trials=2), store=store, config=config)
    with pytest.raises(UsageError, match=r"duplicates=reuse \(now retrain\)"):
        search(
            toy_space, RandomSearch, steep, budget=Budget(trials=3), store=store, config=config, duplicates="retrain"
        )


def test_an_evaluator_that_exits_fails_its_trial(toy_space):
    def leaving(proposal, context):
        sys.exit("no such file")

    result = search(toy_space, RandomSearch, leaving, budget=Budget(trials=2))
    assert [trial.error_kind for trial in result.trials] == ["error", "error"]
    assert result.trials[0].error.startswith("SystemExit: no such file (test_loop.py:")


def test_an_evaluator_that_exits_while_it_is_prepared_ends_the_search(toy_space):
    class Leaving:
        def prepare(self, device):
            raise SystemExit

        def __call__(self, proposal, context):
            return steep(proposal, context)

    with pytest.raises(UserError, match=r"Leaving.prepare ended with SystemExit: no message \(test_loop.py:"):
        search(toy_space, RandomSearch, Leaving(), budget=Budget(trials=2))


def test_a_strategy_that_scores_a_failed_trial_gets_advice(toy_space):
    class Careless(RandomSearch):
        def tell(self, trial):
            self.objective.score(trial)

    def fragile(proposal, context):
        raise TrialFailed("small", "too small")

    message = r"trial 0 has no metric 'valid_accuracy' \(it failed: too small\); .* check trial.completed before"
    with pytest.raises(UsageError, match=message):
        search(toy_space, Careless, fragile, budget=Budget(trials=2))


def test_two_threads_cannot_write_one_run_of_a_memory_store(toy_space):
    store = MemoryStore()

    def nested(proposal, context):
        if not store.trials("one"):
            message = "run 'one' is being written by another search of this process"
            with pytest.raises(UsageError, match=message):
                search(toy_space, RandomSearch, nested, budget=Budget(trials=2), store=store, run="one")
        return steep(proposal, context)

    assert len(search(toy_space, RandomSearch, nested, budget=Budget(trials=2), store=store, run="one").trials) == 2
    assert len(search(toy_space, RandomSearch, nested, budget=Budget(trials=3), store=store, run="one").trials) == 3


def test_the_last_error_of_a_search_without_trials_is_its_reason(trial):
    assert last_error((), "budget") == "the budget was used up before the first trial; set a larger budget.hours"
    assert last_error((), "finished") == "the strategy proposed no architecture"
    assert last_error((trial(0, None), trial(1, 0.5)), "failures") == "made to fail"


def test_an_objective_that_contradicts_the_evaluators_declaration_warns(toy_space):
    class Slow:
        minimized = ("latency",)

        def __call__(self, proposal, context):
            return {"latency": float(sum(proposal.architecture))}

    outcomes = {}
    for direction in ("maximize", "minimize"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = search(toy_space, RandomSearch, Slow(), budget=Budget(trials=4),
                            objective=Objective("latency", direction))  # fmt: skip
        outcomes[direction] = [str(one.message) for one in caught], result.best.metrics["latency"]
    assert outcomes["maximize"][0] == [
        "objective.direction=maximize, but Slow declares that lower values of latency are better; set "
        "objective.direction=minimize"
    ]
    assert outcomes["minimize"][0] == []
    assert outcomes["minimize"][1] < outcomes["maximize"][1]
