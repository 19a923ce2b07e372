"""Why a network in evaluation gives an image different logits than before, and the line of its forward that does."""

from __future__ import annotations

import random
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nas.export.failure import running_line
from nas.export.trace import tree_leaves

BATCH_SIZE = 13
"""Size of the examined batch, a number that hardly any other dimension has."""


def drawing_line(network: nn.Module, images: Tensor) -> str | None:
    """The line that draws random numbers; empty if it is unknown, None if no line does.

    Args:
        images: (N, C, H, W), one or more.
    """
    others = random.getstate(), str(np.random.get_state())
    with _RandomCalls() as found, torch.no_grad():
        network(images[:BATCH_SIZE])
    line: str | None = found.line
    if line is None and (random.getstate(), str(np.random.get_state())) != others:
        return ""
    return line


def mixing_line(network: nn.Module, images: Tensor) -> str:
    """The line after which an image depends on the others of its batch; empty if it is not found.

    Two batches that share their first image are run. The line is that of the first call whose result has a row for
    each image and a different first row.

    Args:
        images: (N, C, H, W), one or more.
    """
    batch = images[:1].repeat(BATCH_SIZE, 1, 1, 1)
    beside = torch.cat([batch[:1], batch[1:].flip(-1) * 2 + 1])
    runs = []
    for given in (batch, beside):
        with _FirstRows() as found, torch.no_grad():
            network(given)
        runs.append(found.rows)
    before = ""
    for one, other in zip_longest(*runs):
        if one is None or other is None or one[0] != other[0]:
            return before  # the runs diverge: the forward branched on the last value that it read
        before = str(one[0])
        if one[1] is not None and not _equal(one[1], other[1]):
            return before
    return ""


def _equal(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.shape == other.shape and torch.allclose(one, other, 1e-4, 1e-5, equal_nan=True)


class _RandomCalls(TorchFunctionMode):
    """Remembers the line of the first call that draws from torch's generator or one of the network's own."""

    def __init__(self) -> None:
        super().__init__()
        self.line: str | None = None

    def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        before = torch.get_rng_state()
        own = [(one, one.get_state()) for one in tree_leaves((args, given), torch.Generator)]
        result = function(*args, **given)
        drawn = not torch.equal(before, torch.get_rng_state())
        drawn = drawn or any(not torch.equal(state, one.get_state()) for one, state in own)
        if drawn and self.line is None:
            self.line = running_line()
        return result


class _FirstRows(TorchFunctionMode):
    """Remembers the line of each call, and the first row of its first result with a row for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[str, Tensor | None]] = []

    def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        rows = (one for one in tree_leaves(result, Tensor) if one.dim() and len(one) == BATCH_SIZE)
        first = next(rows, None)
        self.rows.append((running_line(), None if first is None else first[0].clone()))
        return result
