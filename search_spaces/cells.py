"""Networks of a normal and a reduction cell, as DARTS, NASNet and AmoebaNet build them for small images.

Liu, Simonyan & Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, https://arxiv.org/abs/1806.09055, section
3 and its published code; Zoph, Vasudevan, Shlens & Le, CVPR 2018, https://arxiv.org/abs/1707.07012, for the auxiliary
classifier and the scheduled drop-path.

Differs from the published networks: images of any size are accepted. On maps of 8x8 pixels, as for images of 32x32
pixels, the auxiliary classifier is the published one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import Task
from nas.space.naming import named
from nas.space.network import SupportsAuxiliaryHead, SupportsDropPath
from nas.validation import true_or_false, whole_number
from search_spaces.genotype import Genotype
from search_spaces.operations import FactorizedReduce, Norm, ReLUConvBN, batch_statistics, cell_operation

STEM = 3
"""Channels of the stem, as a multiple of the channels of the first cells."""

Operations: TypeAlias = Literal["final", "search"]


SIZES = ("channels", "cells", "auxiliary")
"""Sizes that a trainer may set."""
SMALL_SIZES = MappingProxyType({"channels": 8, "cells": 5, "auxiliary": False})
"""A network for a quick look: a normal cell before, between and after the reductions."""


def check_sizes(key: str, sizes: Mapping[str, Any]) -> None:
    """Raise `UsageError` naming the setting in `key` unless a network of these sizes can be built."""
    whole_number(f"{key}.channels", sizes["channels"], least=2)
    # with fewer than three there is no normal cell, and half of every architecture would go unused
    whole_number(f"{key}.cells", sizes["cells"], least=3, most=1000)
    true_or_false(f"{key}.auxiliary", sizes["auxiliary"])


def reductions(cells: int) -> tuple[int, int]:
    """Positions of the two reduction cells, from 0."""
    return cells // 3, 2 * cells // 3


def edge_name(source: int, node: int, operation: str) -> str:
    """Name of an edge's module, the same in a final network and in a supernet."""
    return f"{source}_{node}_{operation}"


def preprocess(channels: int, out_channels: int, *, halve: bool, norm: Norm) -> FactorizedReduce | ReLUConvBN:
    """Bring an input of a cell to its number of channels, and to half its size after a reduction."""
    return FactorizedReduce(channels, out_channels, norm) if halve else ReLUConvBN(channels, out_channels, 1, norm=norm)


