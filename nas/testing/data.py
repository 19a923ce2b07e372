"""The promises of a data set."""

from __future__ import annotations

from collections.abc import Callable

from nas.data.base import DataSet
from nas.data.lock import TestSetLocked, locked_test_set
from nas.testing.promises import Promise


def data_promises(make: Callable[[], DataSet]) -> list[Promise]:
    """A data set matches its task, is split the same way every time, and its test images are locked in a search."""
    data = make()

    def can_be_split() -> None:
        data.split()

    def can_be_tested() -> None:
        data.read_test()

    def splits_repeat() -> None:
        split, again = data.split(), make().split()
        assert split.hash == again.hash, (
            f"two splits differ: {split.hash} and {again.hash}; read_train must give the same images at every call"
        )

    def test_images_are_locked() -> None:
        with locked_test_set():
            try:
                data.read_test()
            except TestSetLocked:
                return
        raise AssertionError("read_test could be called while a search held the lock")

    own = type(data)
    return [  # images are checked as they are read
        Promise("read_train gives images and labels of its task", can_be_split, needed=True),
        Promise("read_test gives images and labels of its task", can_be_tested),
        Promise("two reads give the same split", splits_repeat, own.read_train),
        Promise("test images are locked during a search", test_images_are_locked, own.read_test),
    ]
