"""DrNAS: probabilities drawn from a learnt Dirichlet distribution.

Chen, Wang, Cheng, Tang & Hsieh, "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021,
https://arxiv.org/abs/2006.10355, eq. 3 and 4.

The concentration is elu(alpha) + 1, gradients go through the samples, and the distance of the concentration from 1 is
penalised, by its Euclidean norm for each kind of cell; the published code decays alpha instead. Differs from the
paper: the progressive shrinking of the space (its section 3.4) is not part of this; partial channels may be set.

Differs from the published code (https://github.com/xiangning-chen/DrNAS), which ranks by the softmax of alpha and has
no `none` in the DARTS space: here the mean of the distribution ranks, and `none`, if the space has it, takes its share
of each edge. The order of an edge's operations is the same, since both rise with alpha; which two edges a node of the
DARTS space keeps may differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Dirichlet

from nas.strategies.relaxation import Relaxation
from nas.validation import number_in, whole_number

MIN_CONCENTRATION = 1e-3
"""Below it, samples underflow."""


@dataclass
class DrNAS(Relaxation):
    """Learn the concentrations of a Dirichlet distribution over the operations of each edge.

    Args:
        anchor_weight: Weight λ of the distance to the flat distribution (paper: 1e-3).
        partial_channels: K of PC-DARTS; 1: all channels.
    """

    alpha_weight_decay: float = 0.0
    anchor_weight: float = 1e-3
    partial_channels: int = 1

    stochastic = True

    def __post_init__(self) -> None:
        super().__post_init__()
        number_in("strategy.anchor_weight", self.anchor_weight, 0.0, math.inf)
        whole_number("strategy.partial_channels", self.partial_channels)

    def concentrations(self) -> dict[str, Tensor]:
        """β of each edge's Dirichlet distribution, above 0."""
        return {name: (F.elu(alpha) + 1.0).clamp_min(MIN_CONCENTRATION) for name, alpha in self.parameters.items()}

    def probs(self, rng: torch.Generator) -> Mapping[str, Tensor]:
        """A sample of each edge, differentiable in alpha."""
        seed = int(torch.randint(2**62, (), generator=rng))
        with torch.random.fork_rng(devices=()):  # the distribution draws only from torch's global generator
            torch.default_generator.manual_seed(seed)  # of the CPU; torch.manual_seed seeds every device
            return {
                name: Dirichlet(beta.cpu()).rsample().to(beta.device) for name, beta in self.concentrations().items()
            }

    @torch.no_grad()
    def expected(self) -> Mapping[str, Tensor]:
        """Means of the distributions."""
        return {name: beta / beta.sum(-1, keepdim=True) for name, beta in self.concentrations().items()}

    def penalty(self) -> Tensor | float:
        """λ ‖β - 1‖₂ over all edges of a kind of cell, summed over the kinds (eq. 4)."""
        distances = [torch.linalg.vector_norm(beta - 1.0) for beta in self.concentrations().values()]
        return self.anchor_weight * torch.stack(distances).sum()
