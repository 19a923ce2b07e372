"""A folder of `nas export`: the content of `model.json`, and the network built from it.

Nothing in such a folder is run or unpickled: it may come from elsewhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.core import Task
from nas.errors import UsageError
from nas.space.base import SearchSpace
from nas.space.notation import parse
from nas.validation import is_class_name

if TYPE_CHECKING:
    from torch import nn

    from nas.export.model import MakeSpace

NAME, VERSION = "model.json", 1
MAX_IMAGE_VALUES = 2**24
"""Values of the largest image, beyond any that is trained on; a larger one would exhaust the memory."""


@dataclass(frozen=True)
class Folder:
    """An exported model.

    Args:
        path: Path of the folder.
        about: Content of its `model.json`.
    """

    path: Path
    about: Mapping[str, Any]

    @property
    def task(self) -> Task:
        return Task(**self.about["task"])

    @property
    def formats(self) -> Mapping[str, Any]:
        formats: Mapping[str, Any] = self.about["formats"]
        return formats

    @property
    def threshold(self) -> float:
        """Probability below which an image belongs to none of the classes; 0 if the model has no threshold."""
        return float((self.about.get("threshold") or {"value": 0})["value"])

    def space(self, make_space: MakeSpace) -> SearchSpace:
        """The space of its architecture.

        Raises:
            UsageError: The space does not exist, or does not accept the settings.
        """
        return make_space(self.about["space"]["name"], self.about["space"]["settings"])

    def network(self, space: SearchSpace) -> nn.Module:
        """The network with the exported weights, in evaluation mode.

        Raises:
            UsageError: The weights are missing, damaged or of another network.
        """
        from nas.export.model import loaded
        from nas.training.lazy import materialized

        architecture = parse(space, self.about["arch"])
        network = materialized(
            space.build(architecture, self.task, space.known_sizes(self.about["network"])), self.task
        )
        return loaded(network, self.path / "model.safetensors", self.about["arch"])


def read(path: Path) -> Folder:
    """Read `model.json` of a folder.

    Raises:
        UsageError: It is missing or damaged, or of another version.
    """
    file = path / NAME
    try:
        about = json.loads(file.read_text())
    except OSError as error:
        raise UsageError(f"model={path} is not an exported model: {NAME} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise UsageError(f"model={path} is not an exported model: {NAME} is not JSON") from None
    version = about.get("cellnas_model") if isinstance(about, dict) else None
    if version != VERSION:
        raise UsageError(f"model={path}: {NAME} has cellnas_model={version}; this cellnas reads {VERSION}")
    try:
        _check(about)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"model={path}: {NAME} is damaged ({type(error).__name__} {error})") from None
    return Folder(path, about)


def _check(about: Mapping[str, Any]) -> None:
    task = Task(**about["task"])
    shape = (task.channels, task.height, task.width, task.classes)
    if not all(isinstance(size, int) and size > 0 for size in shape) or math.prod(shape[:3]) > MAX_IMAGE_VALUES:
        raise ValueError(f"task {shape}")
    preprocessing = about["preprocessing"]
    for key in ("mean", "std"):
        numbers = all(isinstance(value, float | int) and not isinstance(value, bool) for value in preprocessing[key])
        if len(preprocessing[key]) != task.channels or not numbers or not all(map(math.isfinite, preprocessing[key])):
            raise ValueError(f"preprocessing.{key}")
    if min(preprocessing["std"]) <= 0:
        raise ValueError("preprocessing.std")
    if len(about["classes"]) != task.classes or not all(map(is_class_name, about["classes"])):
        raise ValueError("classes")
    threshold = (about.get("threshold") or {"value": 0})["value"]
    if not isinstance(threshold, float | int) or isinstance(threshold, bool) or not 0 <= threshold <= 1:
        raise ValueError("threshold.value")
    if not isinstance(about["arch"], str) or not isinstance(about["space"]["name"], str):
        raise TypeError("arch and space")
    dict(about["space"]["settings"]), dict(about["network"]), dict(about["formats"])
