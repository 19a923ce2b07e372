"""The parts that all trainings of a supernet share: random numbers, the optimizer of the weights, and one step of
it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data.images import Images
from nas.training.augment import plain_batch
from nas.training.fit import EVALUATION_BATCH
from nas.training.memory_format import contiguous
from nas.training.optimizer import fusible, sgd, take_step
from nas.training.recipe import Recipe

Batch = tuple[Tensor, Tensor]
"""Images and labels."""


def generator(*keys: int) -> torch.Generator:
    """A CPU generator that is a function of its keys: no checkpoint has to hold its state."""
    state = np.random.SeedSequence(keys).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def weight_optimizer(supernet: nn.Module, recipe: Recipe, *, run_all_operations: bool) -> torch.optim.SGD:
    """SGD as the recipe says; the caller sets its learning rate.

    Args:
        run_all_operations: Whether every step reaches all weights. Weights that a step does not reach stay unchanged,
            weight decay included.
    """
    parameters = list(supernet.parameters())
    # sampled paths have been trained with sums that are not fused since the first version, which round differently
    return sgd(parameters, recipe, fused=run_all_operations and fusible(parameters))


def weight_step(
    supernet: nn.Module,
    paths: Sequence[Mapping[str, Tensor]],
    batch: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    *,
    run_all_operations: bool,
) -> Tensor:
    """One step of the weights; the gradients at all given probabilities are added up.

    Args:
        paths: Probabilities of a gradient strategy, or of one or more sampled architectures.
        run_all_operations: Also run operations of probability 0, which saves reading the probabilities.

    Returns:
        The mean training loss before the step (nats, without a gradient).
    """
    images, labels = batch
    optimizer.zero_grad(set_to_none=True)
    losses = []
    for probs in paths:
        with autocast(images.device, recipe):
            logits = supernet(images, probs, run_all_operations=run_all_operations)
        loss = F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    if recipe.grad_clip is not None:
        nn.utils.clip_grad_norm_(supernet.parameters(), recipe.grad_clip)
    take_step(optimizer)
    return torch.stack(losses).mean()


@torch.no_grad()
def measure(supernet: nn.Module, probs: Mapping[str, Tensor], images: Images, recipe: Recipe) -> tuple[float, float]:
    """Accuracy (fraction 0-1) and mean cross-entropy (nats) of a supernet at given probabilities.

    Its normalisation takes the statistics of each batch, so both depend on the order of the images, which is fixed.

    Args:
        images: Images to measure on, two or more.
    """
    hits = torch.zeros((), dtype=torch.int64, device=images.labels.device)
    loss = torch.zeros((), dtype=torch.float64, device=images.labels.device)
    for start, stop in evaluation_batches(len(images)):
        labels = images.labels[start:stop]
        batch = plain_batch(images, start, stop)
        with autocast(images.pixels.device, recipe):
            logits = supernet(batch if recipe.channels_last else contiguous(batch), probs).float()
        hits += (logits.argmax(1) == labels).sum()
        loss += F.cross_entropy(logits, labels, reduction="sum")
    return hits.item() / len(images), loss.item() / len(images)


def evaluation_batches(count: int) -> Iterator[tuple[int, int]]:
    """Bounds of the batches that a supernet is measured on.

    A single image left over joins the last batch: by itself it would be normalised by its own statistics, and its maps
    of one pixel have no variance.
    """
    start = 0
    while start < count:
        stop = start + EVALUATION_BATCH
        stop = count if stop + 1 >= count else stop
        yield start, stop
        start = stop


def autocast(device: torch.device, recipe: Recipe) -> torch.autocast:
    """The precision of the recipe."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
