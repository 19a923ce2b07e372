"""Features of pictures, with a pretrained network and without one."""

import numpy as np
import pytest
from made_subjects import made

from nas.inspection import make_features
from nas.inspection.features import SIDES
from nas.inspection.simple_features import simple_features

LABELS = np.repeat([0, 1], 30)


class Counting:
    """A backbone that takes no time and remembers at which sides it was asked."""

    name = "counting"
    fixed_side = False

    def __init__(self):
        self.sides = []

    def extract(self, pixels, device, side):
        self.sides.append(side)
        return pixels.float().mean((2, 3)).numpy()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (3, 32, 32), (1, 33, 33), (3, 100, 100)])
def test_simple_features_have_the_same_length_for_every_size(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    features = simple_features(pixels)
    assert features.shape == (5, shape[0] * 64 + 128)
    assert np.isfinite(features).all()


def test_simple_features_of_a_blank_picture_are_finite():
    assert np.isfinite(simple_features(np.zeros((2, 3, 16, 16), np.uint8))).all()


def test_every_prefix_of_the_positions_holds_the_classes_and_test_pictures_come_last():
    parts = np.array(["train", "test"] * 30)
    positions = make_features(made(LABELS, parts=parts), None).positions
    assert sorted(positions) == list(range(60))
    assert (parts[positions[:30]] == "train").all()
    assert LABELS[positions[:10]].sum() == 5


def test_files_that_cannot_be_read_are_left_out():
    subject = made(LABELS, [{"error": "x.png cannot be read"} if number < 3 else {} for number in range(60)])
    assert set(make_features(subject, None).positions) == set(range(3, 60))


def test_the_side_is_the_largest_that_the_time_allows_and_not_above_that_of_the_pictures():
    large = np.zeros((60, 1, 160, 160), np.uint8)
    quick, none = Counting(), Counting()
    assert make_features(made(LABELS, pixels=large), quick, seconds=1e9).side == 160
    assert make_features(made(LABELS, pixels=large), none, seconds=0.0).side == SIDES[0]
    assert make_features(made(LABELS), Counting(), seconds=1e9).side == SIDES[0]
    assert make_features(made(LABELS), Counting(), side=224).side == 224


def test_a_time_that_is_up_still_gives_enough_pictures_to_judge_by():
    labels = np.repeat([0, 1], 400)
    reported = []
    features = make_features(made(labels), Counting(), 0.0, report=lambda done, total: reported.append((done, total)))
    assert len(features.positions) == len(features.network) == len(features.simple) == 400
    assert reported == [(0, 800), (200, 800), (400, 800)]
