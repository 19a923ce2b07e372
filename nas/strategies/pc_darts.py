"""PC-DARTS: partial channels and weights of edges.

Xu, Xie, Zhang, Chen, Qi, Tian & Xiong, "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture
Search", ICLR 2020, https://arxiv.org/abs/1907.05737, eq. 1 and 2.

One of K channels goes through the operations of an edge and the others bypass them, which needs less memory and favours
weight-free operations less; weights of the edges, a softmax over those into a node, steady the choice of edges, which
sampled channels make noisy. Alpha is not trained in the first epochs.

The recipe of the weights is the caller's: the published code (https://github.com/yuhuixu1993/PC-DARTS) takes batches of
256 and a learning rate that falls from 0.1 to 0 by a cosine, `supernet=darts` 64 and 0.025 to 0.001.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from numpy.random import Generator
from torch import Tensor

from nas.strategies.relaxation import Relaxation
from nas.validation import whole_number


@dataclass
class PCDARTS(Relaxation):
    """First-order DARTS on a part of the channels, with learnt weights of the edges.

    Args:
        partial_channels: K, a divisor of the supernet's channels (paper: 4); 1: all of them.
    """

    alpha_lr: float = 6e-4
    warmup: int = 15
    partial_channels: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("strategy.partial_channels", self.partial_channels)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        shapes = super().shapes()
        return shapes | {f"{name}_edges": shape[:1] for name, shape in shapes.items()}

    def init(self, rng: Generator, device: torch.device) -> None:
        """Also index the edges into each node on the device: a recorded step must not copy any."""
        super().init(rng, device)
        self._groups: dict[str, tuple[list[Tensor], Tensor]] = {}
        for name, targets in self.space.targets.items():
            groups = [[row for row, end in enumerate(targets) if end == node] for node in sorted(set(targets))]
            order = torch.tensor([row for rows in groups for row in rows]).argsort()
            self._groups[name] = ([torch.tensor(rows, device=device) for rows in groups], order.to(device))

    def probs(self, rng: torch.Generator) -> Mapping[str, Tensor]:
        """Softmax over operations, and over the edges into each node."""
        probs = {}
        for name in self.space.targets:
            probs[name] = self.parameters[name].softmax(-1)
            edges = self.parameters[f"{name}_edges"]
            groups, order = self._groups[name]
            probs[f"{name}_edges"] = torch.cat([edges[rows].softmax(0) for rows in groups])[order]
        return probs

    @torch.no_grad()
    def expected(self) -> Mapping[str, Tensor]:
        """The same; a space derives edges by the product of both, as the paper does."""
        return self.probs(torch.Generator())
