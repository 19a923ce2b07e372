"""The stages of a network, read off the network itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.core import Task


@dataclass(frozen=True)
class Stage:
    """Equal blocks in a row.

    Args:
        name: of one of them.
        times: how many.
        shape: of what comes out of the last, without the batch.
    """

    name: str
    times: int
    shape: tuple[int, ...]


def stages(network: nn.Module, task: Task) -> list[Stage]:
    """What images go through, from the images themselves on; equal neighbours with equal outcomes are one stage.

    Blocks are the network's own modules, and the elements of its lists. Those that an evaluation leaves aside, such as
    an auxiliary head, are no part of it.
    """
    seen: list[Stage] = [Stage("images", 1, (task.channels, task.height, task.width))]
    hooks = [module.register_forward_hook(_noted(name, seen)) for name, module in _blocks(network)]
    training = network.training
    try:
        with torch.no_grad():
            parameter = next(network.parameters(), torch.zeros(()))
            network.eval()(torch.zeros(2, *seen[0].shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return seen


def _blocks(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    plain = isinstance(network, (nn.Sequential, nn.ModuleList))
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList):
            yield from _blocks(child)
        else:
            yield _spelled(type(child).__name__) if plain else name, child


def _spelled(name: str) -> str:
    """`ReductionCell` as two words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "\\n", name).lower() if "_" not in name else name


def _noted(name: str, seen: list[Stage]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def note(_module: nn.Module, _inputs: tuple[Tensor, ...], outcome: Tensor) -> None:
        shape = tuple(outcome.shape[1:])
        last = seen[-1]
        if (last.name, last.shape) == (name, shape):
            seen[-1] = Stage(name, last.times + 1, shape)
        else:
            seen.append(Stage(name, 1, shape))

    return note
