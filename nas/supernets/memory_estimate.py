"""The memory that training a supernet needs, estimated before it starts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import Task
from nas.errors import UserError
from nas.runtime.memory import available_memory

GIB = 2**30
MARGIN = 1.3
"""Factor for temporary values, workspaces and fragmentation, on top of what is saved for the backward pass."""


def need(
    supernet: nn.Module,
    probs: Mapping[str, Tensor],
    task: Task,
    *,
    channels_last: bool = True,
    curvature: bool = False,
) -> tuple[float, float]:
    """Bytes of a training step: those that do not depend on the batch, and those per image.

    What a forward pass saves for its backward pass is counted on two small batches; added to it are the weights with
    their gradients, momentum and one copy.

    Args:
        channels_last: Memory format of the images.
        curvature: Count the products with the Hessian in alpha instead of a step. They also save what the backward
            pass computes, about twice as much.
    """
    small, large = (
        _saved_bytes(supernet, probs, task, batch, channels_last=channels_last, curvature=curvature) for batch in (2, 4)
    )
    each = (large - small) / 2
    weights = sum(weight.numel() * weight.element_size() for weight in supernet.parameters())
    return 4.0 * weights + max(0.0, small - 2 * each), MARGIN * each


def _saved_bytes(
    supernet: nn.Module,
    probs: Mapping[str, Tensor],
    task: Task,
    batch: int,
    *,
    channels_last: bool,
    curvature: bool,
) -> int:
    device = next(supernet.parameters()).device
    saved: dict[int, int] = {}
    kept: list[Tensor] = []  # a graph that held its own results would be a cycle, and outlive this function

    def pack(tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        kept.append(tensor)
        return len(kept) - 1

    images = torch.zeros(batch, task.channels, task.height, task.width, device=device)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    if curvature:
        probs = {name: rows.detach().requires_grad_() for name, rows in probs.items()}
    with torch.autograd.graph.saved_tensors_hooks(pack, kept.__getitem__):
        loss = F.cross_entropy(supernet(images, probs), labels)
        # not freed before it is counted, since freed memory is used again
        held = (
            torch.autograd.grad(loss, list(probs.values()), create_graph=True, allow_unused=True) if curvature else ()
        )
    total = sum(saved.values())
    kept.clear()
    del loss, held
    return total


def check_batch_memory(
    fixed: float, each: float, batch: int, key: str, free: float, *, curvature: str | None = None
) -> None:
    """Raise `UserError`, with the largest batch that fits, unless a batch does.

    Args:
        fixed: Bytes that do not depend on the batch.
        each: Bytes per image.
        batch: Images in the batch.
        key: Setting of the batch size, for the message.
        free: Free bytes.
        curvature: Setting that asks for more than a training step; None: it is a training step.
    """
    if fixed + each * batch <= free:
        return
    largest = int((free - fixed) / each)
    advice = (
        f"the largest that fits is {key}={largest}" if largest >= 2 else "not even two images fit; use fewer channels"
    )
    what = "the supernet" if curvature is None else f"the eigenvalue that {curvature}=true measures"
    raise UserError(
        f"{key}={batch} needs about {(fixed + each * batch) / GIB:.1f} GiB for {what}, but only {free / GIB:.1f} "
        f"GiB is free; {advice}" + ("" if curvature is None else f", or set {curvature}=false")
    )


def free_memory(device: torch.device) -> float:
    """Bytes that can be allocated: on the device for CUDA, otherwise on the machine; infinite if that is unknown.

    Memory that torch has reserved on a device but does not use counts as free, since torch can use it.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    return available_memory()
