"""Labels that a cross-validated head doubts."""

import numpy as np
from made_subjects import made, telling

from nas.inspection.labels import confident_errors, find_doubtful_labels

LABELS = np.repeat(np.arange(5), 60)


def flipped(share: float):
    rng = np.random.default_rng(1)
    wrong = rng.permutation(len(LABELS))[: int(share * len(LABELS))]
    labels = LABELS.copy()
    labels[wrong] = (labels[wrong] + 1) % 5
    return labels, wrong


def test_wrong_labels_are_listed_the_worst_first():
    labels, wrong = flipped(0.2)
    subject = made(labels)
    (finding,) = find_doubtful_labels(subject, telling(LABELS, 6.0))
    assert finding.severity == "note"
    assert len(set(finding.files[:20]) - {subject.names[position] for position in wrong}) <= 1
    assert finding.number == len(finding.files) > 40
    assert "of the labels look wrong" in finding.title


def test_right_labels_are_not_doubted_by_a_good_head_nor_by_a_poor_one():
    for strength in (6.0, 3.0, 1.0, 0.0):
        assert find_doubtful_labels(made(LABELS), telling(LABELS, strength)) == []


def test_the_confident_joint_of_the_paper():
    """A picture is counted as the most probable of the classes whose thresholds its probabilities reach."""
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.45, 0.55], [0.3, 0.7]])
    labels = np.array([0, 0, 1, 1, 0, 0])
    # thresholds: class 0 (0.9 + 0.8 + 0.45 + 0.3) / 4 = 0.61, class 1 (0.9 + 0.8) / 2 = 0.85: 0.7 does not reach it
    assert confident_errors(probabilities, labels).tolist() == []
    probabilities[5] = [0.1, 0.9]
    assert confident_errors(probabilities, labels).tolist() == [5]


def test_few_pictures_say_nothing_of_labels():
    labels = np.repeat([0, 1], 10)
    assert find_doubtful_labels(made(labels), telling(labels, 6.0)) == []
