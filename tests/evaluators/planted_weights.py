"""Shared weights of the space with a planted cell, for tests."""

from relaxed import Planted, Signs

from nas import Budget, search
from nas.evaluators.shared_weights import SharedWeights
from nas.strategies.random import RandomSearch
from nas.training.recipe import Recipe

RECIPE = Recipe(epochs=6, batch_size=32, lr=0.1, nesterov=False, crop=0.0, flip=False, threads=1)


def evaluator(folder=None, planted=(1, 1), **more):
    scorer = SharedWeights(Planted(planted), Signs(), RECIPE, **more)
    if folder is not None:
        scorer.checkpoint_dir = folder
    return scorer


def run(scorer, trials, strategy=RandomSearch, **more):
    return search(scorer.space, strategy, scorer, budget=Budget(trials=trials), device="cpu", **more).trials
