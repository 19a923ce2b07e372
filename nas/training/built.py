"""A network as its space builds it, complete."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from nas.core import Task
from nas.training.lazy import materialize


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
