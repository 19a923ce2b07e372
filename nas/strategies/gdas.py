"""GDAS: search on sampled cells, one operation an edge.

Dong & Yang, "Searching for a Robust Neural Architecture in Four GPU Hours", CVPR 2019, https://arxiv.org/abs/1910.04465,
eq. 3 to 5.

The forward pass runs only the sampled operation of each edge; the gradient of its weight reaches alpha through the
softmax that it was drawn from. Differs from the published code: operations that were not sampled give alpha no gradient
of their own (the code adds their bare weights to the output).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.strategies.relaxation import Relaxation
from nas.validation import number_in

MIN_UNIFORM = 1e-20
"""Keeps logarithms finite."""


@dataclass
class GDAS(Relaxation):
    """Gumbel-softmax with hard samples.

    Args:
        epochs: Length of a search (paper: 250).
        tau_max, tau_min: Temperature of the first and of the last epoch, linear in between (paper: 10 and 0.1).
    """

    epochs: int = 250
    tau_max: float = 10.0
    tau_min: float = 0.1

    single_path = stochastic = True

    def __post_init__(self) -> None:
        super().__post_init__()
        number_in("strategy.tau_max", self.tau_max, 0.0, math.inf, above=True)
        number_in("strategy.tau_min", self.tau_min, 0.0, self.tau_max, above=True)

    @property
    def tau(self) -> float:
        """Temperature of the current epoch."""
        progress = max(0, self.epoch - 1) / max(1, self.epochs - 1)
        return self.tau_max + (self.tau_min - self.tau_max) * progress

    def probs(self, rng: torch.Generator) -> Mapping[str, Tensor]:
        """A one-hot sample of each edge, whose gradient is that of the tempered softmax (eq. 4 and 5)."""
        return {name: self._sampled(alpha, rng) for name, alpha in self.parameters.items()}

    def _sampled(self, alpha: Tensor, rng: torch.Generator) -> Tensor:
        uniform = torch.rand(alpha.shape, generator=rng).clamp_min(MIN_UNIFORM)
        gumbel = -torch.log(-torch.log(uniform).clamp_max(-MIN_UNIFORM)).to(alpha.device)
        soft = ((alpha.log_softmax(-1) + gumbel) / self.tau).softmax(-1)
        chosen = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
        # exactly 0 and 1, unlike `chosen + soft - soft`, whose rounding errors would make every operation run
        return chosen * (1.0 + (soft - soft.detach()))
