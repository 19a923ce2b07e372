"""Weights shared by all architectures: what they learn, how they resume, and what is refused."""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch.nn.functional as F
from conftest import ToySpace
from planted_weights import RECIPE, evaluator, run
from relaxed import Planted, Signs

from nas import Budget, UsageError, UserError, search
from nas.core import Context, Objective, Proposal, Task
from nas.data.digits import Digits
from nas.evaluators.shared_weights import FILE, SharedWeights
from nas.executors.processes import Processes
from nas.store.leaderboard import leaderboard
from nas.store.memory import MemoryStore
from nas.store.sqlite import SQLiteStore
from nas.strategies.darts import DARTS
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.random import RandomSearch
from nas.strategies.reinforce import Reinforce
from nas.supernets import shared
from nas.supernets.gradient import GradientSearch
from nas.supernets.paths import fair, uniform
from nas.supernets.steps import evaluation_batches, measure
from nas.training.augment import plain_batch
from nas.training.recipe import Recipe
from search_spaces.darts import DARTS as DARTSSpace
from search_spaces.nasbench201 import NASBench201


class Killed(BaseException):
    """A listener that raises an ordinary exception is dropped, and the search continues."""


class Killer:
    """A listener that ends a search from inside, after a number of epochs or trials."""

    def __init__(self, epochs=None, trials=None):
        self.epochs, self.trials = epochs, trials

    def start(self, *_): ...

    def on_trial_end(self, trial):
        if self.trials is not None and trial.number + 1 == self.trials:
            raise Killed

    def on_epoch_end(self, _number, _epochs, curve):
        if self.epochs is not None and len(curve) == self.epochs:
            raise Killed

    def close(self): ...


@pytest.mark.parametrize(("sampling", "planted"), [("uniform", (0, 0)), ("fair", (3, 1))])
def test_shared_weights_score_the_planted_cell_highest(planted, sampling):
    space = Planted(planted)
    scorer = evaluator(planted=planted, sampling=sampling)
    scores = dict(zip(architectures_of(space), scorer.scores(architectures_of(space), "cpu"), strict=True))
    assert max(scores, key=scores.get) == planted
    assert scores[planted] > 0.7 > sorted(scores.values())[-2]


@pytest.mark.parametrize("planted", [(3, 1), *(pytest.param(p, marks=pytest.mark.slow) for p in ((0, 0), (1, 2)))])
def test_weights_and_controller_in_turn_find_the_planted_cell(planted):
    """ENAS. What is proposed learns, and what has learnt is proposed: it takes some entropy not to settle on the first
    cell that is better than chance."""
    controller = partial(Reinforce, lr=0.05, entropy_weight=0.02)
    trials = run(evaluator(planted=planted, train="on_proposal", steps=5), 300, controller)
    late = Counter(trial.proposal.architecture for trial in trials[-50:])
    assert late.most_common(1)[0][0] == planted
    assert late[planted] > 16  # of 50; a controller that learns nothing makes 3


def architectures_of(space):
    return [tuple(arch) for arch in np.ndindex(*space.sizes)]


def test_a_killed_training_resumes_to_the_same_scores(tmp_path):
    whole = run(evaluator(tmp_path / "whole"), 5)
    with pytest.raises(Killed):
        run(evaluator(tmp_path / "parts"), 5, listeners=[Killer(epochs=3)])
    scorer = evaluator(tmp_path / "parts")
    seen = []
    scorer.train_weights("cpu", (), lambda _epochs, curve: seen.append(len(curve)))
    assert seen == [3, 4, 5, 6]
    assert outcomes(run(scorer, 5)) == outcomes(whole)


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_killed_search_that_learns_from_its_proposals_resumes(tmp_path, monkeypatch, seconds):
    """With a checkpoint after every proposal, and with none at all: the weights learn the stored proposals again."""
    monkeypatch.setattr(shared, "SAVED_EVERY", seconds)
    whole = run(evaluator(train="on_proposal", steps=3), 12, Reinforce)
    store = SQLiteStore(f"sqlite:///{tmp_path}/nas.db")
    scorer = evaluator(tmp_path, train="on_proposal", steps=3)
    with pytest.raises(Killed):
        run(scorer, 12, Reinforce, store=store, listeners=[Killer(trials=7)])
    assert (tmp_path / FILE).exists() == (seconds == 0.0)
    scorer = evaluator(tmp_path, train="on_proposal", steps=3)
    assert outcomes(run(scorer, 12, Reinforce, store=store)) == outcomes(whole)


