"""A small enumerable space with a supernet, in which one operation of each edge is known to be the best."""

from __future__ import annotations

import torch
from torch import nn

from nas.core import Task
from nas.data.base import DataSet
from nas.data.images import Images
from nas.supernets.base import SupernetSpace

EDGES, OPERATIONS = 2, ("zero", "keep", "flip", "blur")


class Operation(nn.Module):
    """What an edge does to the four pixels of an image; only one of them preserves what distinguishes the classes.

    Args:
        name: Name of the operation.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x):
        if self.name == "zero":
            return x * 0
        if self.name == "flip":
            return x.flip(3).abs()
        return x.mean((2, 3), keepdim=True).expand_as(x) if self.name == "blur" else x


class Planted(SupernetSpace):
    """Two edges in a row; the class is the sign of a difference of pixels, which only `keep` lets through.

    Args:
        planted: Index of the best operation, for each edge: the planted architecture.
    """

    supports_partial_channels = True

    def __init__(self, planted: tuple[int, ...] = (1, 1)) -> None:
        self.planted = planted
        others = [name for name in OPERATIONS if name != "keep"]
        self.names = tuple((*others[:p], "keep", *others[p:]) for p in planted)
        self.choices = {f"e{edge}": names for edge, names in enumerate(self.names)}
        self.alpha_shapes = {f"e{edge}": (1, len(OPERATIONS)) for edge in range(EDGES)}
        self.operations = {f"e{edge}": names for edge, names in enumerate(self.names)}
        self.targets = {f"e{edge}": (edge + 1,) for edge in range(EDGES)}

    def build(self, architecture, task, network=None, operations="final"):
        probs = self.relax(architecture)
        return Fixed(self.supernet(task, network), probs)

    def supernet(self, task, network=None, partial_channels=1):
        return Supernet(self.names, task)

    def relax(self, architecture):
        return {f"e{edge}": torch.eye(len(OPERATIONS))[[value]] for edge, value in enumerate(architecture)}

    def derive(self, probs):
        return tuple(int(probs[f"e{edge}"].argmax()) for edge in range(EDGES))


class Supernet(nn.Module):
    def __init__(self, names, task):
        super().__init__()
        self.edges = nn.ModuleList(nn.ModuleList(map(Operation, row)) for row in names)
        self.classifier = nn.Linear(task.channels * task.height * task.width, task.classes)

    def forward(self, x, probs, run_all_operations=False):
        for edge, operations in enumerate(self.edges):
            weights = probs[f"e{edge}"][0]
            share = probs[f"e{edge}_edges"][0] if f"e{edge}_edges" in probs else 1.0
            x = share * sum(weight * operation(x) for weight, operation in zip(weights, operations, strict=True))
        return self.classifier(x.flatten(1))


class Fixed(nn.Module):
    def __init__(self, supernet, probs):
        super().__init__()
        self.supernet, self.probs = supernet, probs

    def forward(self, x):
        return self.supernet(x, self.probs)


class Signs(DataSet):
    """Images of 2x2 pixels whose class is whether the left column is darker than the right one."""

    name = "signs"
    task = Task(channels=1, height=2, width=2, classes=2)

    def __init__(self, valid_fraction: float = 0.5, split_seed: int = 0) -> None:
        super().__init__(valid_fraction, split_seed)

    def read_train(self) -> Images:
        return self._images(512, 0)

    def read_test(self) -> Images:
        return self._images(128, 1)

    def _images(self, count, seed):
        rng = torch.Generator().manual_seed(seed)
        pixels = torch.randint(0, 256, (count, 1, 2, 2), generator=rng, dtype=torch.uint8)
        difference = pixels.float()[:, 0, :, 1].sum(1) - pixels.float()[:, 0, :, 0].sum(1)
        return Images(pixels, (difference > 0).long(), (0.5,), (0.25,))
