"""Parts are chosen by content: the same on every machine, equal shares of every class, and nothing on both sides."""

import numpy as np
import pytest

from nas import UserError
from nas.pictures.splitting import content_ranks, held_out, interleaved, units_of, without_chains

NAMES = ("cat", "dog", "cow", "hen")


def digests(count, start=0):
    return [f"{number:016x}" for number in range(start, start + count)]


def chosen(labels, share=0.25, together=(), salt="split 0", rest=1):
    labels = np.array(labels)
    units = units_of(len(labels), together)
    return held_out(labels, units, content_ranks(digests(len(labels)), salt), share, NAMES, rest=rest)


def test_every_class_has_the_same_share():
    labels = [0] * 40 + [1] * 20 + [2] * 8 + [3] * 3
    result = chosen(labels)
    assert np.bincount(np.array(labels)[result]).tolist() == [10, 5, 2, 1]
    assert (chosen(labels, salt="split 1") != result).any()


def test_a_part_depends_on_the_content_and_not_on_the_order():
    labels = np.arange(60) % 3
    ranks = content_ranks(digests(60), "split 0")
    result = held_out(labels, units_of(60, ()), ranks, 0.25, NAMES)
    mixed = np.random.default_rng(0).permutation(60)
    assert (held_out(labels[mixed], units_of(60, ()), ranks[mixed], 0.25, NAMES) == result[mixed]).all()
    assert ranks[:3].tolist() == [33420545585761072, 32089926174682011, 15448608652058248]  # pinned


def test_a_picture_more_moves_few_others():
    labels = np.arange(400) % 2
    before = held_out(labels, units_of(400, ()), content_ranks(digests(400), "s"), 0.25, NAMES)
    more = np.r_[labels, 0, 1]
    after = held_out(more, units_of(402, ()), content_ranks(digests(402), "s"), 0.25, NAMES)
    assert (before != after[:400]).sum() <= 4


def test_what_belongs_together_stays_together():
    labels = np.arange(120) % 4
    together = [[0, 4, 8], [8, 12], [1, 2, 3], [20, 21, 22, 23, 24]]
    for seed in range(20):
        result = chosen(labels, together=together, salt=f"split {seed}")
        for group in ([0, 4, 8, 12], [1, 2, 3], [20, 21, 22, 23, 24]):
            assert len(set(result[group].tolist())) == 1
        assert abs(np.bincount(labels[result], minlength=4) - 7.5).max() <= 2.5


def test_large_groups_still_leave_each_class_on_both_sides():
    labels = np.repeat([0, 1], 30)
    groups = [list(range(start, start + 10)) for start in range(0, 60, 10)]
    for seed in range(20):
        result = chosen(labels, share=0.1, together=groups, salt=f"split {seed}")
        assert np.bincount(labels[result]).tolist() == [10, 10]


def test_enough_groups_are_left_for_a_further_part():
    labels = np.repeat([0, 1], 30)
    groups = [list(range(start, start + 10)) for start in range(0, 60, 10)]
    for seed in range(20):
        assert np.bincount(labels[chosen(labels, 0.9, groups, f"split {seed}", rest=2)]).tolist() == [10, 10]


def test_the_rest_is_kept_for_a_further_part():
    assert np.bincount(np.array([0] * 3 + [1] * 9)[chosen([0] * 3 + [1] * 9, share=0.95, rest=2)]).tolist() == [1, 7]


@pytest.mark.parametrize(
    ("labels", "together", "message"),
    [
        ([0, 0, 1], (), "class 'dog' has 1 picture; expected at least 3, one to train on, one to validate on and one"),
        (
            [0] * 5 + [1] * 5, [list(range(5))],
            "class 'cat' has 5 pictures, and no more than 1 of them can be separated, since the others are duplicates",
        ),
    ],
)  # fmt: skip
def test_a_class_that_cannot_be_divided_is_named(labels, together, message):
    with pytest.raises(UserError) as error:
        chosen(labels, together=together)
    assert message in str(error.value)


def test_every_prefix_holds_the_classes_in_nearly_equal_shares():
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    order = interleaved(labels, content_ranks(digests(100), "s"))
    assert sorted(order.tolist()) == list(range(100))
    for length in range(10, 101, 10):
        assert abs(np.bincount(labels[order[:length]], minlength=3) - length * np.array([0.6, 0.3, 0.1])).max() <= 1
    assert interleaved(np.zeros(0, int), np.zeros(0, int)).tolist() == []


def test_units_join_what_shares_a_picture():
    assert units_of(6, [[4, 5], [1, 4], [2, 3]]).tolist() == [0, 1, 2, 2, 1, 1]


def test_near_duplicates_that_chain_much_of_a_class_together_say_nothing():
    labels = np.array([0] * 50 + [1] * 200)
    chain = [(number, number + 1) for number in range(20)]  # 21 of 50
    longer = [(number, number + 1) for number in range(100, 130)]  # 31 of 200
    assert without_chains([*chain, (30, 31), *longer], labels) == [(30, 31), *longer]
    assert without_chains([(0, 1), (1, 2)], labels[:3]) == [(0, 1), (1, 2)]
