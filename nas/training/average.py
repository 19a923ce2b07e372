"""A moving average of a network's weights, which often scores better than the weights themselves.

Polyak & Juditsky, SIAM Journal on Control and Optimization 30(4), 1992; exponential, with a decay that rises in the
first steps, as image classifiers are trained since Szegedy et al., CVPR 2016.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from nas.training.weights import copy_extra_state


class ModelEMA:
    """The average of a network over its steps.

    Args:
        network: as it is before the first step.
        decay: 0 to below 1, reached as (1 + step) / (10 + step) rises.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.network = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network after a step; running statistics are averaged too, counters and extra state copied."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        mine, theirs = _tensors(self.network), _tensors(network)
        floats = [(a, b) for a, b in zip(mine, theirs, strict=True) if _averaged(a)]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1.0 - decay)
        for a, b in zip(mine, theirs, strict=True):
            if not _averaged(a):
                a.copy_(b)
        copy_extra_state(network, self.network)

    def state_dict(self) -> dict[str, object]:
        return {"steps": self.steps, "network": self.network.state_dict()}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.steps = int(state["steps"])  # type: ignore[call-overload]
        self.network.load_state_dict(state["network"])  # type: ignore[arg-type]


def _averaged(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _tensors(network: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
