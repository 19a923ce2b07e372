"""Running a network without a trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def unchanged(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Undo what a forward changes: modes, attributes and buffers of every module, and global random numbers.

    Values inside of a module's own lists and dictionaries are not undone.

    Args:
        device: Whose random numbers are restored, beside those of the CPU.
    """
    modules = [place for m in network.modules() for place in (vars(m), m._parameters, m._buffers, m._modules)]
    places = [place for place in modules if isinstance(place, dict)]  # compiled modules keep theirs elsewhere
    before = [dict(place) for place in places]
    found = [*network.buffers(), *(value for place in before for value in place.values())]
    tensors = {id(t): t for t in found if isinstance(t, Tensor) and not isinstance(t, nn.Parameter)}
    kept = [(tensor, tensor.clone()) for tensor in tensors.values()]
    python, numpy = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for place, old in zip(places, before, strict=True):
            for name in [name for name in place if name not in old]:
                del place[name]
            place.update(old)
        with torch.no_grad():
            for tensor, value in kept:
                tensor.copy_(value)
