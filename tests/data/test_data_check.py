"""What a user's data set returns is looked at before anything is trained: one sentence for each mistake."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from own_images import BASE, LABELS, Mine, good, sentence

from nas import Task

FLOATS = BASE.pixels.float()
CASES = {
    "scaled to 0-1": (
        {"pixels": FLOATS / 255},
        "pixels are float32 from 0 to 1, expected uint8 from 0 to 255; return (pixels * 255).round().to(torch.uint8)",
    ),
    "float to 255": ({"pixels": FLOATS}, "pixels are float32 from 0 to 255, expected uint8 from 0 to 255; return"),
    "half": ({"pixels": (FLOATS / 255).half()}, "pixels are float16 from 0 to 1"),
    "normalised": ({"pixels": (FLOATS / 255 - 0.5) / 0.25}, "return them before the normalisation, which"),
    "NaN": ({"pixels": torch.full_like(FLOATS, torch.nan)}, "pixels are float32 and hold NaN"),
    "infinite": ({"pixels": FLOATS / 0}, "and hold"),
    "int64": ({"pixels": BASE.pixels.long()}, "pixels are int64 from 0 to 255, expected uint8 from 0 to 255; return"),
    "16 bits": ({"pixels": BASE.pixels.to(torch.uint16) * 257}, "uint8 from 0 to 255; scale them to that range"),
    "int16": ({"pixels": BASE.pixels.short() - 128}, "pixels are int16 from -128 to 127, expected uint8"),
    "bool": ({"pixels": BASE.pixels > 99}, "pixels are bool, expected uint8 from 0 to 255"),
    "0-1 as uint8": (
        {"pixels": (FLOATS / 255).to(torch.uint8)},
        "pixels are uint8 from 0 to 1, but std is 0.25, 0.25, 0.25; expected 0 to 255: scale them before",
    ),
    "NHWC": (
        {"pixels": BASE.pixels.permute(0, 2, 3, 1)},
        "pixels are 40 x 4 x 4 x 3, but the task says N x 3 x 4 x 4 (N, C, H, W); the channels come last: return "
        "pixels.permute(0, 3, 1, 2)",
    ),
    "another size": ({"pixels": good(size=8).pixels}, "pixels are 40 x 3 x 8 x 8, but the task says N x 3 x 4 x 4"),
    "grey": ({"pixels": BASE.pixels[:, :1]}, "pixels are 40 x 1 x 4 x 4, but the task says N x 3 x 4 x 4"),
    "flat": ({"pixels": BASE.pixels.flatten(1)}, "pixels are 40 x 48, but the task says N x 3 x 4 x 4"),
    "a list": ({"pixels": list(BASE.pixels)}, "pixels are of type list; expected a torch.Tensor"),
    "objects": ({"pixels": np.array([None] * 40)}, "pixels are an array of object; expected a torch.Tensor of numbers"),
    "sparse": ({"pixels": BASE.pixels.to_sparse()}, "pixels are a sparse tensor; expected a dense one, pixels.to"),
    "nothing": ({"pixels": BASE.pixels[:0], "labels": LABELS[:0]}, "returned no images"),
    "mean to 255": (
        {"mean": (125.3, 123.0, 113.9)},
        "mean is 125.3, 123, 113.9; expected that of pixel values scaled to 0-1: divide it by 255",
    ),
    "std to 255": ({"std": (63.0, 62.1, 66.7)}, "std is 63, 62.1, 66.7; expected that of pixel values scaled to 0-1"),
    "std 0": ({"std": (0.25, 0.0, 0.25)}, "std is 0 for channel 1, and images are divided by it"),
    "std below 0": ({"std": (0.25, -0.1, 0.25)}, "std is 0.25, -0.1, 0.25; expected that of pixel values"),
    "mean NaN": ({"mean": (0.5, float("nan"), 0.5)}, "mean is 0.5, nan, 0.5; expected finite numbers"),
    "one mean": ({"mean": (0.5,)}, "mean has 1 number; expected one number per channel, 3 in all"),
    "a number": ({"std": 0.25}, "std is 0.25; expected one number per channel, 3 in all"),
    "text": ({"std": ("a", "b", "c")}, "std is ('a', 'b', 'c'); expected one number per channel, 3 in all"),
    "fewer labels": ({"labels": LABELS[:-1]}, "labels are 39 for 40 images; expected one label per image"),
    "more labels": ({"labels": torch.cat((LABELS, LABELS))}, "labels are 80 for 40 images; expected one label"),
    "from 1": ({"labels": LABELS + 1}, "labels are 1 to 5, but task.classes=5 needs 0 to 4; return labels - 1"),
    "negative": ({"labels": LABELS - 1}, "labels are -1 to 3, but task.classes=5 needs 0 to 4; correct the labels or"),
    "too many": ({"labels": LABELS * 2}, "labels are 0 to 8, but task.classes=5 needs 0 to 4"),
    "float labels": ({"labels": LABELS.float()}, "labels are float32; expected whole numbers, labels.long()"),
    "one-hot": (
        {"labels": torch.nn.functional.one_hot(LABELS)},
        "labels are 40 x 5 for 40 images; they are one-hot: return labels.argmax(1)",
    ),
    "a column": ({"labels": LABELS[:, None]}, "labels are 40 x 1 for 40 images; return labels.squeeze(1)"),
    "words": ({"labels": ["cat"] * 40}, "labels are an array of <U3; expected a torch.Tensor of numbers"),
    "a rare class": (
        {"labels": torch.where(torch.arange(40) == 0, 4, LABELS % 4)},
        "class 4 has one image, expected at least 2 of each of the 5 classes, one to train on and one to validate on",
    ),
    "mirror as text": ({"mirror": "false"}, "mirror is 'false'; expected True or False"),
    "no mirror": ({"mirror": None}, "mirror is None; expected True or False"),
    "a missing class": ({"labels": LABELS % 4}, "class 4 has no image, expected at least 2 of each of the 5 classes"),
}  # fmt: skip


class Broken(Mine):
    """Raises as it reads either part."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def read_train(self):
        raise self.error.with_traceback(None)

    def read_test(self):
        raise self.error.with_traceback(None)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file", "a.bin"), SystemExit(0), KeyError("x")], ids=repr
)
def test_a_data_set_that_fails_as_it_is_read_is_reported_with_its_line(error):
    reason = rf"data set mine cannot be read: {type(error).__name__}: .* \(test_data_check.py:\d+, in read_t"
    assert re.match(f"{reason}rain", sentence(Broken(error).split))
    assert re.match(f"{reason}est", sentence(Broken(error).read_test))
    with pytest.raises(KeyboardInterrupt):
        Broken(KeyboardInterrupt()).split()


