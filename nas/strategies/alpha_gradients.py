"""Gradients in alpha only, while the weights of a supernet are frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """A context without gradients in the weights: none are computed, and nothing is saved for them."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def gradients(loss: Tensor, alphas: Sequence[Tensor]) -> Sequence[Tensor]:
    """Gradients of a loss; zeros if it does not depend on alpha, as in a disconnected sampled cell."""
    if not loss.requires_grad:
        return [torch.zeros_like(alpha) for alpha in alphas]
    return torch.autograd.grad(loss, alphas, allow_unused=True, materialize_grads=True)
