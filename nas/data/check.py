"""The check of a data set: its images must agree with what it states; a failure is reported in one sentence.

Every data set is checked as it is read, before anything is trained. Unambiguous values are converted (numpy arrays,
labels of any integer type, a mean given as an array); everything else is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.core import Task
from nas.data.images import Images
from nas.errors import UserError
from nas.validation import is_class_name

MIN_IMAGES_PER_CLASS = 2
"""Training images of each class: one to train on and one to validate on."""
SAMPLED_IMAGES = 256
"""Number of images whose values are checked; all of CIFAR-10 would take longer than everything else here."""


def check_statements(data: Any) -> None:
    """Check what a data set states without reading an image: name, task, class names, and that it was initialised.

    Args:
        data: A `nas.data.DataSet`, not checked yet.

    Raises:
        UserError: One of them is missing or contradicts another.
    """
    owner = f"{type(data).__module__}.{type(data).__qualname__}"
    for attribute in ("valid_fraction", "split_seed"):
        if not hasattr(data, attribute):
            raise UserError(f"{owner}.__init__ does not call super().__init__(valid_fraction, split_seed); add it")
    name, task, names = getattr(data, "name", None), getattr(data, "task", None), data.class_names
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"{owner}.name is {name!r}; expected the name of the data set, as text")
    if not isinstance(task, Task):
        raise UserError(f"{owner}.task is {task!r}; expected Task(channels, height, width, classes) of nas")
    for field, least in (("channels", 1), ("height", 1), ("width", 1), ("classes", 2)):
        value = getattr(task, field)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UserError(f"{owner}.task has {field}={value!r}; expected a whole number of at least {least}")
    if isinstance(names, str) or not all(isinstance(one, str) for one in names):
        raise UserError(f"{owner}.class_names is {names!r}; expected a list of texts, one per class")
    if (bad := next((one for one in names if not is_class_name(one)), None)) is not None:
        raise UserError(
            f"{owner}.class_names holds {bad!r}; expected text of one line, without tabs and other control characters"
        )
    if len(names) not in (0, task.classes):
        raise UserError(f"{owner}.class_names has {len(names)} names, but its task has classes={task.classes}")
    if len(set(names)) < len(names):
        twice = next(one for one in names if list(names).count(one) > 1)
        raise UserError(f"{owner}.class_names holds {twice!r} more than once; predictions are labelled by these names")


def checked(images: Images, task: Task, origin: str, *, training: bool) -> Images:
    """Images that fit their task, as the trainer takes them: uint8 (N, C, H, W) pixels, int64 labels, float statistics.

    Args:
        images: Images that a data set returned.
        task: Task that the data set states.
        origin: Module, class and method that returned them, for the message.
        training: Whether every class must have the images that a split needs.

    Returns:
        The same images; without a copy if they needed no conversion.

    Raises:
        UserError: The images do not fit the task.
    """
    pixels, labels = _tensor(images.pixels, "pixels", origin), _tensor(images.labels, "labels", origin)
    _check_pixels(pixels, task, origin, training=training)
    labels = _checked_labels(labels, len(pixels), task, origin)
    if training:
        _check_classes(labels, task, origin)
    mean = _numbers(images.mean, "mean", task, origin)
    std = _numbers(images.std, "std", task, origin)
    _check_statistics(mean, std, origin)
    _check_values(pixels, std, origin)
    if not isinstance(images.mirror, bool | np.bool_):
        raise UserError(f"{origin}: mirror is {images.mirror!r}; expected True or False")
    return replace(images, pixels=pixels, labels=labels, mean=mean, std=std, mirror=bool(images.mirror))


def _tensor(value: Any, field: str, origin: str) -> Tensor:
    """A plain tensor on the CPU, sharing memory if possible."""
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise UserError(f"{origin}: {field} are a sparse tensor; expected a dense one, {field}.to_dense()")
        return value.detach().as_subclass(Tensor).cpu()
    if isinstance(value, list | tuple) and field == "labels":
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        raise UserError(f"{origin}: {field} are of type {type(value).__name__}; expected a torch.Tensor")
    if field == "labels" and value.dtype.kind in "iu":
        value = value.astype(np.int64)  # also of the other byte order, which torch refuses
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a memory map is read-only, and nothing is written here
            return torch.from_numpy(np.ascontiguousarray(value))
    except TypeError:
        raise UserError(
            f"{origin}: {field} are an array of {value.dtype}; expected a torch.Tensor of numbers"
        ) from None


def _check_pixels(pixels: Tensor, task: Task, origin: str, *, training: bool) -> None:
    if pixels.ndim > 0 and len(pixels) == 0:
        least = f"{MIN_IMAGES_PER_CLASS} of each class" if training else "one"
        raise UserError(f"{origin} returned no images; expected at least {least}")
    shape, one = tuple(pixels.shape), (task.channels, task.height, task.width)
    if shape[1:] != one:
        text = " x ".join(map(str, shape))
        stated = f"{task.channels} x {task.height} x {task.width}"
        if shape[1:] == (task.height, task.width, task.channels):
            advice = "the channels come last: return pixels.permute(0, 3, 1, 2)"
        elif shape[1:] == one[1:] and task.channels == 1:
            advice = "the channel is missing: return pixels.unsqueeze(1)"
        else:
            advice = "correct the task or the images"
        raise UserError(f"{origin}: pixels are {text}, but the task says N x {stated} (N, C, H, W); {advice}")
    if pixels.dtype == torch.uint8:
        return
    kind = str(pixels.dtype).removeprefix("torch.")
    expected = "expected uint8 from 0 to 255"
    if pixels.dtype == torch.bool or pixels.is_complex():
        raise UserError(f"{origin}: pixels are {kind}, {expected}")
    sample = pixels[:: max(1, len(pixels) // SAMPLED_IMAGES)].double()
    if not bool(sample.isfinite().all()):
        raise UserError(f"{origin}: pixels are {kind} and hold {_not_finite(sample)}; {expected}")
    low, high = float(sample.min()), float(sample.max())
    if pixels.is_floating_point() and low >= 0 and high <= 1:
        advice = "return (pixels * 255).round().to(torch.uint8)"
    elif low >= 0 and high <= 255:
        advice = f"return pixels{'.round()' if pixels.is_floating_point() else ''}.to(torch.uint8)"
    elif low < 0 and pixels.is_floating_point():
        advice = "return them before the normalisation, which uses mean and std"
    else:
        advice = "scale them to that range"
    raise UserError(f"{origin}: pixels are {kind} from {low:g} to {high:g}, {expected}; {advice}")


def _not_finite(sample: Tensor) -> str:
    return "NaN" if bool(sample.isnan().any()) else "infinity"


def _checked_labels(labels: Tensor, count: int, task: Task, origin: str) -> Tensor:
    shape = tuple(labels.shape)
    if shape != (count,):
        text = " x ".join(map(str, shape)) or "a single number"
        if shape == (count, task.classes):
            advice = "they are one-hot: return labels.argmax(1)"
        elif shape == (count, 1):
            advice = "return labels.squeeze(1)"
        else:
            advice = "expected one label per image"
        raise UserError(f"{origin}: labels are {text} for {count} images; {advice}")
    kind = str(labels.dtype).removeprefix("torch.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UserError(f"{origin}: labels are {kind}; expected whole numbers, labels.long()")
    labels = labels.to(torch.int64)
    low, high = (int(value) for value in torch.aminmax(labels))
    if low < 0 or high >= task.classes:
        advice = "correct the labels or task.classes"
        if (low, high) == (1, task.classes):
            advice = "return labels - 1"
        expected = f"task.classes={task.classes} needs 0 to {task.classes - 1}"
        raise UserError(f"{origin}: labels are {low} to {high}, but {expected}; {advice}")
    return labels


def _check_classes(labels: Tensor, task: Task, origin: str) -> None:
    counts = torch.bincount(labels, minlength=task.classes)
    rare = int(counts.argmin())
    if counts[rare] < MIN_IMAGES_PER_CLASS:
        number = int(counts[rare])
        raise UserError(
            f"{origin}: class {rare} has {'no image' if number == 0 else 'one image'}, expected at least "
            f"{MIN_IMAGES_PER_CLASS} of each of the {task.classes} classes, one to train on and one to validate on; "
            "add images, or leave the class out of labels and task.classes"
        )


def same_numbers(*pairs: tuple[Any, Any]) -> bool:
    """Whether the two of each pair are equal in float32, which the trainer uses; also lists, arrays and tensors."""
    try:
        return all(np.array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32)) for a, b in pairs)
    except (TypeError, ValueError):
        return False


def _numbers(value: Any, field: str, task: Task, origin: str) -> tuple[float, ...]:
    expected = f"expected one number per channel, {task.channels} in all"
    if isinstance(value, Tensor | np.ndarray):
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UserError(f"{origin}: {field} is {value!r}; {expected}")
    try:
        numbers = tuple(float(one) for one in value)
    except (TypeError, ValueError):
        raise UserError(f"{origin}: {field} is {value!r}; {expected}") from None
    if len(numbers) != task.channels:
        count = f"{len(numbers)} number{'' if len(numbers) == 1 else 's'}"
        raise UserError(f"{origin}: {field} has {count}; {expected}")
    return numbers


def _check_statistics(mean: tuple[float, ...], std: tuple[float, ...], origin: str) -> None:
    """Pixel values of 0 to 1 have a mean within that range, and no standard deviation above 1."""
    scaled = "expected that of pixel values scaled to 0-1"
    for field, numbers in (("mean", mean), ("std", std)):
        text = ", ".join(f"{number:g}" for number in numbers)
        if not all(map(isfinite, numbers)):
            raise UserError(f"{origin}: {field} is {text}; expected finite numbers")
        if max(numbers) > 1:
            raise UserError(f"{origin}: {field} is {text}; {scaled}: divide it by 255")
        if min(numbers) < 0:
            raise UserError(f"{origin}: {field} is {text}; {scaled}, which is not negative")
    if min(std) == 0:
        channel = std.index(min(std))
        raise UserError(
            f"{origin}: std is 0 for channel {channel}, and images are divided by it; a constant channel holds no "
            "information: leave it out, or return 1 for it"
        )


def _check_values(pixels: Tensor, std: tuple[float, ...], origin: str) -> None:
    """Images that were scaled to 0-1 before they became uint8 are black; their statistics show that they should not
    be."""
    sample = pixels[:: max(1, len(pixels) // SAMPLED_IMAGES)]
    if int(sample.max()) <= 1 and max(std) > 4 / 255:
        text = ", ".join(f"{number:g}" for number in std)
        raise UserError(
            f"{origin}: pixels are uint8 from {int(sample.min())} to {int(sample.max())}, but std is {text}; expected "
            "0 to 255: scale them before the conversion to uint8"
        )
