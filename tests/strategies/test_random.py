from collections import Counter

from conftest import MAXIMIZE

from nas.strategies.random import RandomSearch


def test_every_option_of_every_decision_is_drawn_equally_often(toy_space, rng):
    """4,000 draws of 4 options: 1,000 each, with a standard deviation of 27."""
    strategy = RandomSearch(toy_space, MAXIMIZE)
    drawn = [strategy.ask(rng, []).architecture for _ in range(4000)]
    for position in range(6):
        counts = Counter(architecture[position] for architecture in drawn)
        assert sorted(counts) == [0, 1, 2, 3]
        assert all(850 < count < 1150 for count in counts.values())
