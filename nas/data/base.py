"""The interface of data sets: training images split for search, and locked test images."""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from nas.core import Task
from nas.data import generators
from nas.data.check import check_statements, checked, same_numbers
from nas.data.images import Images, Split, stratified
from nas.data.lock import TestSetLocked, check_unlocked
from nas.errors import UserError, located
from nas.validation import number_in, whole_number


@dataclass(frozen=True)
class _Seen:
    """Record of a split: `settings` (fraction and seed) must always lead to the same `hash`, `mean` and `std`."""

    settings: tuple[float, int]
    hash: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


class DataSet(ABC):
    """Base of all data sets: reads two parts and leaves splitting, hashing and locking to this class.

    Args:
        valid_fraction: Share of the training images held out for validation, above 0 and at most 0.95.
        split_seed: Selects one of the possible splits.
    """

    name: str
    task: Task
    class_names: Sequence[str] = ()
    """Names of the labels; empty: their numbers."""
    restated: bool = False
    """Whether `read_test` stated a mean and std of its own. Version 0.1.0 normalised by them, so results on such a data
    set are not comparable with those of later versions."""
    changing: str = (
        "leave random crops and other augmentation to the trainer settings, seed random draws, sort file names"
    )
    """What to do if the images have changed within one process or between those of one command."""
    _seen: _Seen | None = None
    """The first split, which later ones must equal; it travels to worker processes with the data set."""

    def __init__(self, valid_fraction: float, split_seed: int = 0) -> None:
        number_in("data.valid_fraction", valid_fraction, 0.0, 0.95, above=True)
        whole_number("data.split_seed", split_seed, least=0)
        self.valid_fraction = valid_fraction
        self.split_seed = split_seed

    def __init_subclass__(cls) -> None:
        """Put the lock and the check before every method that reads test images, inherited ones included."""
        super().__init_subclass__()
        reading = cls.read_test
        if hasattr(reading, "guarded") or getattr(reading, "__isabstractmethod__", False):
            return

        @functools.wraps(reading)
        def guarded(self: DataSet) -> Images:
            check_unlocked(f"the test images of {getattr(self, 'name', type(self).__name__)}")
            images = _called(lambda: reading(self), self.name)
            if type(self).read_test is not guarded:  # called by the method that overrides it, which is checked itself
                return images
            return self.__checked_test(images)

        guarded.guarded = True  # type: ignore[attr-defined]
        cls.read_test = guarded  # type: ignore[method-assign]

    @abstractmethod
    def read_train(self) -> Images:
        """All training images.

        Raises:
            UserError: They are missing or damaged.
        """

    @abstractmethod
    def read_test(self) -> Images:
        """All test images, for retraining and reporting.

        Raises:
            TestSetLocked: A search is running.
            UserError: They are missing or damaged.
        """

    def split(self) -> Split:
        """Training and validation part, the same on every machine.

        Raises:
            UserError: The images do not fit what the data set states, or differ from those of the last call.
        """
        split, drawn = self.__split_once()
        seen, before = self.__of(split), self._seen
        if before is None and drawn:  # random numbers were drawn while reading: will it be the same next time?
            before = self.__of(self.__split_once()[0])
        if before is not None and before.settings == seen.settings and before != seen:
            raise UserError(
                f"{self.__origin('read_train')} returned different images than before; expected the same images in the "
                f"same order at every call: {self.changing}"
            )
        self.__dict__["_seen"] = seen  # a frozen dataclass can be a data set too
        return split

    def split_positions(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the training and of the validation part in the images of `read_train`.

        Args:
            labels: (N,) class of each image.

        Returns:
            Two disjoint int64 arrays. Every prefix of each holds the classes in nearly equal shares.
        """
        return stratified(labels, 1.0 - self.valid_fraction, f"split {self.split_seed}")

    def __of(self, split: Split) -> _Seen:
        return _Seen((self.valid_fraction, self.split_seed), split.hash, split.train.mean, split.train.std)

    def __split_once(self) -> tuple[Split, bool]:
        """The split of one reading, and whether a global random generator was used for it."""
        check_statements(self)
        before = _random_state()
        images = self.__checked(_called(self.read_train, self.name), "read_train")
        drawn = _random_state() != before
        train, valid = self.split_positions(images.labels.numpy())
        digest = hashlib.blake2b(digest_size=8)
        for part in (images.pixels.numpy(), images.labels.numpy(), train, valid):
            digest.update(np.ascontiguousarray(part).data)
        parts = images.take(torch.from_numpy(train)), images.take(torch.from_numpy(valid))
        return Split(*parts, digest.hexdigest()), drawn

    def __checked_test(self, images: Images) -> Images:
        """Test images that fit, normalised like the images that a network was trained on."""
        train = self._seen or self.__of(self.split())
        if isinstance(images, Images):  # what it states is unused: a network was normalised by the training part's
            self.__dict__["restated"] = not same_numbers((images.mean, train.mean), (images.std, train.std))
            images = replace(images, mean=train.mean, std=train.std)
        return self.__checked(images, "read_test")

    def __checked(self, images: object, method: str) -> Images:
        origin = self.__origin(method)
        if not isinstance(images, Images):
            received = f"a tuple of {len(images)}" if isinstance(images, tuple) else f"{type(images).__name__}"
            raise UserError(f"{origin} returned {received}; expected Images(pixels, labels, mean, std) of nas.data")
        return checked(images, self.task, origin, training=method == "read_train")

    def __origin(self, method: str) -> str:
        return f"{type(self).__module__}.{type(self).__qualname__}.{method}"


def _called(method: Callable[[], Images], name: str) -> Images:
    """What a reading method returns. Not a method, since `_read` and the like are names of a data set's own helpers.

    Args:
        method: Method to call.
        name: Name of the data set, for messages.

    Raises:
        UserError: It fails, however it does.
    """
    try:
        return method()
    except (UserError, TestSetLocked, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UserError(f"data set {name} cannot be read: {located(error)}") from error


def _random_state() -> tuple[object, ...]:
    """State of the global generators, which a program may draw from without naming one."""
    return torch.get_rng_state().numpy().tobytes(), generators.state()