class Cell(nn.Module):
    """forward(before, last) -> the concatenated nodes.

    Args:
        edges, concat: Edges and concatenated states of the genotype.
        before, last: Channels of the outputs of the cell before last and of the last cell.
        channels: Channels of every node.
        reduction: Halve the size of the images.
        after_reduction: Whether the last cell halved it, so that the output of the one before is larger.
        norm: Constructs the normalisations.
        search: Compute the operations as in a supernet, and without drop-path.
    """

    def __init__(
        self,
        edges: Sequence[tuple[str, int]],
        concat: Sequence[int],
        *,
        before: int,
        last: int,
        channels: int,
        reduction: bool,
        after_reduction: bool,
        norm: Norm,
        search: bool,
    ) -> None:
        super().__init__()
        self.before = preprocess(before, channels, halve=after_reduction, norm=norm)
        self.last = preprocess(last, channels, halve=False, norm=norm)
        self.concat = tuple(concat)
        self.edges = nn.ModuleDict()
        self.steps: list[tuple[str, int]] = []  # names and sources of the edges, two for each node
        for position, (operation, source) in enumerate(edges):
            stride = 2 if reduction and source < 2 else 1
            name = edge_name(source, 2 + position // 2, operation)
            if name in self.edges:
                name += "_again"
            self.edges[name] = cell_operation(operation, channels, stride, norm, normalised_pools=search)
            self.steps.append((name, source))

    def forward(self, before: Tensor, last: Tensor, drop_path: float = 0.0) -> Tensor:
        states = [named(self.before(before), "node_0"), named(self.last(last), "node_1")]
        for start in range(0, len(self.steps), 2):
            first, second = (
                self.edge_output(name, states[source], drop_path) for name, source in self.steps[start : start + 2]
            )
            states.append(named(first + second, f"node_{len(states)}"))
        return torch.cat([states[state] for state in self.concat], 1)

    def edge_output(self, name: str, x: Tensor, drop_path: float) -> Tensor:
        operation = self.edges[name]
        output: Tensor = operation(x)
        if drop_path > 0.0 and self.training and not isinstance(operation, nn.Identity):
            # drops whole images of an edge and scales the others up (Larsson et al., ICLR 2017)
            mask = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= drop_path
            output = output * (mask / (1.0 - drop_path))
        return output


class NormalCell(Cell):
    """A cell that keeps the size of the images."""


class ReductionCell(Cell):
    """A cell that halves the size of the images."""


class AuxiliaryHead(nn.Module):
    """A second classifier, used only in training: pooled to 2x2, 1x1 convolution, 2x2 convolution, linear."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(inplace=True))
        self.wide = nn.Sequential(nn.Conv2d(128, 768, 2, bias=False), nn.BatchNorm2d(768), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = _pool_to_2x2(F.relu(x))
        logits: Tensor = self.classifier(self.wide(self.narrow(x)).flatten(1))
        return logits


def _pool_to_2x2(x: Tensor) -> Tensor:
    """Mean over two overlapping windows per side: of 5 pixels at a stride of 3 for a side of 8, as published."""
    x = F.pad(x, (0, int(x.shape[3] == 1), 0, int(x.shape[2] == 1)), mode="replicate")
    strides = [max(1, round(3 * side / 8)) for side in x.shape[2:]]
    kernels = [side - stride for side, stride in zip(x.shape[2:], strides, strict=True)]
    return F.avg_pool2d(x, kernels, strides)


class Network(nn.Module, SupportsDropPath, SupportsAuxiliaryHead):
    """forward(images: (B, task.channels, H, W)) -> logits (B, task.classes).

    With an auxiliary head, (logits, auxiliary logits) in training mode.

    Args:
        genotype: Two cells with any number of nodes, repetitions and concatenations.
        channels: Channels of the first cells' nodes; doubled by each reduction.
        cells: Number of cells, the two reductions included.
        auxiliary: Add an auxiliary head after the second reduction.
        operations: `final` as published, or `search` as a supernet computes them.
    """

    def __init__(
        self, genotype: Genotype, task: Task, *, channels: int, cells: int, auxiliary: bool, operations: Operations
    ) -> None:
        super().__init__()
        norm = nn.BatchNorm2d if operations == "final" else batch_statistics
        self.drop_path = 0.0
        """Probability that an edge is dropped in training, 0 to 1; training raises it."""
        self.stem = stem(task, channels, operations)
        self.cells = nn.ModuleList()
        before = last = STEM * channels
        after_reduction = False
        for position in range(cells):
            reduction = position in reductions(cells)
            channels *= 2 if reduction else 1
            edges, concat = (
                (genotype.reduce, genotype.reduce_concat) if reduction else (genotype.normal, genotype.normal_concat)
            )
            cell = (ReductionCell if reduction else NormalCell)(
                edges,
                concat,
                before=before,
                last=last,
                channels=channels,
                reduction=reduction,
                after_reduction=after_reduction,
                norm=norm,
                search=operations == "search",
            )
            self.cells.append(cell)
            before, last, after_reduction = last, channels * len(concat), reduction
            if position == reductions(cells)[1]:
                self.auxiliary = AuxiliaryHead(last, task.classes) if auxiliary else None
        self.classifier = nn.Linear(last, task.classes)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        before = last = self.stem(images)
        second: Tensor | None = None
        for position, cell in enumerate(self.cells):
            before, last = last, cell(before, last, self.drop_path)
            if self.auxiliary is not None and self.training and position == reductions(len(self.cells))[1]:
                second = self.auxiliary(last)
        logits: Tensor = self.classifier(last.mean((2, 3)))  # deterministic on CUDA, unlike AdaptiveAvgPool2d
        return logits if second is None else (logits, second)


def stem(task: Task, channels: int, operations: Operations) -> nn.Sequential:
    """3x3 convolution to three times the cells' channels, with a normalisation that has parameters in every network."""
    width = STEM * channels
    return nn.Sequential(
        nn.Conv2d(task.channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width, track_running_stats=operations == "final"),
    )
