"""Pictures that are the same, or nearly, are found; those that only look alike are not."""

import io
from dataclasses import replace

import numpy as np
import planted
import pytest
from PIL import Image, ImageEnhance

from nas.data.digits import Digits
from nas.pictures.duplicates import _candidates, exact_duplicates, near_duplicates
from nas.pictures.facts import PictureFacts, measured


def pictures(count, size=48, seed=0):
    rng = np.random.default_rng(seed)
    return [Image.fromarray(planted.drawn(kind % 4, rng, size, size)) for kind in range(count)]


def read(images, side=32):
    """Facts and rows of pictures, as a cache has them."""
    facts, rows = [], []
    for image in images:
        one = measured(image)
        facts.append(
            PictureFacts(None, digest=f"{one.digest:016x}", difference_hash=one.difference_hash, contrast=one.contrast)
        )
        rows.append(np.asarray(image.convert("RGB").resize((side, side))).transpose(2, 0, 1))
    return facts, np.stack(rows)


def as_jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


CHANGES = {
    "JPEG": lambda image: as_jpeg(image, 60),
    "half the size": lambda image: image.resize((24, 24), Image.Resampling.BICUBIC),
    "twice the size": lambda image: image.resize((96, 96), Image.Resampling.BICUBIC),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "another aspect": lambda image: image.resize((60, 40)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_is_a_near_duplicate(change):
    images = pictures(40)
    facts, rows = read([*images, change(images[7])])
    assert near_duplicates(facts, rows, np.arange(41)) == [(7, 40)]


def test_of_copies_one_stands_for_all():
    images = pictures(12)
    facts, rows = read([*images, images[3], images[3], as_jpeg(images[3], 90)])
    assert exact_duplicates(facts) == [[3, 12, 13]]
    assert near_duplicates(facts, rows, np.arange(15)) == [(3, 14)]


def test_rows_may_lie_anywhere_and_unreadable_pictures_are_left_out():
    images = pictures(12)
    facts, rows = read([*images, as_jpeg(images[3], 90)])
    facts[0] = PictureFacts("cannot be read")
    assert near_duplicates(facts, rows[::-1], np.arange(13)[::-1]) == [(3, 12)]
    assert near_duplicates([], rows, np.arange(0)) == []
    assert near_duplicates(facts[:1], rows, np.arange(1)) == []


def test_blank_pictures_are_only_equal_if_all_their_pixels_are():
    blank = [Image.new("RGB", (32, 32), colour) for colour in ("white", "white", "black", "grey")]
    facts, rows = read([*blank, *pictures(4)])
    assert exact_duplicates(facts) == [[0, 1]]
    assert near_duplicates(facts, rows, np.arange(8)) == []


def test_digits_are_alike_and_none_is_a_duplicate():
    split = Digits().split()
    images = [Image.fromarray(one[0].numpy()) for one in split.whole().pixels]
    facts, rows = read(images, side=8)
    assert exact_duplicates(facts) == []
    assert near_duplicates(facts, rows, np.arange(len(images))) == []


def test_candidates_are_all_pairs_within_the_distance():
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 1 << 63, 300, dtype=np.uint64)
    changed = hashes[:50].copy()
    for bit in rng.integers(0, 64, (4, 50), dtype=np.uint64):
        changed ^= np.uint64(1) << bit
    hashes = np.concatenate((hashes, changed))
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1).astype(int)
    distance = (bits[:, None] != bits[None]).sum(2)
    expected = np.argwhere(np.triu(distance <= 4, 1))
    assert len(expected) >= 50
    assert _candidates(hashes).tolist() == expected.tolist()


@pytest.mark.parametrize("distinct", [1, 64])
def test_pictures_that_are_all_alike_have_a_bounded_number_of_candidates(distinct):
    hashes = np.uint64(1) << (np.arange(3_000, dtype=np.uint64) % np.uint64(distinct))
    assert 200_000 < len(_candidates(hashes)) < 1_100_000


def test_a_hash_of_another_contrast_counts():
    facts, rows = read(pictures(3))
    facts[1] = replace(facts[0], contrast=0.01, digest="0" * 16)
    assert near_duplicates(facts, rows, np.arange(3)) == []
