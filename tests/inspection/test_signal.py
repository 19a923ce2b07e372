"""The verdict on signal: shuffled labels have none, telling features have one, and few pictures say little."""

from dataclasses import replace

import numpy as np
import pytest
from made_subjects import made, telling

from nas.inspection import measure_signal
from nas.inspection.head import folds_of, mean_recall, out_of_fold, reduced

LABELS = np.repeat(np.arange(4), 25)
MANY = np.repeat(np.arange(4), 80)


@pytest.mark.parametrize(("strength", "verdict"), [(4.0, "yes"), (0.5, "weak"), (0.0, "none")])
def test_the_verdict_follows_how_much_the_features_tell(strength, verdict):
    signal = measure_signal(made(MANY), telling(MANY, strength))
    assert signal.verdict == verdict
    assert signal.low < signal.accuracy < signal.high or signal.accuracy == 1.0
    assert (signal.chance, signal.images, signal.folds, len(signal.shuffled)) == (0.25, 320, 5, 10)
    assert f"{signal.accuracy:.2f} of 320 pictures correctly" in signal.sentence


def test_permuted_labels_have_no_signal_in_five_tries():
    subject, features = made(LABELS), telling(LABELS, 4.0)
    for seed in range(5):
        permuted = replace(subject, labels=np.random.default_rng(seed).permutation(LABELS))
        assert measure_signal(permuted, features, seed).verdict == "none"


def test_a_signal_is_the_same_at_every_call():
    first, second = (measure_signal(made(LABELS), telling(LABELS, 2.0)) for _ in range(2))
    assert {**first.to_json(), "seconds": 0} == {**second.to_json(), "seconds": 0}


def test_a_rare_class_that_is_told_is_a_signal_although_always_answering_the_other_is_as_accurate():
    labels = np.repeat([0, 1], [290, 10])
    signal = measure_signal(made(labels), telling(labels, 5.0))
    assert signal.verdict == "yes"
    assert signal.chance == pytest.approx(290 / 300)


def test_pictures_of_one_group_tell_nothing_of_each_other():
    """Ten pictures each of ten patients, known by their faces, say nothing of an illness that half have."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(10), 10)
    labels = (patients % 2).astype(np.int64)
    features = telling(labels, 0.0)
    faces = rng.normal(size=(10, 20))[patients] * 3
    features = replace(features, simple=(features.simple + faces).astype(np.float32))
    assert measure_signal(made(labels), features).verdict == "yes"
    grouped = made(labels, groups=tuple(f"patient {number}" for number in patients))
    assert measure_signal(grouped, features).verdict == "none"


def test_test_pictures_are_not_used():
    parts = np.array(["test"] * 30 + ["train"] * 70)
    assert measure_signal(made(LABELS, parts=parts), telling(LABELS, 4.0)).images == 70


def test_without_two_classes_of_two_pictures_nothing_is_measured():
    labels = np.array([0, 0, 0, 1])
    assert measure_signal(made(labels), telling(labels, 4.0)) is None


def test_folds_hold_classes_in_equal_shares_and_units_whole():
    labels = np.repeat(np.arange(4), 20)
    units = np.arange(80) // 2
    folds = folds_of(labels, units)
    assert all((np.bincount(folds[labels == label]) == 4).all() for label in range(4))
    assert (folds[::2] == folds[1::2]).all()


def test_a_class_that_a_training_part_lacks_gets_no_probability():
    labels = np.array([0] * 10 + [1] * 10 + [2])
    folds = np.r_[np.arange(20) % 5, 0]
    values = reduced(np.random.default_rng(0).normal(size=(21, 3)))
    probabilities = out_of_fold(values, labels, folds, 4)
    assert probabilities.sum(1) == pytest.approx(1.0)
    assert (probabilities[:, 3] == 0).all()
    assert probabilities[folds == 0, 2].max() == 0


def test_recall_counts_each_class_once():
    assert mean_recall(np.zeros(10, int), np.r_[np.zeros(9, int), 1]) == 0.5