def outcomes(trials):
    return [(trial.proposal.architecture, dict(trial.metrics)) for trial in trials]


def test_checkpoints_of_other_proposals_or_weights_are_refused_and_left_unchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "SAVED_EVERY", 0.0)
    run(evaluator(tmp_path, train="on_proposal"), 4)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(UsageError, match="learnt from 3 proposals, which are not those of this run"):
        run(evaluator(tmp_path, train="on_proposal"), 4, seed=1)
    with pytest.raises(UsageError, match=r"another training \(shared_weights"):
        run(evaluator(tmp_path), 4)
    assert (tmp_path / FILE).read_bytes() == before
    (tmp_path / FILE).write_bytes(before[:500])
    with pytest.raises(UsageError, match="damaged; remove it"):
        run(evaluator(tmp_path, train="on_proposal"), 4)


def test_equal_proposals_are_scored_again_where_the_weights_have_learnt_since():
    trials = run(evaluator(train="on_proposal"), 60)
    assert not any(trial.reused_from is not None for trial in trials)
    scores = {}
    for trial in trials:
        scores.setdefault(trial.proposal.architecture, set()).add(trial.metrics["valid_loss"])
    assert max(map(len, scores.values())) > 1


def test_workers_share_the_weights_of_one_training(tmp_path, forked_workers):
    inline = run(evaluator(tmp_path / "a"), 6, RegularizedEvolution)
    spread = run(evaluator(tmp_path / "b"), 6, RegularizedEvolution, executor=Processes(workers=2))
    assert outcomes(spread) == outcomes(inline)


def test_a_fair_step_takes_each_option_once():
    space = NASBench201()
    paths = fair(space, np.random.default_rng(0))
    assert len(paths) == 5
    for options in zip(*paths, strict=True):
        assert sorted(options) == list(range(5))
    assert len(uniform(space, np.random.default_rng(0))) == 1


def test_a_fair_step_is_even_where_decisions_differ_in_size():
    space = DARTSSpace()
    paths = fair(space, np.random.default_rng(0))
    assert len(paths) == max(space.sizes)
    for size, options in zip(space.sizes, zip(*paths, strict=True), strict=True):
        counts = np.bincount(options, minlength=size)
        assert counts.max() - counts.min() <= 1


def test_fair_samples_of_a_space_with_constraints_are_refused():
    class Odd(ToySpace):
        def is_valid(self, architecture):
            return sum(architecture) % 2 == 1

    with pytest.raises(UsageError, match="has constraints"):
        fair(Odd(), np.random.default_rng(0))


def test_impossible_settings_are_refused():
    with pytest.raises(UsageError, match="ToySpace has no supernet"):
        SharedWeights(ToySpace(), Signs(), RECIPE)
    with pytest.raises(UsageError, match=r"evaluator\.steps=2 has no effect"):
        evaluator(steps=2)
    with pytest.raises(UsageError, match=r"evaluator\.sampling=fair has no effect"):
        evaluator(train="on_proposal", sampling="fair")
    for workers in (1, 2):
        with pytest.raises(UsageError, match=r"learns from one proposal after another, .* set executor=inline"):
            run(evaluator(train="on_proposal"), 4, executor=Processes(workers=workers))
    with pytest.raises(UsageError, match=r"objective\.metric must be one of .*valid_accuracy, valid_loss"):
        run(evaluator(), 4, objective=Objective("parameters"))
    with pytest.raises(UsageError, match="would never be reached"):
        search(Planted(), RandomSearch, evaluator(), budget=Budget(simulated_seconds=5.0))
    with pytest.raises(UsageError, match=r"evaluator\.seed must be a whole number"):
        evaluator(seed=-1)
    with pytest.raises(UsageError, match=r"supernet\.validate_every=None has no effect"):
        SharedWeights(Planted(), Signs(), replace(RECIPE, validate_every=None))
    with pytest.raises(UsageError, match="DARTS trains its own supernet"):
        run(evaluator(), 1, DARTS, supernets=GradientSearch(Planted(), Signs(), RECIPE))
    scorer = evaluator()
    with pytest.raises(UsageError, match="asks for 3 epochs"):
        scorer(Proposal((1, 1), fidelity=3), Context(0, "cpu", print, print))


