"""How much memory a supernet's training needs, estimated before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import Task, UserError

GIB = 2**30
MARGIN = 1.3
"""What passing values, workspaces and fragments take beside what is kept for the backward pass."""


def need(supernet: nn.Module, probs: Mapping[str, Tensor], task: Task) -> tuple[float, float]:
    """Bytes of a training step: those that do not depend on the batch, and those of each image.

    What a forward pass keeps for its backward pass is counted on two small batches; beside it are the weights with
    gradients, momentum and one copy.
    """
    small, large = (_kept(supernet, probs, task, batch) for batch in (2, 4))
    each = (large - small) / 2
    weights = sum(weight.numel() * weight.element_size() for weight in supernet.parameters())
    return 4.0 * weights + max(0.0, small - 2 * each), MARGIN * each


def _kept(supernet: nn.Module, probs: Mapping[str, Tensor], task: Task, batch: int) -> int:
    device = next(supernet.parameters()).device
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    images = torch.zeros(batch, task.channels, task.height, task.width, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = F.cross_entropy(supernet(images, probs), labels)
    total = sum(kept.values())
    del loss
    return total


def check_fits(fixed: float, each: float, batch: int, key: str, free: float) -> None:
    """Raise `UserError`, with the largest batch that fits, where a batch does not."""
    if fixed + each * batch <= free:
        return
    largest = int((free - fixed) / each)
    advice = (
        f"the largest that fits is {key}={largest}" if largest >= 2 else "not even two images fit; take fewer channels"
    )
    raise UserError(
        f"{key}={batch} needs about {(fixed + each * batch) / GIB:.1f} GiB for the supernet, and {free / GIB:.1f} GiB "
        f"are free; {advice}"
    )


def free_memory(device: torch.device) -> float:
    """Bytes that can be had: of the device on CUDA, else of the machine; infinite where that is not known."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    amounts = {line.split(":")[0]: float(line.split()[1]) * 1024 for line in lines if len(line.split()) > 1}
    return amounts.get("MemAvailable", float("inf"))