def test_mirror_may_be_a_bool_of_numpy():
    assert Mine(replace(BASE, mirror=np.bool_(True))).split().train.mirror is True


def test_a_test_part_needs_one_image_only():
    assert len(Mine(test=good(1)).read_test()) == 1
    assert sentence(Mine(test=good(1).first(0)).read_test).endswith(
        "read_test returned no images; expected at least one"
    )


@pytest.mark.parametrize(("damage", "reason"), CASES.values(), ids=CASES)
def test_training_images_that_do_not_fit_are_refused_in_a_sentence(damage, reason):
    text = sentence(Mine(replace(BASE, **damage)).split)
    assert text.startswith(f"{Mine.__module__}.Mine.read_train")
    assert reason in text


ONLY_TRAINING = {"mean to 255", "std to 255", "std 0", "std below 0", "mean NaN", "one mean", "a number", "text"}
ONLY_TRAINING |= {"a rare class", "a missing class"}


@pytest.mark.parametrize("case", sorted(CASES.keys() - ONLY_TRAINING))
def test_test_images_that_do_not_fit_are_refused_in_a_sentence(case):
    damage, reason = CASES[case]
    text = sentence(Mine(test=replace(BASE, **damage)).read_test)
    assert text.startswith(f"{Mine.__module__}.Mine.read_test")
    assert reason in text


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "read_train returned NoneType; expected Images(pixels, labels, mean, std) of nas.data"),
        ((BASE.pixels, LABELS), "read_train returned a tuple of 2; expected Images(pixels, labels, mean, std)"),
        (torch.utils.data.TensorDataset(LABELS), "read_train returned TensorDataset; expected Images(pixels"),
    ],
)
def test_what_is_not_images_is_refused(given, reason):
    data = Mine()
    data.train = given
    assert reason in sentence(data.split)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"name": ""}, "Other.name is ''; expected the name of the data set, as text"),
        ({"task": (3, 4, 4, 5)}, "Other.task is (3, 4, 4, 5); expected Task(channels, height, width, classes)"),
        ({"task": Task(3, 4, 4, 1)}, "Other.task has classes=1; expected a whole number of at least 2"),
        ({"task": Task(3, 4.0, 4, 5)}, "Other.task has height=4.0; expected a whole number of at least 1"),
        ({"class_names": "abcde"}, "Other.class_names is 'abcde'; expected a list of texts"),
        ({"class_names": ["a", "b"]}, "Other.class_names has 2 names, but its task has classes=5"),
        ({"class_names": list("abcda")}, "Other.class_names holds 'a' more than once"),
        ({"class_names": ["a", "b", "c", "d", "e\nf"]}, r"Other.class_names holds 'e\nf'; expected text of one line"),
        ({"class_names": ["a", "b", "c", "d\t", "e"]}, r"Other.class_names holds 'd\t'; expected text of one line"),
        ({"class_names": ["a", "b", " ", "d", "e"]}, "Other.class_names holds ' '; expected text of one line"),
        ({"class_names": ["", "b", "c", "d", "e"]}, "Other.class_names holds ''; expected text of one line"),
        ({"__init__": lambda self: None}, "Other.__init__ does not call super().__init__(valid_fraction, split_seed)"),
    ],
)
def test_what_a_data_set_states_is_checked(attributes, reason):
    assert reason in sentence(type("Other", (Mine,), attributes)().split)


