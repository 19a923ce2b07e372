"""Mixed edges of supernets: operations weighted by probabilities, without doing any work twice.

DARTS eq. 2, the sum over an edge's operations weighted by their probabilities, is linear, so the sum over all edges of
a node is computed at once; a rectified or pooled state is computed once for all edges that leave it; the weight of an
operation is applied by the normalisation after it. The numbers are those of the plain sum up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.errors import UsageError

EPSILON = nn.BatchNorm2d(1).eps


def weighted_norm(x: Tensor, weights: Tensor) -> Tensor:
    """Normalise by the statistics of the batch, then multiply.

    Args:
        x: Outputs (B, M C, H, W) of M operations side by side.
        weights: Probability (M,) of each.

    Returns:
        The shape of `x`.
    """
    # a view of stride 0 would be read past its end: the kernels assume a dense scale
    scale = weights[:, None].expand(-1, x.shape[1] // len(weights)).reshape(-1).contiguous()
    return F.batch_norm(x, None, None, scale, None, True, 0.0, EPSILON)


def accumulate(total: Tensor | None, term: Tensor) -> Tensor:
    """The sum so far and one more term; `total` is overwritten."""
    return term if total is None else total.add_(term)


def accumulate_weighted(total: Tensor | None, term: Tensor, weight: Tensor) -> Tensor:
    """The sum so far and `weight` (a scalar) times a term that others use too; `total` is overwritten."""
    return term * weight if total is None else total.addcmul_(term, weight)


def runs(probs: Mapping[str, Tensor], *, run_all_operations: bool) -> dict[str, list[list[bool]]]:
    """Flags of the operations to run, from rows of probabilities: those above zero.

    Args:
        run_all_operations: Run all of them without reading the probabilities, which on CUDA waits for the device.
    """
    if run_all_operations:
        return {name: [[True] * rows.shape[1]] * len(rows) for name, rows in probs.items() if rows.dim() == 2}
    return {name: (rows.detach() != 0).tolist() for name, rows in probs.items() if rows.dim() == 2}


def weighted_edges(probs: Mapping[str, Tensor], name: str) -> Tensor:
    """Probabilities (E, O) of a cell's operations times the weights (E,) of its edges, if it has them."""
    edges = probs.get(f"{name}_edges")
    return probs[name] if edges is None else probs[name] * edges[:, None]


def check_divisible(channels: int, shares: int) -> None:
    """Raise `UsageError` unless channels can be divided into equal shares."""
    if channels % shares:
        raise UsageError(
            f"supernet.network.channels={channels} cannot be divided into {shares} equal shares; expected a multiple "
            f"of strategy.partial_channels={shares}"
        )


def shuffle_channels(x: Tensor, groups: int) -> Tensor:
    """Interleave `groups` blocks of channels, (B, C, H, W) to the same shape, in channels-last memory."""
    batch, channels, height, width = x.shape
    blocks = x.permute(0, 2, 3, 1).reshape(batch, height, width, groups, channels // groups)
    return blocks.transpose(3, 4).reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
