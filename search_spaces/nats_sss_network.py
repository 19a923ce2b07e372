"""The network of the NATS-Bench size space (Dong et al., TPAMI 2021, section 3.2, and its published code)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.core import Task
from nas.space.naming import named
from search_spaces.cells import Operations, edge_name
from search_spaces.nasbench201_network import ResidualReduction
from search_spaces.nats_sss_topology import CONVOLUTIONS
from search_spaces.operations import Norm, ReLUConvBN, batch_statistics


class Cell(nn.Module):
    """The best cell of the topology space, from in_channels to channels.

    forward(x: (B, in_channels, H, W)) -> (B, channels, H, W).

    Args:
        project: Give the skip connection a 1x1 convolution and a normalisation; needed if the channels differ.
    """

    def __init__(self, in_channels: int, channels: int, norm: Norm, *, project: bool) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {
                edge_name(source, target, "nor_conv_3x3"): ReLUConvBN(
                    channels if source else in_channels, channels, 3, norm=norm
                )
                for source, target in CONVOLUTIONS
            }
        )
        self.projection = (
            nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), norm(channels)) if project else None
        )

    def edge(self, source: int, target: int) -> nn.Module:
        """The convolution between two nodes."""
        return self.edges[edge_name(source, target, "nor_conv_3x3")]

    def forward(self, x: Tensor) -> Tensor:
        first = named(self.edge(0, 1)(x), "node_1")
        second = named(self.edge(0, 2)(x) + self.edge(1, 2)(first), "node_2")
        skipped = x if self.projection is None else self.projection(x)
        total: Tensor = skipped + self.edge(1, 3)(first) + self.edge(2, 3)(second)
        return named(total, "node_3")


class Skeleton(nn.Module):
    """The layers of a network, of which a supernet has the widest.

    Args:
        channels: Channels of the stem and the first cell, the first block, the second cell, the second block, the third
            cell.
        operations: `final` as published, or `search` as a supernet computes them.
        project: Whether the skip connections of the second and the third cell have a projection; None: those whose
            channels differ.
    """

    def __init__(
        self, task: Task, channels: Sequence[int], operations: Operations, *, project: bool | None = None
    ) -> None:
        super().__init__()
        final = operations == "final"
        norm: Norm = nn.BatchNorm2d if final else batch_statistics
        stem, block_1, cell_2, block_2, cell_3 = channels
        self.stem = nn.Sequential(
            nn.Conv2d(task.channels, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem, track_running_stats=final)
        )
        self.body = nn.ModuleList(
            (
                Cell(stem, stem, norm, project=False),
                ResidualReduction(stem, block_1, norm),
                Cell(block_1, cell_2, norm, project=block_1 != cell_2 if project is None else project),
                ResidualReduction(cell_2, block_2, norm),
                Cell(block_2, cell_3, norm, project=block_2 != cell_3 if project is None else project),
            )
        )
        self.norm = nn.BatchNorm2d(cell_3, track_running_stats=final)
        self.classifier = nn.Linear(cell_3, task.classes)


class Network(Skeleton):
    """forward(images: (B, task.channels, H, W)) -> logits (B, task.classes)."""

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.stem(images)
        for block in self.body:
            x = block(x)
        x = torch.relu(self.norm(x))
        logits: Tensor = self.classifier(x.mean((2, 3)))  # deterministic on CUDA, unlike AdaptiveAvgPool2d
        return logits
