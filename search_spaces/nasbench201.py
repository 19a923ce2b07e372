"""The NAS-Bench-201 cell space.

Dong & Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020,
https://arxiv.org/abs/2001.00326, section 2.

A cell is the complete graph over 4 nodes; each of its 6 edges carries one of 5 operations, each node is the sum of
its incoming edges: 15,625 cells. The skeleton is a 3x3 stem, three stages of `cells` equal cells with `channels`, 2 and
4 times `channels` filters, residual blocks of stride 2 between them, and a linear classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import combinations, pairwise, permutations, product
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import Architecture, Task
from nas.errors import UsageError
from nas.space.base import SearchSpace
from nas.space.graph import Edge, Graph
from nas.space.naming import named
from nas.validation import whole_number
from search_spaces.cells import Operations, edge_name
from search_spaces.genotype import looks_like
from search_spaces.operations import AvgPool3x3, Norm, ReLUConvBN, batch_statistics

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) in the order of the official string: by target, then by source."""
NODES = 4
CELL = "cell"
"""Name of the one set of probabilities."""
CONVOLUTIONS = {OPERATIONS.index("nor_conv_1x1"): 1, OPERATIONS.index("nor_conv_3x3"): 3}
WAYS = tuple(
    tuple(EDGES.index(step) for step in pairwise((0, *between, NODES - 1)))
    for count in range(NODES - 1)
    for between in combinations(range(1, NODES - 1), count)
)
"""The ways from a cell's input to its output, as places of their edges."""


class NASBench201(SearchSpace):
    """6 edges x 5 operations.

    Args:
        channels: filters of the first stage (benchmark: 16).
        cells: cells in each of the three stages (benchmark: 5).
    """

    choices = MappingProxyType({f"{source}->{target}": OPERATIONS for source, target in EDGES})
    network_sizes = ("channels", "cells")
    small_network = MappingProxyType({"channels": 8, "cells": 1})
    search_network = MappingProxyType({"channels": 16, "cells": 5})
    alphas = MappingProxyType({CELL: (len(EDGES), len(OPERATIONS))})
    operations = MappingProxyType({CELL: OPERATIONS})
    targets = MappingProxyType({CELL: tuple(target for _, target in EDGES)})

    def __init__(self, channels: int = 16, cells: int = 5) -> None:
        whole_number("space.channels", channels)
        whole_number("space.cells", cells)
        self.channels = channels
        self.cells = cells

    def build(
        self,
        architecture: Architecture,
        task: Task,
        network: Mapping[str, Any] | None = None,
        operations: Operations = "final",
    ) -> nn.Module:
        self.validate(architecture)
        return Network(architecture, task, **self._sizes(network or {}), operations=operations)

    def _sizes(self, network: Mapping[str, Any], key: str = "trainer.network") -> dict[str, Any]:
        sizes = {"channels": self.channels, "cells": self.cells} | self.known_sizes(network, key=key)
        for name, value in sizes.items():
            whole_number(f"{key}.{name}", value)
        return sizes

    def to_text(self, architecture: Architecture) -> str:
        """The official string, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`."""
        return _text(architecture)

    def graphs(self, architecture: Architecture) -> dict[str, Graph]:
        names = [str(node) for node in range(NODES)]
        edges = [
            Edge(names[source], names[target], OPERATIONS[value])
            for value, (source, target) in zip(architecture, EDGES, strict=True)
        ]
        return {CELL: Graph(names, edges, inputs=names[:1], outputs=names[-1:])}

    def from_text(self, text: str) -> Architecture:
        """Read the official string.

        Raises:
            UsageError: the text is not of this space.
        """
        example = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
        nodes = [node.strip().strip("|").split("|") for node in text.strip().split("+")]
        if [len(node) for node in nodes] != [1, 2, 3]:
            whose = f" but {name}" if (name := looks_like(text)) and "Genotype" in name else ""
            raise UsageError(f"arch={text!r} is not a NAS-Bench-201 string{whose}; expected 3 nodes like {example!r}")
        values = []
        for node in nodes:
            for source, edge in enumerate(node):
                operation, _, origin = edge.partition("~")
                if operation not in OPERATIONS or origin != str(source):
                    raise UsageError(
                        f"arch={text!r}: {edge!r} is not an edge of NAS-Bench-201; "
                        f"expected OPERATION~{source} with one of {', '.join(OPERATIONS)}"
                    )
                values.append(OPERATIONS.index(operation))
        return tuple(values)

    def canonical(self, architecture: Architecture) -> str:
        """Key of the function class; 5,875 over the 15,625 cells. See `canonical_form`."""
        return canonical_form(architecture)[0]

    # --- relaxation ----------------------------------------------------------------------------------------------

    def supernet(self, task: Task, network: Mapping[str, Any] | None = None, partial_channels: int = 1) -> nn.Module:
        """The network of all operations on all edges; `forward(images, probs)`.

        Args:
            partial_channels: only 1 of so many channels goes through the operations (PC-DARTS); divides `channels`.
        """
        from search_spaces.nasbench201_supernet import Supernet

        return Supernet(task, **self._sizes(network or {}, "supernet.network"), partial_channels=partial_channels)

    def relax(self, architecture: Architecture) -> dict[str, Tensor]:
        """Probabilities of an architecture: 1 for the operation of each edge."""
        self.validate(architecture)
        return {CELL: F.one_hot(torch.tensor(architecture), len(OPERATIONS)).float()}

    def derive(self, probs: Mapping[str, Tensor]) -> Architecture:
        """The likeliest cell that hands something of its input on; the first of equals.

        Differs from the benchmark's authors, who take the likeliest operation of each edge whatever comes of it: a
        normalisation behind `none` keeps a supernet from learning what `none` costs (Liu et al., section 2.4), so a
        search may favour it on every way through the cell. Where theirs is connected, the two are the same.
        """
        rows = probs[CELL].detach().cpu().double()
        likeliest = rows.argmax(1)
        if _connected(likeliest.tolist()):
            return tuple(likeliest.tolist())
        best = rows.clone()
        best[:, OPERATIONS.index("none")] = 0.0
        cells = []
        for way in WAYS:
            cell = likeliest.clone()
            for edge in way:
                cell[edge] = best[edge].argmax()
            cells.append(cell)
        chances = torch.stack([rows.gather(1, cell[:, None]).prod() for cell in cells])
        return tuple(cells[int(chances.argmax())].tolist()) if chances.max() > 0 else tuple(likeliest.tolist())


