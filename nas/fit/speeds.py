"""How fast this machine trains and runs the networks of a fit: a few batches of each, measured once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from nas.core import Task
from nas.data.images import Images
from nas.errors import UsageError
from nas.space.base import SearchSpace
from nas.training.augment import plain_batch
from nas.training.memory_format import to_channels_last
from nas.training.optimizer import optimizer_of
from nas.training.recipe import Recipe
from nas.training.tuning import tuned_recipe

SECONDS = 0.6
"""Time in which the batches of one figure are repeated, after a first one, which counts only if it takes longer."""
MAX_BATCHES = 20
BATCH = 16
"""Images of a batch: a processor is as quick with them as with more."""


@dataclass(frozen=True)
class Speeds:
    """Images per second.

    Args:
        before: Seconds from the start of the fit to its plan.
        train: Architecture text -> images per second in training.
        run: Architecture text -> images per second in evaluation.
    """

    before: float
    train: Mapping[str, float]
    run: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any, origin: str) -> Speeds:
        """Recorded speeds.

        Args:
            content: The `speeds` of a plan.
            origin: File that it comes from, for the message.

        Raises:
            UsageError: It does not hold speeds.
        """
        try:
            speeds = cls(
                float(content["before"]),
                {str(name): float(value) for name, value in content["train"].items()},
                {str(name): float(value) for name, value in content["run"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UsageError(f"speed={origin} does not hold recorded speeds; expected plan.json of a fit") from None
        if speeds.before < 0 or not all(value > 0 for value in (*speeds.train.values(), *speeds.run.values())):
            raise UsageError(f"speed={origin} holds a speed that is not above 0; expected plan.json of a fit")
        return speeds


def measured(  # noqa: PLR0917 (as a training is called)
    space: SearchSpace, texts: Mapping[str, bool], images: Images, task: Task, recipe: Recipe, device: torch.device
) -> tuple[dict[str, float], dict[str, float]]:
    """Images per second in training and in evaluation.

    Args:
        space: Space of the architectures.
        texts: Architecture -> whether its training is measured too.
        images: Some training images.
        task: Their task.
        recipe: Recipe, which each architecture adjusts.
    """
    train, run = {}, {}
    images = images.first(256).to(device)
    for text, trains in texts.items():
        architecture = space.from_text(text)
        torch.manual_seed(0)
        network = space.build(architecture, task, {}).to(device)
        to_channels_last(network, device)
        run[text] = _running(network, images)
        if trains:
            train[text] = _training(network, images, tuned_recipe(space, architecture, recipe))
    return train, run


@torch.no_grad()
def _running(network: nn.Module, images: Images) -> float:
    network.eval()
    size = min(BATCH, len(images))

    def batch() -> None:
        network(plain_batch(images, 0, size)).sum().item()

    return size * _rate(batch)


def _training(network: nn.Module, images: Images, recipe: Recipe) -> float:
    network.train()
    size = min(BATCH if images.pixels.device.type == "cpu" else recipe.batch_size, len(images))
    optimizer = optimizer_of([p for p in network.parameters() if p.requires_grad], recipe)

    def batch() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(network(plain_batch(images, 0, size)), images.labels[:size])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()

    return size * _rate(batch)


def _rate(batch: Any) -> float:
    """Batches per second."""
    started = time.perf_counter()
    batch()
    first = time.perf_counter() - started
    if first > 2 * SECONDS:
        return 1 / first
    count, started = 0, time.perf_counter()
    while count == 0 or (time.perf_counter() - started < SECONDS and count < MAX_BATCHES):
        batch()
        count += 1
    return count / (time.perf_counter() - started)
