"""What a data set promises."""

from __future__ import annotations

from collections.abc import Callable

from nas.data.dataset import DataSet
from nas.data.lock import TestSetLocked, locked_test_set
from nas.testing.promises import Promise


def data_promises(make: Callable[[], DataSet]) -> list[Promise]:
    """A data set returns what it states, splits the same every time, and keeps its test images locked in a search."""
    data = make()

    def images_fit_the_task() -> None:
        data.split()  # checks what was read

    def test_images_fit_the_task() -> None:
        data.read_test()

    def splits_repeat() -> None:
        split, again = data.split(), make().split()
        assert split.hash == again.hash, (
            f"two splits differ: {split.hash} and {again.hash}; read_train must return the same images at every call"
        )

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
        Promise("test images and labels fit the task", test_images_fit_the_task, own.read_test),
        Promise("test images are locked during a search", test_images_are_locked, own.read_test),
    ]
