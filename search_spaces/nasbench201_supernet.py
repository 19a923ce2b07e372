"""The supernet of NAS-Bench-201: all operations on all edges, weighted by probabilities (DARTS eq. 2).

Computes the plain network's numbers up to rounding with less work (`search_spaces/mixed.py`): `none` is left out, a
state is rectified and pooled once, the convolutions of one kernel that leave a state are one convolution, and
operations of probability zero are not run.

Differs from the benchmark's code (https://github.com/D-X-Y/AutoDL-Projects): the normalisations of the residual blocks
have no parameters here, as those of the cells; theirs have a scale and a shift. Those of the stem and before the
classifier have them in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import Task
from search_spaces.cells import edge_name
from search_spaces.mixed import (
    accumulate_weighted,
    channels_last,
    check_divisible,
    runs,
    shuffle_channels,
    weighted_edges,
    weighted_norm,
)
from search_spaces.nasbench201_network import Skeleton, operation
from search_spaces.nasbench201_topology import CELL, CONVOLUTIONS, EDGES, NODES, OPERATIONS
from search_spaces.operations import Norm

ROWS = {edge: row for row, edge in enumerate(EDGES)}


class MixedCell(nn.Module):
    """forward(x: (B, channels, H, W), probs, edges, run) -> the shape of x.

    Args:
        channels: Channels of every node.
        norm: Constructs the normalisations.
        partial: K of PC-DARTS: one in K channels goes through the operations.
    """

    def __init__(self, channels: int, norm: Norm, partial: int = 1) -> None:
        super().__init__()
        self.partial = partial
        self.edges = nn.ModuleDict()
        for source, target in EDGES:
            for value in CONVOLUTIONS:
                module = operation(OPERATIONS[value], channels // partial, norm)
                assert module is not None
                self.edges[edge_name(source, target, OPERATIONS[value])] = module

    def forward(self, x: Tensor, probs: Tensor, edges: Tensor | None, run: Sequence[Sequence[bool]]) -> Tensor:
        """The cell.

        Args:
            probs: Probabilities (6, 5), weights of the edges included.
            edges: Weights (6,) of the edges; None: all 1.
            run: Flags of the operations to run.
        """
        states = [x]
        totals: list[Tensor | None] = [None] * NODES
        bypassed: list[Tensor | None] = [None] * NODES
        for source in range(NODES - 1):
            state = states[source]
            targets = range(source + 1, NODES)
            if self.partial > 1:
                width = state.shape[1] // self.partial
                rest = state[:, width:]
                for target in targets:
                    share = rest.new_ones(()) if edges is None else edges[ROWS[source, target]]
                    bypassed[target] = accumulate_weighted(bypassed[target], rest, share)
                state = channels_last(state[:, :width])
            self._fan_out(state, source, probs, run, totals)
            states.append(self._node(totals[source + 1], bypassed[source + 1], state))
        return states[-1]

    def _fan_out(
        self,
        state: Tensor,
        source: int,
        probs: Tensor,
        run: Sequence[Sequence[bool]],
        totals: list[Tensor | None],
    ) -> None:
        """Add the outputs of a state's edges to the sums of the nodes that they lead to."""
        rectified: Tensor | None = None
        for value, name in enumerate(OPERATIONS):
            reached = [target for target in range(source + 1, NODES) if run[ROWS[source, target]][value]]
            if name == "none" or not reached:
                continue
            weights = torch.stack([probs[ROWS[source, target], value] for target in reached])
            if value in CONVOLUTIONS:
                rectified = F.relu(state) if rectified is None else rectified
                outputs = self._convolved(rectified, weights, [edge_name(source, t, name) for t in reached])
                for target, output in zip(reached, outputs, strict=True):
                    # a slice of a wider tensor must not be added to in place
                    total = totals[target]
                    totals[target] = output.clone() if total is None else total.add_(output)
                continue
            shared = state if name == "skip_connect" else F.avg_pool2d(state, 3, 1, 1, count_include_pad=False)
            for target, weight in zip(reached, weights.unbind(0), strict=True):
                totals[target] = accumulate_weighted(totals[target], shared, weight)

    def _convolved(self, rectified: Tensor, weights: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        kernels = [self.edges[name][1].weight for name in names]  # type: ignore[index]
        kernel = kernels[0] if len(kernels) == 1 else torch.cat(kernels)
        wide = F.conv2d(rectified, kernel, padding=kernel.shape[-1] // 2)
        return torch.split(weighted_norm(wide, weights), rectified.shape[1], 1)

    def _node(self, total: Tensor | None, bypassed: Tensor | None, like: Tensor) -> Tensor:
        """The sum of a node's edges; zeros if no operation leads to it."""
        total = torch.zeros_like(like) if total is None else total
        return total if bypassed is None else shuffle_channels(torch.cat((total, bypassed), 1), self.partial)


class Supernet(Skeleton):
    """forward(images: (B, task.channels, H, W), probs) -> logits (B, task.classes).

    `probs` has (6, 5) probabilities for `cell`, and may have weights (6,) of the edges for `cell_edges`. Names of
    parameters are those of `build(…, operations="search")`.
    """

    def __init__(self, task: Task, channels: int, cells: int, partial_channels: int = 1) -> None:
        check_divisible(channels, partial_channels)
        super().__init__(task, channels, cells, partial(MixedCell, partial=partial_channels), "search")

    def forward(self, images: Tensor, probs: Mapping[str, Tensor], run_all_operations: bool = False) -> Tensor:
        run = runs(probs, run_all_operations=run_all_operations)[CELL]
        mixed, edges = weighted_edges(probs, CELL), probs.get(f"{CELL}_edges")
        x: Tensor = self.stem(images)
        for block in self.body:
            x = block(x, mixed, edges, run) if isinstance(block, MixedCell) else block(x)
        return self.logits(x)
