import math
from functools import partial
from types import MappingProxyType

import numpy as np
import pytest
from conftest import MAXIMIZE, ToySpace, margins

from nas import Objective, UsageError
from nas.strategies.lstm_controller import LSTMController
from nas.strategies.reinforce import Reinforce
from nas.testing import check_strategy

ARCHITECTURE = (0, 1, 2, 3, 0, 1)
ADVANTAGE = 0.7 - (0.09 * 0.5 + 0.1 * 0.7) / 0.19
"""Of a reward of 0.7 after one of 0.5, momentum 0.9: the baseline takes both in and is divided by 1 - 0.9^2."""


class Uneven(ToySpace):
    choices = MappingProxyType({"two": ("a", "b"), "four": ("a", "b", "c", "d"), "one": ("a",)})


class Even(ToySpace):
    """Half of the product: the options' sum must be even."""

    def is_valid(self, architecture):
        return sum(architecture) % 2 == 0


def policy(space, logits=None, **settings):
    """A strategy whose logits are what is given, 0 otherwise."""
    strategy = Reinforce(space, MAXIMIZE, **settings)
    strategy.reset(np.random.default_rng(0))
    strategy.logits[strategy.logits > -1] = 0.0
    if logits is not None:
        strategy.logits[:] = logits
    strategy.normalise()
    return strategy


def test_one_step_of_gradient_ascent_is_the_one_worked_out_by_hand(toy_space, trial):
    """At equal logits the gradient of log π is 3/4 for the option that was chosen and -1/4 for the other three."""
    strategy = policy(toy_space, optimizer="sgd", lr=2.0)
    strategy.tell(trial(0, 0.5, ARCHITECTURE))
    strategy.tell(trial(1, 0.7, ARCHITECTURE))
    expected = np.full((6, 4), -2.0 * ADVANTAGE / 4)
    expected[range(6), ARCHITECTURE] = 2.0 * ADVANTAGE * 3 / 4
    assert pytest.approx(0.0947368, abs=1e-7) == ADVANTAGE
    assert strategy.logits == pytest.approx(expected, abs=1e-12)


def test_the_first_trial_only_sets_the_baseline(toy_space, trial):
    strategy = Reinforce(toy_space, MAXIMIZE, lr=1.0)
    strategy.reset(np.random.default_rng(0))
    before = strategy.logits.copy()
    assert 0 < np.abs(before).max() < 0.01
    strategy.tell(trial(0, 0.9, ARCHITECTURE))
    assert np.array_equal(strategy.logits, before)
    assert strategy.rewards.mean == pytest.approx(0.9)


def test_adams_second_step_moves_every_logit_by_0_744_of_the_rate(toy_space, trial):
    """After gradients 0 and g: (0.1 g / 0.19) / sqrt(0.001 g² / 0.001999) = 0.74414 for every g."""
    strategy = policy(toy_space, lr=0.01)
    strategy.tell(trial(0, 0.5, ARCHITECTURE))
    strategy.tell(trial(1, 0.7, ARCHITECTURE))
    expected = np.full((6, 4), -0.0074414)
    expected[range(6), ARCHITECTURE] = 0.0074414
    assert strategy.logits == pytest.approx(expected, abs=1e-7)


