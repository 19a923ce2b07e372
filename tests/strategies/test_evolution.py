import numpy as np
import pytest
from conftest import MAXIMIZE, margins

from nas import UsageError
from nas.strategies.evolution import RegularizedEvolution


def hamming(first, second):
    return sum(a != b for a, b in zip(first, second, strict=True))


def test_the_oldest_dies_even_if_it_is_the_best(toy_space, trial):
    evolution = RegularizedEvolution(toy_space, MAXIMIZE, population_size=3, sample_size=3)
    for number, score in enumerate([0.9, 0.1, 0.2, 0.3]):
        evolution.tell(trial(number, score))
    assert [score for score, _ in evolution.population] == [0.1, 0.2, 0.3]


def test_the_better_of_two_is_the_parent_three_times_in_four(toy_space, trial, rng):
    """A tournament of two with replacement misses the better one with probability 1/2 * 1/2."""
    evolution = RegularizedEvolution(toy_space, MAXIMIZE, population_size=2, sample_size=2)
    good, bad = trial(0, 0.9, (0, 0, 0, 0, 0, 0)), trial(1, 0.1, (3, 3, 3, 3, 3, 3))
    for t in (good, bad):
        evolution.tell(t)
    children = [evolution.ask(rng, pending=[]).architecture for _ in range(2000)]
    from_good = sum(hamming(child, good.proposal.architecture) == 1 for child in children)
    assert 0.72 < from_good / 2000 < 0.78


def test_the_population_is_filled_at_random_before_anything_is_mutated(toy_space, trial, rng):
    """Children of one parent differ from it in one decision; random architectures in 4.5 of 6 on average."""
    evolution = RegularizedEvolution(toy_space, MAXIMIZE, population_size=5, sample_size=5)
    evolution.tell(trial(0, 1.0, (0, 0, 0, 0, 0, 0)))
    drawn = [hamming(evolution.ask(rng, []).architecture, (0, 0, 0, 0, 0, 0)) for _ in range(400)]
    assert 4.2 < np.mean(drawn) < 4.8


def test_a_failed_trial_is_never_preferred_but_takes_its_place(toy_space, trial):
    evolution = RegularizedEvolution(toy_space, MAXIMIZE, population_size=2, sample_size=2)
    for t in (trial(0, 0.1), trial(1, None)):
        evolution.tell(t)
    assert [score for score, _ in evolution.population] == [0.1, -np.inf]


def test_half_of_the_children_have_two_parents(toy_space, trial, rng):
    """Tournaments of one draw either of two parents, which differ in all six decisions.

    A mutant (1/2) has an option of neither parent with probability 2/3. A child of two parents (1/2) equals one of
    them where both are the same (1/2) or where all decisions come from one (1/2 * 2 / 2^6).
    """
    evolution = RegularizedEvolution(toy_space, MAXIMIZE, population_size=2, sample_size=1, crossover=0.5)
    for number, option in enumerate((0, 3)):
        evolution.tell(trial(number, 0.5, (option,) * 6))
    children = [evolution.ask(rng, pending=[]).architecture for _ in range(4000)]
    foreign = sum(not {0, 3}.issuperset(child) for child in children) / len(children)
    equal = sum(len(set(child)) == 1 for child in children) / len(children)
    assert foreign == pytest.approx(1 / 2 * 2 / 3, abs=0.03)  # four standard deviations
    assert equal == pytest.approx(1 / 2 * (1 / 2 + 1 / 2 * 2 / 2**6), abs=0.03)


def test_it_beats_random_search_over_paired_seeds():
    """On a slope to 1.0, 100 trials of random search reach about 0.83 and those of evolution about 0.92."""

    def evolution(**parts):
        return RegularizedEvolution(**parts, population_size=10, sample_size=3)

    wins = margins(evolution, 20)
    assert sum(win < 0 for win in wins) <= 3
    assert np.mean(wins) > 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population_size": 3, "sample_size": 4}, r"strategy.sample_size must be 1 to population_size \(3\), got 4"),
        ({"population_size": 0}, "strategy.population_size must be a whole number of at least 1, got 0"),
        ({"crossover": 1.5}, "strategy.crossover must be a number of at least 0 and at most 1, got 1.5"),
        ({"sample_size": 2.5}, "strategy.sample_size must be a whole number of at least 1, got 2.5"),
    ],
)
def test_impossible_settings_are_refused(toy_space, settings, message):
    with pytest.raises(UsageError, match=message):
        RegularizedEvolution(toy_space, MAXIMIZE, **settings)
