"""The supernet of the DARTS space: all operations on all edges, weighted by probabilities.

Liu, Simonyan & Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, https://arxiv.org/abs/1806.09055, eq. 2,
and Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR 2020,
https://arxiv.org/abs/1907.05737, eq. 1 and 2, for partial channels and weights of edges.

Computes the plain network's numbers up to rounding with less work (`search_spaces/mixed.py`): `none` is left out, a
state is rectified and pooled once for all edges that leave it, dilated convolutions run on its four phases, which are
computed once and joined once per node, and operations of probability zero are not run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import Task
from search_spaces import depthwise
from search_spaces.cells import STEM, edge_name, preprocess, reductions, stem
from search_spaces.darts_topology import EDGES, NODES, SUPERNET_OPERATIONS
from search_spaces.mixed import (
    accumulate,
    accumulate_weighted,
    channels_last,
    check_divisible,
    runs,
    shuffle_channels,
    weighted_edges,
    weighted_norm,
)
from search_spaces.operations import DilatedConv, FactorizedReduce, ReLUConvBN, batch_statistics, cell_operation

ROWS = {edge: row for row, edge in enumerate(EDGES)}
SOURCES = 1 + NODES
"""States that edges leave: the two inputs and all nodes but the last."""


class Fan:
    """A state and the values that its outgoing edges read, each computed when it is first needed.

    Args:
        state: (B, C, H, W), channels-last.
        stride: Stride of the edges.
    """

    def __init__(self, state: Tensor, stride: int) -> None:
        self.state = state
        self.stride = stride

    @cached_property
    def rectified(self) -> Tensor:
        return F.relu(self.state)

    @cached_property
    def phased(self) -> bool:
        """Whether dilated convolutions run on phases here."""
        return self.stride == 1 and depthwise.handled(self.state) and depthwise.even(self.state)

    @cached_property
    def phases(self) -> Tensor:
        return depthwise.phases(self.rectified)

    @cached_property
    def max_pool_3x3(self) -> Tensor:
        return _normalised(F.max_pool2d(self.state, 3, self.stride, padding=1))

    @cached_property
    def avg_pool_3x3(self) -> Tensor:
        return _normalised(F.avg_pool2d(self.state, 3, self.stride, padding=1, count_include_pad=False))


def _normalised(x: Tensor) -> Tensor:
    return weighted_norm(x, x.new_ones(1))


class MixedCell(nn.Module):
    """forward(before, last, probs, run) -> the nodes, and their rectified values.

    Args:
        before, last: Channels of the outputs of the cell before last and of the last cell.
        channels: Channels of every node.
        reduction, after_reduction: See `cells.Cell`.
        partial: K of PC-DARTS: one in K channels goes through the operations.
    """

    def __init__(
        self, *, before: int, last: int, channels: int, reduction: bool, after_reduction: bool, partial: int
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.partial = partial
        self.before = preprocess(before, channels, halve=after_reduction, norm=batch_statistics)
        self.last = preprocess(last, channels, halve=False, norm=batch_statistics)
        self.edges = nn.ModuleDict()
        for source, target in EDGES:
            stride = self._stride(source)
            for name in SUPERNET_OPERATIONS[1:]:
                module = cell_operation(name, channels // partial, stride, batch_statistics, normalised_pools=True)
                if any(True for _ in module.parameters()):
                    self.edges[edge_name(source, target, name)] = module

    def _stride(self, source: int) -> int:
        return 2 if self.reduction and source < 2 else 1

    def forward(
        self, before: Tensor, last: Tensor, probs: Tensor, edges: Tensor | None, run: Sequence[Sequence[bool]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The cell on rectified inputs.

        Args:
            before, last: Rectified outputs of the two cells before this one.
            probs: Probabilities (14, 8), weights of the edges included.
            edges: Weights (14,) of the edges; None: all 1.
            run: Flags of the operations to run.
        """
        weights = [row.unbind(0) for row in probs[..., None].unbind(0)]
        states = [_preprocessed(self.before, before), _preprocessed(self.last, last)]
        rectified: list[Tensor] = []
        totals: list[Tensor | None] = [None] * NODES
        phased: list[Tensor | None] = [None] * NODES
        bypassed: list[Tensor | None] = [None] * NODES
        for source in range(SOURCES):
            if source >= 2:
                states.append(self._node(totals[source - 2], phased[source - 2], bypassed[source - 2], states[1]))
            state, stride = states[source], self._stride(source)
            width = state.shape[1] // self.partial
            fan = Fan(state if self.partial == 1 else channels_last(state[:, :width]), stride)
            rest = None
            if self.partial > 1:
                rest = state[:, width:]
                rest = F.max_pool2d(rest, 2, 2, ceil_mode=True) if stride == 2 else rest
            for node in range(max(0, source - 1), NODES):
                row = ROWS[source, 2 + node]
                for column, name in enumerate(SUPERNET_OPERATIONS):
                    if name == "none" or not run[row][column]:
                        continue
                    weight = weights[row][column]
                    module = self.edges[key] if (key := edge_name(source, 2 + node, name)) in self.edges else None
                    if isinstance(module, DilatedConv) and fan.phased:
                        output = module.pointwise(depthwise.same(fan.phases, module.depthwise.weight))
                        phased[node] = accumulate(phased[node], weighted_norm(output, weight))
                    elif module is not None:
                        output = module.rectified(fan.rectified)  # type: ignore[operator]
                        totals[node] = accumulate(totals[node], weighted_norm(output, weight))
                    else:
                        output = fan.state if name == "skip_connect" else getattr(fan, name)
                        totals[node] = accumulate_weighted(totals[node], output, weight)
                if rest is not None:
                    share = rest.new_ones(()) if edges is None else edges[row]
                    bypassed[node] = accumulate_weighted(bypassed[node], rest, share)
            if source >= 2:
                rectified.append(fan.rectified if self.partial == 1 else F.relu(state))
        nodes = [
            *states[2:],
            self._node(totals[-1], phased[-1], bypassed[-1], states[1]),
        ]
        return nodes, [*rectified, F.relu(nodes[-1])]

    def _node(self, total: Tensor | None, phased: Tensor | None, bypassed: Tensor | None, like: Tensor) -> Tensor:
        """The sum of a node's edges; zeros if no operation leads to it."""
        if phased is not None:
            total = accumulate(total, depthwise.from_phases(phased))
        if total is None:
            batch, channels, height, width = like.shape
            factor = 2 if self.reduction else 1
            size = (batch, channels // self.partial, -(-height // factor), -(-width // factor))
            total = channels_last(like.new_zeros(size))
        if bypassed is None:
            return total
        return shuffle_channels(torch.cat((total, bypassed), 1), self.partial)


def _preprocessed(module: FactorizedReduce | ReLUConvBN, rectified: Tensor) -> Tensor:
    normalised: Tensor = module.norm(module.rectified(rectified))
    return normalised


class Supernet(nn.Module):
    """forward(images: (B, task.channels, H, W), probs) -> logits (B, task.classes).

    `probs` has (14, 8) probabilities for `normal` and `reduce`, and may have weights (14,) of the edges for
    `normal_edges` and `reduce_edges`. Names of parameters are those of `build(…, operations="search")`.
    """

    def __init__(self, task: Task, channels: int, cells: int, partial_channels: int = 1) -> None:
        super().__init__()
        check_divisible(channels, partial_channels)
        self.stem = stem(task, channels, "search")
        self.cells = nn.ModuleList()
        before = last = STEM * channels
        after_reduction = False
        for position in range(cells):
            reduction = position in reductions(cells)
            channels *= 2 if reduction else 1
            self.cells.append(
                MixedCell(
                    before=before,
                    last=last,
                    channels=channels,
                    reduction=reduction,
                    after_reduction=after_reduction,
                    partial=partial_channels,
                )
            )
            before, last, after_reduction = last, NODES * channels, reduction
        self.classifier = nn.Linear(last, task.classes)

    def forward(self, images: Tensor, probs: Mapping[str, Tensor], run_all_operations: bool = False) -> Tensor:
        run = runs(probs, run_all_operations=run_all_operations)
        mixed = {name: weighted_edges(probs, name) for name in ("normal", "reduce")}
        before = last = F.relu(self.stem(images))
        nodes: list[Tensor] = []
        for cell in self.cells:
            name = "reduce" if cell.reduction else "normal"
            nodes, rectified = cell(before, last, mixed[name], probs.get(f"{name}_edges"), run[name])
            before, last = last, torch.cat(rectified, 1)
        logits: Tensor = self.classifier(torch.cat([node.mean((2, 3)) for node in nodes], 1))
        return logits
