import numpy as np
import pytest

from nas.engine.randomness import TrialRandom, training_seed
from nas.errors import UsageError


def test_the_numbers_of_a_trial_do_not_depend_on_earlier_draws():
    one, other = TrialRandom(7), TrialRandom(7)
    for number in range(50):
        one.trial(number).random(13)
    assert one.trial(50).random(5).tolist() == other.trial(50).random(5).tolist()


def test_every_trial_seed_and_start_has_different_numbers():
    drawn = {TrialRandom(seed).trial(number).integers(2**63) for seed in range(20) for number in range(20)} | {
        TrialRandom(seed).start().integers(2**63) for seed in range(20)
    }
    assert len(drawn) == 20 * 21


def test_a_long_draw_does_not_overlap_with_the_next_trial():
    """The number of the trial is the highest word of the counter, so 2^192 blocks lie between two trials."""
    long = TrialRandom(0).trial(0).integers(2**63, size=10_000)
    following = TrialRandom(0).trial(1).integers(2**63, size=10)
    assert not np.isin(following, long).any()


def test_every_class_and_repeat_has_its_own_training_seed():
    assert training_seed(0, "conv(x)", 0) == 1619296614  # pinned: stored runs rely on it
    assert len({training_seed(s, key, r) for s in range(3) for key in ("a", "b") for r in range(3)}) == 18


@pytest.mark.parametrize("seed", [-1, 1.5, "0", True])
def test_a_seed_must_be_a_whole_number(seed):
    with pytest.raises(UsageError, match="seed must be a whole number of at least 0"):
        TrialRandom(seed)