def test_adam_is_blind_to_the_scale_of_the_rewards_and_gradient_ascent_is_not(toy_space, trial):
    rewards = [(0.5, ARCHITECTURE), (0.7, ARCHITECTURE), (0.2, (1, 1, 1, 1, 1, 1)), (0.6, ARCHITECTURE)]
    logits = {}
    for optimizer in ("adam", "sgd"):
        for scale in (1, 100):
            strategy = policy(toy_space, optimizer=optimizer, lr=1e-6)
            for number, (reward, architecture) in enumerate(rewards):
                strategy.tell(trial(number, scale * reward, architecture))
            logits[optimizer, scale] = strategy.logits
    assert logits["adam", 100] == pytest.approx(logits["adam", 1], rel=1e-4)
    assert logits["sgd", 100] == pytest.approx(100 * logits["sgd", 1], rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(("second", "direction"), [(0.9, 1), (0.1, -1)])
def test_what_beats_the_baseline_becomes_likelier_and_what_does_not_less_likely(
    toy_space, trial, optimizer, second, direction
):
    strategy = policy(toy_space, optimizer=optimizer, lr=0.1)
    strategy.tell(trial(0, 0.5, (3, 3, 3, 3, 3, 2)))
    strategy.tell(trial(1, second, ARCHITECTURE))
    change = strategy.probabilities[range(6), ARCHITECTURE] - 0.25
    assert (direction * change > 1e-3).all()
    assert strategy.probabilities.sum(axis=1) == pytest.approx(np.ones(6))


def test_a_loss_to_minimise_is_a_reward_with_its_sign_turned(toy_space, trial):
    strategy = Reinforce(toy_space, Objective("valid_accuracy", "minimize"), lr=0.1)
    strategy.reset(np.random.default_rng(0))
    strategy.tell(trial(0, 0.5))
    strategy.tell(trial(1, 0.9, ARCHITECTURE))
    assert (strategy.probabilities[range(6), ARCHITECTURE] < 0.25).all()


def test_the_gradient_agrees_with_finite_differences(rng):
    """Of advantage · log π + weight · H at random logits; options that a decision lacks have none."""
    space, architecture, advantage, weight, step = Uneven(), (1, 2, 0), 0.3, 0.7, 1e-5
    exists = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]], dtype=bool)
    logits = np.where(exists, rng.standard_normal((3, 4)), -1e9)

    def value(logits):
        total = 0.0
        for row, real, choice in zip(logits, exists, architecture, strict=True):
            logs = row[real] - math.log(sum(math.exp(x) for x in row[real]))
            total += advantage * logs[choice] - weight * (np.exp(logs) * logs).sum()
        return total

    expected = np.zeros((3, 4))
    for index in zip(*np.nonzero(exists), strict=True):
        shift = np.zeros((3, 4))
        shift[index] = step
        expected[index] = (value(logits + shift) - value(logits - shift)) / (2 * step)
    gradient = policy(space, logits, entropy_weight=weight).gradient(architecture, advantage)
    assert gradient == pytest.approx(expected, abs=1e-9)


def test_the_entropy_bonus_flattens_what_no_reward_holds_up(toy_space, trial):
    """Equal rewards have advantage 0: without the bonus nothing moves, with it entropies grow to log 4 = 1.386 nats."""

    def entropies(weight):
        strategy = policy(toy_space, [2.0, 0.0, 0.0, 0.0], optimizer="sgd", lr=1.0, entropy_weight=weight)
        seen = []
        for number in range(100):
            p = strategy.probabilities
            seen.append(-(p * np.log(p)).sum(axis=1).mean())
            strategy.tell(trial(number, 0.5))
        return np.array(seen)

    assert np.ptp(entropies(0.0)) == pytest.approx(0.0, abs=1e-12)
    grown = entropies(1.0)
    assert grown[0] == pytest.approx(0.9183, abs=1e-4)  # of probabilities 0.7112 and three times 0.0963
    assert (np.diff(grown) >= -1e-12).all()
    assert grown[-1] == pytest.approx(math.log(4), abs=1e-6)


def test_a_failed_trial_is_worth_the_worst_before_it(toy_space, trial):
    failed, scored = policy(toy_space), policy(toy_space)
    for number, reward in enumerate([0.5, 0.3, 0.8]):
        failed.tell(trial(number, reward))
        scored.tell(trial(number, reward))
    failed.tell(trial(3, None, ARCHITECTURE))
    scored.tell(trial(3, 0.3, ARCHITECTURE))
    assert np.array_equal(failed.logits, scored.logits)


