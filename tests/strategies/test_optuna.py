"""The strategy that wraps Optuna's samplers. That it is as good as plain Optuna is in experiments/hyperparameters."""

import importlib.util
import json
import logging
import warnings
from functools import partial
from types import MappingProxyType

import numpy as np
import pytest
from conftest import MAXIMIZE, margins
from light import LightSpace, MixedSpace, mixed, steep

from nas import Budget, UsageError, search
from nas.core import Proposal, Trial
from nas.engine.randomness import TrialRandom
from nas.space import Integer
from nas.store.memory import MemoryStore
from nas.strategies.optuna import OptunaSearch

optuna = pytest.importorskip("optuna")
from optuna.distributions import CategoricalDistribution, IntDistribution  # noqa: E402
from optuna.trial import TrialState  # noqa: E402

SAMPLERS = ["BruteForceSampler", "NSGAIISampler", "QMCSampler", "RandomSampler", "TPESampler"]


class Numbers(LightSpace):
    choices = MappingProxyType({f"x{i}": Integer(0, 31) for i in range(3)})


def bowl(proposal, context):
    return {"valid_accuracy": -sum((x - 20) ** 2 for x in proposal.architecture)}


def finished(number, architecture, score):
    status, metrics = ("failed", {}) if score is None else ("completed", {"valid_accuracy": score})
    return Trial(number, Proposal(architecture), "", "", 0, status, metrics, 0.0)


def shown(monkeypatch, strategy, pending=()):
    """The trials that the sampler of one proposal is shown."""
    seen = []

    class Looking(optuna.samplers.RandomSampler):
        def infer_relative_search_space(self, study, trial):
            seen.extend(study.get_trials(deepcopy=False))
            return {}

    monkeypatch.setattr("nas.strategies.optuna.new_sampler", lambda name, options, seed, run_seed: Looking(seed))
    strategy.ask(TrialRandom(0).trial(7), pending)
    return seen


def made(space, **settings):
    strategy = OptunaSearch(space, MAXIMIZE, **settings)
    strategy.reset(TrialRandom(0).start())
    return strategy


def test_a_sampler_sees_what_is_told_what_failed_and_what_is_running(monkeypatch):
    strategy = made(LightSpace())
    strategy.tell(finished(0, (1, 2, 3, 0, 0, 0), 0.7))
    strategy.tell(finished(2, (0, 0, 0, 0, 0, 0), None))
    trials = shown(monkeypatch, strategy, [Proposal((3, 3, 3, 3, 3, 3))])
    states = [TrialState.COMPLETE, TrialState.RUNNING, TrialState.FAIL, TrialState.RUNNING]
    assert [trial.state for trial in trials] == states  # the last is the new one
    assert trials[0].value == 0.7
    assert trials[0].params == {"d0": 1, "d1": 2, "d2": 3, "d3": 0, "d4": 0, "d5": 0}
    assert set(trials[1].params.values()) == {3}


def test_ordered_decisions_are_whole_numbers_and_only_those_that_matter_are_suggested(monkeypatch):
    strategy = made(MixedSpace())
    strategy.tell(finished(0, (2, 1, 0, 0, 4, 3, 0), 0.7))
    trial = shown(monkeypatch, strategy)[0]
    assert trial.params == {"op": 2, "kernel": 1, "units": 4, "lr": 3, "drop": 0}  # a pool has no width
    assert trial.distributions["op"] == CategoricalDistribution(range(3))
    assert trial.distributions["lr"] == IntDistribution(0, 3)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_resumes_to_the_trials_of_an_uninterrupted_search(sampler):
    make, store = partial(OptunaSearch, sampler=sampler), MemoryStore()
    whole = search(MixedSpace(), make, mixed, budget=Budget(trials=24))
    search(MixedSpace(), make, mixed, budget=Budget(trials=13), store=store)
    resumed = search(MixedSpace(), make, mixed, budget=Budget(trials=24), store=store)
    assert [trial.proposal for trial in resumed.trials] == [trial.proposal for trial in whole.trials]
    json.dumps([dict(trial.proposal.info) for trial in whole.trials])


