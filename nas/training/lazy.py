"""Lazy modules: their sizes are known only after one forward, so nothing can be counted or optimised before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from nas.core import Task


def materialize(network: nn.Module, image: Sequence[int]) -> None:
    """Initialise the lazy modules of a network, if any, by running it on blank images.

    Draws their initial values from torch's global random numbers, as the space's `build` does for all others. The
    network is run in evaluation mode, and in training mode too if something is left uninitialised (an auxiliary head).

    Args:
        image: Shape (C, H, W).
    """
    lazy = [module for module in network.modules() if _uninitialized(module)]
    if not lazy:
        return
    device = next(
        (t.device for t in (*network.parameters(), *network.buffers()) if not is_lazy(t)), torch.device("cpu")
    )
    modes = [(module, module.training) for module in network.modules()]
    try:
        with torch.no_grad():
            for training in (False, True):
                if any(map(_uninitialized, lazy)):
                    network.train(training)
                    network(torch.zeros(2, *image, device=device))
    finally:
        for module, training in modes:
            module.training = training
    for module in lazy:
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.reset_running_stats()  # blank images must not become statistics


def materialized(network: nn.Module, task: Task) -> nn.Module:
    """The network that `SearchSpace.build` returned, its lazy modules initialised by a forward pass of blank images.

    Their initial values are drawn from torch's global generator, after those of the other modules.

    Args:
        network: Fresh network; buffers other than those of its lazy modules, such as running statistics, stay
            unchanged.
    """
    if isinstance(network, nn.Module) and any(map(is_lazy, (*network.parameters(), *network.buffers()))):
        before = [(buffer, buffer.clone()) for buffer in network.buffers() if not is_lazy(buffer)]
        materialize(network, (task.channels, task.height, task.width))
        with torch.no_grad():
            for buffer, values in before:
                buffer.copy_(values)
    return network


def _uninitialized(module: nn.Module) -> bool:
    own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return any(map(is_lazy, own))