def test_scores_of_weights_that_learnt_from_other_proposals_are_never_ranked_together():
    store = MemoryStore()
    for name, seed in (("one", 0), ("two", 1)):
        run(evaluator(train="on_proposal"), 3, store=store, run=name, seed=seed)
    assert len(leaderboard(store)) == 2
    for name, seed in (("one", 0), ("two", 1)):
        run(evaluator(), 3, store=(same := MemoryStore()) if name == "one" else same, run=name, seed=seed)
    assert len(leaderboard(same)) == 1


def test_the_time_limit_holds_for_weights_that_learn_from_proposals():
    scorer = SharedWeights(Planted(), Signs(), replace(RECIPE, time_limit=1e-6), train="on_proposal")
    with pytest.raises(UserError, match=r"exceeded supernet\.time_limit=1e-06 s at proposal 0; raise the limit$"):
        run(scorer, 4)


def test_a_step_that_breaks_off_ends_the_search_where_others_would_build_on_it(monkeypatch):
    scorer = evaluator(train="on_proposal")
    scorer.train_weights("cpu", (), lambda _epochs, _curve: None)

    def breaks(*_):
        raise RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")

    monkeypatch.setattr(scorer.shared.weights, "step", breaks)
    with pytest.raises(UserError, match="could not learn from a proposal: RuntimeError: CUDNN"):
        scorer(Proposal((1, 1)), Context(0, "cpu", print, print))


def test_a_finished_run_without_its_checkpoint_is_not_trained_again(tmp_path):
    store = SQLiteStore(f"sqlite:///{tmp_path}/nas.db")
    run(evaluator(tmp_path), 3, store=store)
    (tmp_path / FILE).unlink()
    scorer = evaluator(tmp_path)
    assert len(run(scorer, 3, store=store)) == 3
    assert not scorer.is_trained


@pytest.mark.parametrize(
    ("count", "bounds"),
    [
        (2, [(0, 2)]),
        (499, [(0, 499)]),
        (500, [(0, 500)]),
        (501, [(0, 501)]),
        (502, [(0, 500), (500, 502)]),
        (1000, [(0, 500), (500, 1000)]),
        (1001, [(0, 500), (500, 1001)]),
        (1250, [(0, 500), (500, 1000), (1000, 1250)]),
    ],
)
def test_no_image_is_measured_by_itself(count, bounds):
    assert list(evaluation_batches(count)) == bounds


def test_an_image_left_over_is_scored_with_the_others():
    """The last maps are one pixel wide here, where a batch of one has no variance."""
    space, data = NASBench201(), Digits(valid_fraction=0.5)
    recipe = replace(RECIPE, epochs=1, train_images=64, valid_images=501, network={"channels": 2, "cells": 1})
    images = data.split().valid.first(501)
    small = replace(images, pixels=images.pixels[:, :, 2:6, 2:6])
    network = space.supernet(Task(1, 4, 4, 10), recipe.network)
    probs = space.relax((3,) * 6)
    accuracy, loss = measure(network, probs, small, recipe)
    logits = network(plain_batch(small, 0, 501), probs)
    assert accuracy == (logits.argmax(1) == small.labels).sum().item() / 501
    assert loss == pytest.approx(F.cross_entropy(logits, small.labels).item(), rel=1e-6)
    scorer = SharedWeights(space, data, recipe)
    assert scorer.protocol()["shared_weights"]["last_image"] == "joined"  # scores of 0.1.0 are not ranked with these
    (trial,) = run(scorer, 1)
    assert trial.completed
    assert (
        "last_image" not in SharedWeights(space, data, replace(recipe, valid_images=502)).protocol()["shared_weights"]
    )
    with pytest.raises(UsageError, match=r"supernet\.valid_images=1: .* expected 2 or more"):
        run(SharedWeights(space, data, replace(recipe, valid_images=1)), 1)


def test_weights_that_explode_end_the_search_with_advice():
    scorer = SharedWeights(Planted(), Signs(), Recipe(epochs=3, batch_size=32, lr=1e30, momentum=0.0, nesterov=False))
    with pytest.raises(UserError, match=r"Try supernet\.lr"):
        run(scorer, 2)