def test_it_proposes_what_a_plain_study_with_the_same_seeds_does():
    """30 trials of TPE, of which 20 follow from the results."""
    found = search(Numbers(), OptunaSearch, bowl, budget=Budget(trials=30), seed=3)
    study = optuna.create_study(direction="maximize")
    for trial in found.trials:
        seed = int(TrialRandom(3).trial(trial.number).integers(2**32))
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        asked = study.ask()
        architecture = tuple(asked.suggest_int(name, 0, 31) for name in Numbers.choices)
        assert architecture == trial.proposal.architecture
        study.tell(asked, trial.metrics["valid_accuracy"])


def test_a_sequence_of_quasi_random_points_goes_on_from_trial_to_trial():
    """After the first trial, which is random: 32 points of Sobol have two in each sixteenth of a number."""
    make = partial(OptunaSearch, sampler="QMCSampler", options={"scramble": True})
    trials = search(Numbers(), make, bowl, budget=Budget(trials=33)).trials[1:]
    counts = [np.bincount([trial.proposal.architecture[i] for trial in trials], minlength=32) for i in range(3)]
    assert np.reshape(counts, (3, 16, 2)).sum(axis=2).tolist() == [[2] * 16] * 3


def test_what_a_sequence_leaves_to_chance_differs_from_trial_to_trial():
    """Sobol's points have no categories in Optuna 4."""
    found = search(LightSpace(), partial(OptunaSearch, sampler="QMCSampler"), steep, budget=Budget(trials=33))
    assert len({trial.text for trial in found.trials}) > 30


def test_the_parzen_estimator_is_above_random_search_on_a_slope():
    assert np.mean(margins(OptunaSearch, 4)) > 0.05


def test_a_seed_repeats_and_another_one_differs():
    def texts(seed):
        return [
            trial.text
            for trial in search(LightSpace(), OptunaSearch, steep, budget=Budget(trials=15), seed=seed).trials
        ]

    assert texts(1) == texts(1) != texts(2)


def test_a_constraint_that_no_suggestion_meets_gives_a_random_architecture():
    class Rare(LightSpace):
        def is_valid(self, architecture):
            return sum(architecture) == 17

    found = search(Rare(), OptunaSearch, steep, budget=Budget(trials=5))
    assert all(trial.completed and sum(trial.proposal.architecture) == 17 for trial in found.trials)


def test_optuna_says_nothing(capfd, caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        make = partial(OptunaSearch, options={"multivariate": True, "group": True})
        search(LightSpace(), make, steep, budget=Budget(trials=14))
    assert capfd.readouterr() == ("", "")


def test_without_optuna_one_sentence_says_how_to_install_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "nas.strategies.optuna_samplers.find_spec", lambda name: None if name == "optuna" else found(name)
    )
    with pytest.raises(UsageError, match=r"^strategy=optuna needs Optuna, .* pip install 'cellnas\[optuna\]'$"):
        OptunaSearch(LightSpace(), MAXIMIZE)


def test_an_option_that_the_sampler_finds_wrong_only_when_it_suggests_is_named_too():
    strategy = made(LightSpace(), options={"n_startup_trials": "few"})
    with pytest.raises(UsageError, match=r"TPESampler failed with strategy.options=.*'few'}: TypeError"):
        strategy.ask(TrialRandom(0).trial(0), [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"sampler": "TPESampelr"},
            r"must be one of BruteForceSampler, .*, got 'TPESampelr' \(did you mean 'TPESampler'",
        ),
        ({"sampler": None}, "strategy.sampler must be one of .*, got null"),
        ({"sampler": "BaseSampler"}, "strategy.sampler must be one of .*, got 'BaseSampler'"),
        ({"sampler": "CmaEsSampler"}, "CmaEsSampler keeps its state as pickled code, which a store must not run"),
        (
            {"options": {"multivariat": True}},
            r"strategy.options.multivariat is not .* \(did you mean 'multivariate'\?\)",
        ),
        ({"options": {"seed": 3}}, "strategy.options.seed would make all proposals alike"),
        ({"options": [1]}, "strategy.options must be a mapping"),
        (
            {"sampler": "QMCSampler", "options": {"qmc_type": "sobel"}},
            "strategy.options={'qmc_type': 'sobel'} does not suit strategy.sampler=QMCSampler",
        ),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(settings, message):
    with pytest.raises(UsageError, match=message):
        made(LightSpace(), **settings)
