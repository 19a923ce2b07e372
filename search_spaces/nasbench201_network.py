"""The network of a NAS-Bench-201 cell (Dong & Yang, ICLR 2020, section 2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from nas.core import Architecture, Task
from nas.space.naming import named
from search_spaces.cells import Operations, edge_name
from search_spaces.nasbench201_topology import EDGES, NODES, OPERATIONS
from search_spaces.operations import AvgPool3x3, Norm, ReLUConvBN, batch_statistics


def operation(name: str, channels: int, norm: Norm) -> nn.Module | None:
    """The module of an edge, (B, channels, H, W) to the same shape; None for `none`."""
    if name == "nor_conv_1x1":
        return ReLUConvBN(channels, channels, 1, norm=norm)
    if name == "nor_conv_3x3":
        return ReLUConvBN(channels, channels, 3, norm=norm)
    if name == "avg_pool_3x3":
        return AvgPool3x3()
    return nn.Identity() if name == "skip_connect" else None


class Cell(nn.Module):
    """forward(x: (B, channels, H, W)) -> the same shape. Edges of `none` do not exist."""

    def __init__(self, architecture: Architecture, channels: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.edges = nn.ModuleDict()
        self.steps: list[tuple[str, int, int]] = []
        for value, (source, target) in zip(architecture, EDGES, strict=True):
            module = operation(OPERATIONS[value], channels, norm)
            if module is not None:
                name = edge_name(source, target, OPERATIONS[value])
                self.edges[name] = module
                self.steps.append((name, source, target))

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for node in range(1, NODES):
            total: Tensor | None = None
            for name, source, target in self.steps:
                if target == node:
                    term = self.edges[name](nodes[source])
                    total = term if total is None else total + term
            # a node without inputs is zero
            nodes.append(torch.zeros_like(x) if total is None else named(total, f"node_{node}"))
        return nodes[-1]


class ResidualReduction(nn.Module):
    """Basic residual block of stride 2: (B, channels, H, W) to (B, out_channels, H / 2, W / 2)."""

    def __init__(self, channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__()
        self.first = ReLUConvBN(channels, out_channels, 3, stride=2, norm=norm)
        self.second = ReLUConvBN(out_channels, out_channels, 3, norm=norm)
        self.shortcut = nn.Sequential(
            # ceil_mode gives odd sizes the shape that the strided convolution gives them; even sizes are not affected
            nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(channels, out_channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.second(self.first(x))
        shortcut: Tensor = self.shortcut(x)
        return shortcut + residual


class Skeleton(nn.Module):
    """The part that final networks and supernets share: everything except the cells.

    Args:
        channels: Channels of the first stage.
        cells: Cells in each of the three stages.
        cell: Constructs a cell of a number of channels.
        operations: `final` as published, or `search` as a supernet computes them.
    """

    def __init__(
        self, task: Task, channels: int, cells: int, cell: Callable[[int, Norm], nn.Module], operations: Operations
    ) -> None:
        super().__init__()
        final = operations == "final"
        norm = nn.BatchNorm2d if final else batch_statistics
        self.stem = nn.Sequential(
            nn.Conv2d(task.channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels, track_running_stats=final),
        )
        self.body = nn.ModuleList()
        for stage in range(3):
            width = channels * 2**stage
            self.body.extend(cell(width, norm) for _ in range(cells))
            if stage < 2:
                self.body.append(ResidualReduction(width, 2 * width, norm))
        self.norm = nn.BatchNorm2d(4 * channels, track_running_stats=final)
        self.classifier = nn.Linear(4 * channels, task.classes)

    def logits(self, x: Tensor) -> Tensor:
        """From the output of the body."""
        x = torch.relu(self.norm(x))
        logits: Tensor = self.classifier(x.mean((2, 3)))  # deterministic on CUDA, unlike AdaptiveAvgPool2d
        return logits


class Network(Skeleton):
    """forward(images: (B, task.channels, H, W)) -> logits (B, task.classes)."""

    def __init__(
        self, architecture: Architecture, task: Task, channels: int, cells: int, operations: Operations = "final"
    ) -> None:
        super().__init__(task, channels, cells, partial(Cell, architecture), operations)

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.stem(images)
        for block in self.body:
            x = block(x)
        return self.logits(x)