def _connected(architecture: Sequence[int]) -> bool:
    """Whether a cell hands something of its input on."""
    return any(all(OPERATIONS[architecture[edge]] != "none" for edge in way) for way in WAYS)


@lru_cache(maxsize=5**6)
def _text(architecture: Architecture) -> str:
    edges = [f"{OPERATIONS[value]}~{source}" for value, (source, _) in zip(architecture, EDGES, strict=True)]
    return "+".join(f"|{'|'.join(edges[start:stop])}|" for start, stop in ((0, 1), (1, 3), (3, 6)))


# --- which cells are equal ---------------------------------------------------------------------------------------

Term: TypeAlias = tuple[Any, ...]
"""An addend: ("x",) the cell's input, ("pool", sum) or ("conv", kernel, edge, sum). A sum is a sorted tuple of them."""


@lru_cache(maxsize=5**6)
def canonical_form(architecture: Architecture) -> tuple[str, tuple[int, ...]]:
    """The cell as a formula in which only provable equalities are used.

    Skip connections are contracted, sums flattened and unordered, `none` and a pooling of nothing removed. A
    convolution of a dead input is kept: its normalisation still adds a learnable constant. A convolution that is used
    twice is told from two convolutions of the same input, since those have weights of their own. That pooling is linear
    is not used, so some equal cells keep keys of their own.

    Returns:
        The key, and the edges of its convolutions in the order of its numbering: two cells with equal keys compute the
        same function when the convolutions at equal places carry the same weights.
    """
    sums: list[tuple[Term, ...]] = [(("x",),), (), (), ()]
    plain: list[tuple[str, ...]] = [("x",), (), (), ()]  # the addends as text, convolutions without names
    shapes: list[dict[int, str]] = [{}, {}, {}, {}]  # edge -> text of each convolution that a node depends on
    for edge, (value, (source, target)) in enumerate(zip(architecture, EDGES, strict=True)):
        inputs = sums[source]
        if OPERATIONS[value] == "skip_connect":
            sums[target] += inputs
            plain[target] += plain[source]
        elif value in CONVOLUTIONS:
            shape = f"conv{CONVOLUTIONS[value]}#({'+'.join(sorted(plain[source])) or '0'})"
            sums[target] += (("conv", CONVOLUTIONS[value], edge, inputs),)
            plain[target] += (shape,)
            shapes[target][edge] = shape
        elif OPERATIONS[value] == "avg_pool_3x3" and inputs:
            sums[target] += (("pool", inputs),)
            plain[target] += (f"pool({'+'.join(sorted(plain[source]))})",)
        else:
            continue
        shapes[target] |= shapes[source]
    formula = sums[3]

    # Which edge carries a convolution does not matter, only which places share one. Convolutions of unlike shape
    # cannot be confused, so only those of equal shape are renamed among each other, and the least text is the key.
    groups: dict[str, list[int]] = {}
    for edge, shape in sorted(shapes[3].items(), key=lambda item: (item[1], item[0])):
        groups.setdefault(shape, []).append(edge)
    orders = product(*(permutations(edges) for edges in groups.values()))
    candidates = (tuple(edge for group in order for edge in group) for order in orders)
    return min(
        (_write(formula, {edge: str(number) for number, edge in enumerate(edges)}), edges) for edges in candidates
    )


