"""The network of a NAS-Bench-101 cell (Ying et al., ICML 2019, sections 2.1 and 2.2, and its published code).

Differs from the published code (https://github.com/google-research/nasbench): the initial weights and the momentum of
the normalisations are torch's. The published momentum of 0.997 suits its 108 epochs; after a short training the running
statistics would still be those of the start.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import Task
from nas.space.naming import named
from search_spaces.operations import MaxPool3x3


def vertex_channels(inputs: Sequence[Sequence[int]], channels: int) -> list[int]:
    """Channels of the vertices 1, 2 … of a cell, the output included.

    The vertices that the output concatenates share its channels evenly, the first ones taking one more each if there is
    a remainder. Each other vertex has as many as the widest of those that it feeds.

    Args:
        inputs: Sources of the vertices 1, 2 …, 0 the input of the cell, the output last.
        channels: Channels of the output, at least as many as the vertices that it concatenates.
    """
    output = len(inputs)
    concatenated = [vertex for vertex in inputs[-1] if vertex != 0]
    widths = [0] * output + [channels]
    for position, vertex in enumerate(concatenated):
        widths[vertex] = channels // len(concatenated) + (position < channels % len(concatenated))
    for vertex in range(output - 1, 0, -1):
        if vertex not in concatenated:
            widths[vertex] = max(widths[target] for target in range(vertex + 1, output) if vertex in inputs[target - 1])
    return widths[1:]


class ConvBNReLU(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU; `same` padding."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class Cell(nn.Module):
    """forward(x: (B, in_channels, H, W)) -> (B, channels, H, W).

    A vertex applies its operation to the sum of its inputs. What comes from the input of the cell is projected by a 1x1
    convolution, and a wider vertex loses its last channel. The output concatenates its vertices, and adds the projected
    input if that feeds it.

    Args:
        operations: Name of the operation of each vertex between input and output.
        inputs: Sources of the vertices 1, 2 …, 0 the input of the cell, the output last.
    """

    def __init__(
        self, operations: Sequence[str], inputs: Sequence[Sequence[int]], in_channels: int, channels: int
    ) -> None:
        super().__init__()
        self.inputs = [tuple(sources) for sources in inputs]
        self.widths = vertex_channels(inputs, channels)
        self.vertices = nn.ModuleList(
            MaxPool3x3() if name == "maxpool3x3" else ConvBNReLU(width, width, 3 if name == "conv3x3-bn-relu" else 1)
            for name, width in zip(operations, self.widths, strict=False)  # the output has no operation
        )
        self.projections = nn.ModuleDict(
            {
                str(vertex): ConvBNReLU(in_channels, width, 1)
                for vertex, (sources, width) in enumerate(zip(inputs, self.widths, strict=True), start=1)
                if 0 in sources
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        states = [x]
        for vertex, operation in enumerate(self.vertices, start=1):
            width = self.widths[vertex - 1]
            total: Tensor | None = None
            for source in self.inputs[vertex - 1]:
                term = self.projections[str(vertex)](x) if source == 0 else states[source][:, :width]
                total = term if total is None else total + term
            states.append(named(operation(total), f"vertex_{vertex}"))
        output = len(self.inputs)
        parts = [states[source] for source in self.inputs[-1] if source != 0]
        if not parts:
            projected: Tensor = self.projections[str(output)](x)
            return projected
        joined = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return joined + self.projections[str(output)](x) if 0 in self.inputs[-1] else joined


class Downsampling(nn.Module):
    """2x2 maximum of stride 2; the last row and column of an odd size are kept, as `same` padding does."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2, 2, ceil_mode=True)


class Network(nn.Module):
    """forward(images: (B, task.channels, H, W)) -> logits (B, task.classes).

    Args:
        operations, inputs: The cell; see `Cell`.
        channels: Filters of the stem and of the first stack; each later stack doubles them.
        cells: Cells in each of the three stacks.
    """

    def __init__(
        self, operations: Sequence[str], inputs: Sequence[Sequence[int]], task: Task, channels: int, cells: int
    ) -> None:
        super().__init__()
        self.stem = ConvBNReLU(task.channels, channels, 3)
        self.body = nn.ModuleList()
        width = channels
        for stack in range(3):
            if stack > 0:
                self.body.append(Downsampling())
            for _ in range(cells):
                self.body.append(Cell(operations, inputs, width, channels * 2**stack))
                width = channels * 2**stack
        self.classifier = nn.Linear(width, task.classes)

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.stem(images)
        for block in self.body:
            x = block(x)
        logits: Tensor = self.classifier(x.mean((2, 3)))  # deterministic on CUDA, unlike AdaptiveAvgPool2d
        return logits
