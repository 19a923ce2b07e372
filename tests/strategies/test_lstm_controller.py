import math
from types import MappingProxyType

import numpy as np
import pytest
import torch
from conftest import MAXIMIZE, ToySpace, margins

from nas import UsageError
from nas.strategies.lstm_controller import LSTMController
from nas.testing import check_strategy

ARCHITECTURE = (0, 1, 2, 3, 0, 1)


class Uneven(ToySpace):
    """2 · 4 · 1 · 3 = 24 architectures."""

    choices = MappingProxyType({"two": tuple("ab"), "four": tuple("abcd"), "one": ("a",), "three": tuple("abc")})


class UnevenAndEven(Uneven):
    def is_valid(self, architecture):
        return sum(architecture) % 2 == 0


def controller(space, spread=None, **settings):
    """A fresh controller; with `spread`, its weights are normal of that deviation, so that it has strong opinions."""
    strategy = LSTMController(space, MAXIMIZE, **{"hidden": 12, **settings})
    strategy.reset(np.random.default_rng(0))
    if spread is not None:
        draw = np.random.default_rng(1)
        with torch.no_grad():
            for weight in strategy.weights.values():
                weight.copy_(torch.tensor(spread * draw.standard_normal(tuple(weight.shape))))
    return strategy


def log_probability(strategy, architecture):
    with torch.no_grad():
        return float(strategy.evaluate(architecture)[0])


def test_weights_start_uniform_between_the_papers_bounds_and_options_nearly_equal(toy_space):
    """Of 4 · 100 · 200 gates: within 0.08, deviation 0.08 / sqrt(3) = 0.0462. Six options of four: log π ≈ -8.318."""
    strategy = controller(toy_space, hidden=100)
    gates = strategy.weights["gates"]
    assert gates.shape == (400, 200)
    assert 0.079 < float(gates.detach().abs().max()) <= 0.08
    assert float(gates.detach().std()) == pytest.approx(0.0462, abs=5e-4)
    assert log_probability(strategy, ARCHITECTURE) == pytest.approx(-6 * math.log(4), abs=0.5)


def test_the_probabilities_of_all_architectures_sum_to_one():
    strategy = controller(Uneven(), spread=1.0)
    logs = [log_probability(strategy, architecture) for architecture in Uneven().architectures()]
    assert len(logs) == 24
    assert sum(map(math.exp, logs)) == pytest.approx(1.0, abs=1e-5)
    assert max(logs) - min(logs) > 1


def test_architectures_are_drawn_as_often_as_their_probability_says(rng):
    """1,500 draws: a probability is met within 0.05, four standard deviations of 0.5."""
    strategy = controller(Uneven(), spread=0.5)
    drawn = [strategy.ask(rng, []).architecture for _ in range(1500)]
    for architecture in Uneven().architectures():
        expected = math.exp(log_probability(strategy, architecture))
        assert drawn.count(architecture) / 1500 == pytest.approx(expected, abs=0.05)


def test_a_choice_changes_the_odds_of_those_after_it_and_of_none_before(toy_space):
    strategy = controller(toy_space, spread=0.5)
    with torch.no_grad():
        (_, first), (_, second) = (
            strategy.walk(lambda position, _, changed=changed: changed[position])
            for changed in ((0, 0, 0, 0, 0, 0), (0, 0, 3, 0, 0, 0))
        )
    assert all(torch.equal(a, b) for a, b in zip(first[:3], second[:3], strict=True))
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(first[3:], second[3:], strict=True))


def test_the_gradient_agrees_with_finite_differences(toy_space):
    """In float64, along one random direction of all weights, log π and the entropies alike."""
    strategy = controller(toy_space, spread=0.3)
    strategy.weights = {name: w.detach().double().requires_grad_() for name, w in strategy.weights.items()}
    torch_default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        draw = np.random.default_rng(2)
        directions = [torch.tensor(draw.standard_normal(tuple(w.shape))) for w in strategy.weights.values()]
        for part in (0, 1):
            gradients = torch.autograd.grad(strategy.evaluate(ARCHITECTURE)[part], list(strategy.weights.values()))
            slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
            values = []
            for step in (1e-5, -2e-5):  # forth, then back past the start
                with torch.no_grad():
                    for weight, direction in zip(strategy.weights.values(), directions, strict=True):
                        weight.add_(step * direction)
                    values.append(float(strategy.evaluate(ARCHITECTURE)[part]))
            assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)
    finally:
        torch.set_default_dtype(torch_default)


def test_the_first_trial_only_sets_the_baseline(toy_space, trial):
    strategy = controller(toy_space)
    before = {name: weight.detach().clone() for name, weight in strategy.weights.items()}
    strategy.tell(trial(0, 0.9, ARCHITECTURE))
    assert all(torch.equal(weight, before[name]) for name, weight in strategy.weights.items())
    assert strategy.rewards.mean == pytest.approx(0.9)


