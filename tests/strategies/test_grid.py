from types import MappingProxyType

import pytest
from conftest import MAXIMIZE, ToySpace
from light import LightSpace, MixedSpace, SmallSpace, steep

from nas import Budget, UsageError, search
from nas.core import Proposal
from nas.space import Float, Integer, Ordinal
from nas.store.memory import MemoryStore
from nas.strategies.grid import GridSearch


class Ranges(ToySpace):
    choices = MappingProxyType(
        {"lr": Float(0.001, 1.0, log=True, steps=31), "width": Integer(0, 100), "op": ("a", "b", "c", "d", "e")}
    )


class Wide(MixedSpace):
    """A range that matters only with a convolution."""

    choices = MappingProxyType({"op": ("none", "conv"), "rate": Float(0, 1, steps=101), "units": Integer(1, 50)})
    conditions = MappingProxyType({"rate": {"op": "conv"}})

    def is_valid(self, architecture):
        return True


class Huge(ToySpace):
    choices = MappingProxyType({f"d{i}": Integer(1, 1000) for i in range(6)})


def proposals(strategy):
    """What it proposes one after another, none of which is told."""
    pending = []
    while (proposal := strategy.ask(None, pending)) is not None:
        pending.append(proposal)
    return [proposal.architecture for proposal in pending]


def test_every_architecture_is_proposed_once_in_the_order_of_the_space():
    space = MixedSpace()
    found = search(space, GridSearch, lambda *_: {"valid_accuracy": 0.5}, budget=Budget(trials=5000))
    assert [trial.proposal.architecture for trial in found.trials] == list(space.architectures())
    assert found.ended == "finished"


def test_it_says_how_many_combinations_there_are():
    assert GridSearch(MixedSpace(), MAXIMIZE).planned == 1729
    assert GridSearch(Ranges(), MAXIMIZE, resolution=3).planned == 3 * 3 * 5


def test_a_resolution_spreads_the_options_of_a_range_evenly_with_both_ends():
    grid = proposals(GridSearch(Ranges(), MAXIMIZE, resolution=4))
    assert sorted({architecture[0] for architecture in grid}) == [0, 10, 20, 30]
    assert sorted({architecture[1] for architecture in grid}) == [0, 33, 67, 100]
    assert sorted({architecture[2] for architecture in grid}) == [0, 1, 2, 3, 4]  # not a range


def test_a_resolution_above_the_number_of_steps_takes_all_of_them():
    assert GridSearch(Ranges(), MAXIMIZE, resolution=31, max_combinations=20_000).planned == 31 * 31 * 5


def test_a_resolution_proposes_nothing_twice_where_a_range_is_off():
    grid = proposals(GridSearch(Wide(), MAXIMIZE, resolution=5))
    assert len(grid) == len(set(grid)) == 5 + 5 * 5


def test_an_ordinal_is_not_a_range():
    class Kernels(ToySpace):
        choices = MappingProxyType({"kernel": Ordinal((1, 3, 5, 7, 9))})

    assert GridSearch(Kernels(), MAXIMIZE, resolution=2).planned == 5


def test_it_resumes_after_the_trials_it_was_told():
    store = MemoryStore()
    search(SmallSpace(), GridSearch, steep, budget=Budget(trials=100), store=store)
    resumed = search(SmallSpace(), GridSearch, steep, budget=Budget(trials=1000), store=store)
    assert [trial.proposal.architecture for trial in resumed.trials] == list(SmallSpace().architectures())


def test_what_was_told_out_of_order_is_not_proposed_again(trial):
    grid = GridSearch(LightSpace(), MAXIMIZE)
    for number, last in enumerate((0, 2, 1)):
        grid.tell(trial(number, 0.5, (0, 0, 0, 0, 0, last)))
    assert grid.ask(None, [Proposal((0, 0, 0, 0, 0, 3))]).architecture == (0, 0, 0, 0, 1, 0)


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        (Ranges, {}, r"a grid of Ranges has 15,655 combinations, more than strategy.max_combinations=10,000; set"),
        (Ranges, {"resolution": 60}, "a grid of Ranges has 9,300 combinations, more than .*=900; set a lower"),
        (Huge, {}, "a grid of Huge has 1,000,000,000,000,000,000 combinations"),
        (Huge, {"resolution": 50}, "a grid of Huge has 15,625,000,000 combinations"),
        (Wide, {"resolution": 40}, "a grid of Wide has up to 3,200 combinations"),
    ],
)
def test_a_grid_that_is_too_large_is_refused_with_its_size(space, settings, message):
    settings = {"max_combinations": 900} | settings if settings else {}
    with pytest.raises(UsageError, match=message):
        GridSearch(space(), MAXIMIZE, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resolution": 1}, "strategy.resolution must be a whole number of at least 2, got 1"),
        ({"resolution": 2.5}, "strategy.resolution must be a whole number of at least 2, got 2.5"),
        ({"max_combinations": 0}, "strategy.max_combinations must be a whole number of at least 1"),
        ({"max_combinations": 10**9}, "at most 1000000, got 1000000000"),
    ],
)
def test_settings_that_make_no_grid_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        GridSearch(LightSpace(), MAXIMIZE, **settings)
