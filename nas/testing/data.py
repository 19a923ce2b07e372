"""What a data set promises."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nas.data.dataset import DataSet
from nas.data.lock import TestSetLocked, locked_test_set
from nas.testing.promises import Promise


def data_promises(make: Callable[[], DataSet]) -> list[Promise]:
    """A data set states its task truly, splits the same every time, and keeps its test images locked in a search."""
    data = make()

    def images_fit_the_task() -> None:
        task, split = data.task, data.split()
        for name, part in (("train", split.train), ("valid", split.valid)):
            shape = tuple(part.pixels.shape[1:])
            assert shape == (task.channels, task.height, task.width), f"{name} images are {shape}, the task says {task}"
            assert part.pixels.dtype == torch.uint8, f"{name} images are {part.pixels.dtype}, expected uint8"
            assert part.labels.dtype == torch.int64, f"{name} labels are {part.labels.dtype}, expected int64"
            missing = sorted(set(range(task.classes)) - set(part.labels.tolist()))
            assert not missing, f"{name} has no image of class {missing[0]}"
            assert len(part.mean) == len(part.std) == task.channels, "mean and std need one value a channel"

    def splits_repeat() -> None:
        split, again = data.split(), make().split()
        assert split.hash == again.hash, f"two splits differ: {split.hash} and {again.hash}"

    def test_images_are_locked() -> None:
        with locked_test_set():
            try:
                data.read_test()
            except TestSetLocked:
                return
        raise AssertionError("read_test could be called while a search held the lock")

    own = type(data)
    return [
        Promise("images and labels fit the task", images_fit_the_task, getattr(own, "read_train", own), needed=True),
        Promise("two reads give the same split", splits_repeat, getattr(own, "read_train", own)),
        Promise("test images are locked during a search", test_images_are_locked, own.read_test),
    ]