def test_adams_second_step_moves_a_bias_by_0_744_of_the_rate(toy_space, trial):
    """After gradients 0 and g: (0.1 g / 0.19) / sqrt(0.001 g² / 0.001999) = 0.74414; up for what was chosen."""
    strategy = controller(toy_space, lr=0.01)
    before = strategy.weights["heads_bias"].detach().clone()
    strategy.tell(trial(0, 0.5, ARCHITECTURE))
    strategy.tell(trial(1, 0.7, ARCHITECTURE))
    expected = np.full((6, 4), -0.0074414)
    expected[range(6), ARCHITECTURE] = 0.0074414
    change = (strategy.weights["heads_bias"].detach() - before).numpy().reshape(6, 4)
    assert change == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("second", "direction"), [(0.9, 1), (0.1, -1)])
def test_what_beats_the_baseline_becomes_likelier_and_what_does_not_less_likely(toy_space, trial, second, direction):
    strategy = controller(toy_space, lr=0.01)
    strategy.tell(trial(0, 0.5, (3, 3, 3, 3, 3, 2)))
    before = log_probability(strategy, ARCHITECTURE)
    strategy.tell(trial(1, second, ARCHITECTURE))
    assert direction * (log_probability(strategy, ARCHITECTURE) - before) > 0.02


def test_the_baseline_is_the_average_of_the_rewards_before(toy_space, trial):
    """After 0.5 and 0.7 it is (0.09 · 0.5 + 0.1 · 0.7) / 0.19 = 0.6053: a reward of 0.6053 moves Adam by habit only."""
    strategy = controller(toy_space, lr=0.01)
    for number, reward in enumerate([0.5, 0.7]):
        strategy.tell(trial(number, reward, ARCHITECTURE))
    assert strategy.rewards.mean == pytest.approx(0.115 / 0.19)
    strategy.tell(trial(2, 0.115 / 0.19, ARCHITECTURE))
    assert all(float(weight.grad.abs().max()) < 1e-9 for weight in strategy.weights.values())


def test_the_entropy_bonus_flattens_what_no_reward_holds_up(toy_space, trial):
    """Equal rewards have advantage 0: without the bonus nothing moves; with it entropies grow towards 6 log 4."""

    def grown(weight):
        strategy = controller(toy_space, spread=0.5, lr=0.01, entropy_weight=weight)
        before = strategy.evaluate(ARCHITECTURE)[1].item()
        for number in range(60):
            strategy.tell(trial(number, 0.5, ARCHITECTURE))
        return before, strategy.evaluate(ARCHITECTURE)[1].item()

    before, after = grown(0.0)
    assert after == pytest.approx(before, abs=1e-5)
    before, after = grown(1.0)
    assert before < 8.0
    assert 8.2 < after <= 6 * math.log(4) + 1e-4


def test_a_failed_trial_is_worth_the_worst_before_it_and_nothing_before_any(toy_space, trial):
    failed, scored = controller(toy_space), controller(toy_space)
    failed.tell(trial(0, None))
    for number, reward in enumerate([0.5, 0.3, 0.8]):
        failed.tell(trial(number, reward))
        scored.tell(trial(number, reward))
    failed.tell(trial(3, None, ARCHITECTURE))
    scored.tell(trial(3, 0.3, ARCHITECTURE))
    assert all(torch.equal(failed.weights[name], scored.weights[name]) for name in failed.weights)


def test_it_leaves_the_global_generators_and_the_number_of_threads_alone(toy_space, trial, rng):
    states, threads = (torch.get_rng_state(), np.random.get_state()[1].copy()), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        strategy = controller(toy_space)
        strategy.ask(rng, [])
        strategy.tell(trial(0, 0.5))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])


@pytest.mark.parametrize("space", [Uneven, UnevenAndEven])
def test_uneven_and_constrained_spaces_are_tolerated(space):
    check_strategy(lambda **parts: LSTMController(**parts, hidden=8, lr=0.05, entropy_weight=0.1), space(), trials=16)


def test_it_beats_random_search_over_paired_seeds():
    """On a slope to 1.0, 100 trials of random search reach about 0.87 and those of a small controller about 0.98."""

    def small(**parts):
        return LSTMController(**parts, hidden=20, lr=0.01)

    wins = margins(small, 5)
    assert sum(win < 0 for win in wins) <= 1
    assert np.mean(wins) > 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "strategy.hidden must be a whole number of at least 1, got 0"),
        ({"lr": 0.0}, "strategy.lr must be a number above 0 and at most 1, got 0.0"),
        ({"baseline_momentum": 1.0}, "strategy.baseline_momentum must be a number of at least 0 and at most 0.999"),
        ({"entropy_weight": None}, "strategy.entropy_weight must be a number of at least 0, got null"),
    ],
)
def test_impossible_settings_are_refused(toy_space, settings, message):
    with pytest.raises(UsageError, match=message):
        LSTMController(toy_space, MAXIMIZE, **settings)