def _write(formula: tuple[Term, ...], names: Mapping[int, str]) -> str:
    """The formula as text, its addends sorted."""
    return "+".join(sorted(_write_term(term, names) for term in formula)) or "0"


def _write_term(term: Term, names: Mapping[int, str]) -> str:
    if term[0] == "x":
        return "x"
    if term[0] == "pool":
        return f"pool({_write(term[1], names)})"
    _, kernel, edge, inputs = term
    return f"conv{kernel}#{names[edge]}({_write(inputs, names)})"


def published_key(architecture: Architecture) -> str:
    """The paper's own rule for unique topologies; 6,466 over the 15,625 cells.

    An operation on a dead input is dead, dead addends are kept, skip connections are contracted, and convolutions have
    no identity. It merges cells that compute different functions (a convolution used twice and two convolutions), and
    keeps some equal ones apart (a contracted sum is not sorted anew, so the count depends on how the signs sort: dead,
    composed, input). Nothing here relies on it.
    """
    nodes = ["x"]
    for target in range(1, 4):
        addends = []
        for value, (source, end) in zip(architecture, EDGES, strict=True):
            if end != target:
                continue
            if OPERATIONS[value] == "none" or nodes[source] == "#":
                addends.append("#")
            elif OPERATIONS[value] == "skip_connect":
                addends.append(nodes[source])
            else:
                addends.append(f"({nodes[source]})@{OPERATIONS[value]}")
        nodes.append("+".join(sorted(addends)))
    return nodes[3]


# --- the network -------------------------------------------------------------------------------------------------


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
    """Basic residual block of stride 2: (B, C, H, W) to (B, 2 C, H / 2, W / 2)."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.first = ReLUConvBN(channels, 2 * channels, 3, stride=2, norm=norm)
        self.second = ReLUConvBN(2 * channels, 2 * channels, 3, norm=norm)
        self.shortcut = nn.Sequential(
            # ceil_mode lets odd sizes through as the strided convolution does; at even sizes it changes nothing
            nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(channels, 2 * channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.second(self.first(x))
        shortcut: Tensor = self.shortcut(x)
        return shortcut + residual


class Skeleton(nn.Module):
    """What final networks and supernets have in common: all but the cells.

    Args:
        channels: of the first stage.
        cells: in each of the three stages.
        cell: makes a cell of so many channels.
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
                self.body.append(ResidualReduction(width, norm))
        self.norm = nn.BatchNorm2d(4 * channels, track_running_stats=final)
        self.classifier = nn.Linear(4 * channels, task.classes)

    def logits(self, x: Tensor) -> Tensor:
        """From the output of the body."""
        x = torch.relu(self.norm(x))
        logits: Tensor = self.classifier(x.mean((2, 3)))  # unlike AdaptiveAvgPool2d deterministic on CUDA
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
