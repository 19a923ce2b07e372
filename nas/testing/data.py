"""What a data set promises."""

from __future__ import annotations

from collections.abc import Callable

from nas.data.base import DataSet
from nas.data.lock import TestSetLocked, locked_test_set
from nas.testing.promises import Promise


def data_promises(make: Callable[[], DataSet]) -> list[Promise]:
    """A data set returns what it states, splits the same every time, and keeps its test images locked in a search."""
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
    return [  # whatever is read is checked as it is read
        Promise("read_train gives images and labels of its task", can_be_split, needed=True),
        Promise("read_test gives images and labels of its task", can_be_tested),
        Promise("two reads give the same split", splits_repeat, own.read_train),
        Promise("test images are locked during a search", test_images_are_locked, own.read_test),
    ]
