"""A network as its space builds it, complete, and from a seed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from nas.core import Task
from nas.training.check import BadNetwork
from nas.training.lazy import materialize
from nas.training.seeding import seed_all


def built(network: nn.Module, task: Task) -> nn.Module:
    """What `SearchSpace.build` returned, with its lazy modules, if any, initialised by a forward of blank images.

    Their initial values are drawn from torch's global generator, after those of the other modules.

    Args:
        network: Fresh; other buffers than those of its lazy modules, such as running statistics, stay as they are.
    """
    if isinstance(network, nn.Module) and any(map(is_lazy, (*network.parameters(), *network.buffers()))):
        kept = [(buffer, buffer.clone()) for buffer in network.buffers() if not is_lazy(buffer)]
        materialize(network, (task.channels, task.height, task.width))
        with torch.no_grad():
            for buffer, values in kept:
                buffer.copy_(values)
    return network


def built_from(seed: int, build: Callable[[], nn.Module], method: str = "build") -> nn.Module:
    """What a space builds once the global generators of torch, NumPy and Python are seeded.

    Args:
        build: Draws initial weights from torch's global generator.
        method: Of the space, for the message.

    Raises:
        BadNetwork: It has seeded torch's generator itself, so that all seeds would come to the same training.
    """
    seed_all(seed)
    before = torch.initial_seed()
    network = build()
    now = torch.initial_seed()
    if now != before:
        raise BadNetwork(
            f"{method} seeds torch's generator (with {now}), so that the seed of a training decides nothing; draw "
            "initial weights from torch's generator and leave its seed as it is"
        )
    return network
