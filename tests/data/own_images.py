"""A user's data set for tests, and what it raises."""

import pytest
import torch

from nas import Task, UserError
from nas.data.base import DataSet
from nas.data.images import Images


def good(count=40, channels=3, size=4, classes=5, seed=0):
    """Images of as many classes in turn, all of them different."""
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, channels, size, size), generator=rng, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % classes, (0.5,) * channels, (0.25,) * channels)


class Mine(DataSet):
    name = "mine"
    task = Task(channels=3, height=4, width=4, classes=5)

    def __init__(self, train=None, test=None):
        super().__init__(0.25)
        self.train = good() if train is None else train
        self.test = good(seed=1) if test is None else test

    def read_train(self):
        return self.train

    def read_test(self):
        return self.test


BASE = good()
LABELS = BASE.labels


def sentence(call):
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)
