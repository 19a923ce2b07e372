"""The portfolio strategy: the space's own list first, then mutants of the best, no architecture twice."""

import numpy as np

from nas import Budget, Objective, search
from nas.strategies import Portfolio
from search_spaces.nasbench201 import NASBench201
from search_spaces.pictures import Pictures


class Listed(NASBench201):
    def first_architectures(self):
        return [(0,) * 6, (1,) * 6, (2,) * 6]


def proposed(space, trials, score):
    found = search(
        space, Portfolio, lambda proposal, context: {"valid_accuracy": score(proposal)}, budget=Budget(trials)
    )
    return [trial.proposal.architecture for trial in found.trials]


def test_the_list_of_the_space_comes_first_and_then_mutants_of_the_best():
    tried = proposed(Listed(), 30, lambda proposal: sum(proposal.architecture) / 24)
    assert tried[:3] == Listed().first_architectures()
    assert len(set(tried)) == 30
    for child in tried[3:]:
        earlier = tried[: tried.index(child)]
        assert any(sum(a != b for a, b in zip(child, parent, strict=True)) == 1 for parent in earlier)


def test_a_space_without_a_list_starts_at_random_and_ends_when_all_is_tried():
    space = Pictures(methods=("baseline", "frozen"), sides=(96, 128))
    tried = proposed(space, 30, lambda proposal: 0.5)
    assert len(tried) == len(set(tried)) == space.size == 5


def test_failed_architectures_are_neither_repeated_nor_mutated():
    strategy = Portfolio(NASBench201(), Objective())
    strategy.reset(np.random.default_rng(0))
    assert strategy.ask(np.random.default_rng(0), ()) is not None