def test_failures_before_any_reward_teach_nothing(toy_space, trial):
    strategy = policy(toy_space, lr=1.0)
    for number in range(3):
        strategy.tell(trial(number, None))
    assert not strategy.logits.any()
    assert math.isnan(strategy.rewards.mean)


def test_options_are_drawn_as_often_as_their_probability_says(rng):
    """4,000 draws of probability 0.7 have a standard deviation of 0.007; what a decision lacks is never drawn."""
    low = -1e9
    logits = [[math.log(0.7), math.log(0.3), low, low], np.log([0.7, 0.0001, 0.1999, 0.1]), [0.0, low, low, low]]
    strategy = policy(Uneven(), logits)
    drawn = np.array([strategy.ask(rng, []).architecture for _ in range(4000)])
    assert drawn.max(axis=0).tolist() == [1, 3, 0]
    assert 0.66 < (drawn[:, 0] == 0).mean() < 0.74
    assert 0.66 < (drawn[:, 1] == 0).mean() < 0.74
    assert 0.16 < (drawn[:, 1] == 2).mean() < 0.24


def test_in_a_constrained_space_only_valid_architectures_are_proposed(rng):
    strategy = policy(Even())
    assert all(sum(strategy.ask(rng, []).architecture) % 2 == 0 for _ in range(100))


def test_probabilities_that_allow_nothing_valid_give_way_to_a_uniform_draw(rng):
    """All mass on (1, 0, 0, 0, 0, 0), whose sum is odd."""
    logits = np.full((6, 4), -200.0)
    logits[range(6), (1, 0, 0, 0, 0, 0)] = 0.0
    drawn = [policy(Even(), logits).ask(rng, []).architecture for _ in range(20)]
    assert all(sum(architecture) % 2 == 0 for architecture in drawn)
    assert len(set(drawn)) > 10


@pytest.mark.parametrize("space", [Uneven, Even])
@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd", "lr": 5.0, "entropy_weight": 0.1}])
def test_every_setting_keeps_what_a_strategy_promises(space, settings):
    check_strategy(lambda **parts: Reinforce(**parts, **settings), space())


def test_it_beats_random_search_over_paired_seeds():
    """On a slope to 1.0, 100 trials of random search reach about 0.87 and those of REINFORCE at rate 0.1 about 0.99."""

    def reinforce(**parts):
        return Reinforce(**parts, lr=0.1)

    wins = margins(reinforce, 20)
    assert sum(win < 0 for win in wins) <= 3
    assert np.mean(wins) > 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0}, "strategy.lr must be a number above 0 and at most 1e\\+06, got 0"),
        ({"lr": "fast"}, "strategy.lr must be a number above 0 and at most 1e\\+06, got 'fast'"),
        ({"optimizer": "rmsprop"}, "strategy.optimizer must be one of adam, sgd, got 'rmsprop'"),
        ({"baseline_momentum": 1}, "strategy.baseline_momentum must be a number above 0 and at most 0.999, got 1"),
        ({"entropy_weight": -0.1}, "strategy.entropy_weight must be a number of at least 0, got -0.1"),
    ],
)
def test_impossible_settings_are_refused(toy_space, settings, message):
    with pytest.raises(UsageError, match=message):
        Reinforce(toy_space, MAXIMIZE, **settings)


@pytest.mark.parametrize("make", [Reinforce, partial(Reinforce, optimizer="sgd"), LSTMController])
def test_rewards_beyond_all_bounds_leave_finite_weights(toy_space, trial, make):
    strategy = make(space=toy_space, objective=MAXIMIZE)
    strategy.reset(np.random.default_rng(0))
    for number, score in enumerate([1e200, -1e200, 1.7e308, -1.7e308, 0.5] * 8):
        strategy.tell(trial(number, score))
    numbers = strategy.logits if hasattr(strategy, "logits") else strategy.weights["heads"].detach().numpy()
    assert np.isfinite(numbers).all()