@pytest.mark.parametrize(
    "same",
    [
        {"labels": LABELS.int()},
        {"labels": LABELS.to(torch.uint8)},
        {"labels": LABELS.numpy().astype(">i4")},
        {"labels": LABELS.tolist()},
        {"pixels": BASE.pixels.numpy(), "labels": LABELS.numpy()},
        {"pixels": BASE.pixels.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)},
        {"pixels": BASE.pixels.numpy()[::-1].copy()[::-1]},
        {"mean": torch.full((3,), 0.5), "std": np.full(3, 0.25)},
        {"mean": [0.5, 0.5, 0.5]},
    ],
)
def test_what_cannot_be_misunderstood_is_converted_and_its_split_is_the_same(same):
    expected, split = Mine().split(), Mine(replace(BASE, **same)).split()
    assert split.hash == expected.hash
    assert torch.equal(split.train.pixels, expected.train.pixels)
    assert (split.train.labels.dtype, split.train.mean, split.train.std) == (torch.int64, (0.5,) * 3, (0.25,) * 3)


def test_memory_mapped_images_are_read_without_a_warning(tmp_path, recwarn):
    np.save(tmp_path / "pixels.npy", BASE.pixels.numpy())
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    assert Mine(replace(BASE, pixels=mapped)).split().hash == Mine().split().hash
    assert not recwarn.list


def test_unnormalised_and_dark_images_are_accepted(recwarn):
    """A mean of 0 and a std of 1 normalise nothing; values of 0 and 1 are right where the statistics are theirs."""
    plain = replace(BASE, mean=(0.0,) * 3, std=(1.0,) * 3)
    dark = replace(BASE, pixels=BASE.pixels % 2, mean=(0.5 / 255,) * 3, std=(0.5 / 255,) * 3)
    for images in (plain, dark):
        assert Mine(images).split().train.mean == images.mean
    assert not recwarn.list


@pytest.mark.parametrize("form", [tuple, list, np.array, torch.tensor])
def test_statistics_of_any_form_are_compared(form):
    """Equal ones are not mistaken for others: the protocol of the data set would change."""
    same = replace(good(seed=1), mean=form([0.4] * 3), std=form([0.3] * 3))
    for train in (replace(BASE, mean=(0.4,) * 3, std=(0.3,) * 3), replace(BASE, mean=same.mean, std=same.std)):
        data = Mine(train, test=same)
        data.read_test()
        assert not data.restated


def test_test_images_are_normalised_like_the_training_images():
    test = replace(good(seed=1), mean=(0.1, 0.2, 0.3), std=(0.3, 0.3, 0.3))
    for data in (Mine(test=test), Mine(test=replace(test, mean=(300.0,), std=None))):
        found = data.read_test()
        assert (found.mean, found.std, data.restated) == (BASE.mean, BASE.std, True)
        assert torch.equal(found.pixels, test.pixels)
