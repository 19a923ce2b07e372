"""Random numbers of a training: torch's, NumPy's and Python's global generators, all functions of its seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nas.data import generators


def seed_all(seed: int) -> None:
    """Seed the global generators of torch, NumPy and Python."""
    torch.manual_seed(seed)
    generators.seed(seed)


@contextmanager
def random_state_restored(device: torch.device) -> Iterator[None]:
    """Restore the global generators of torch, NumPy and Python afterwards, so that draws inside affect no later ones.

    Args:
        device: Device whose generator is restored too, besides that of the CPU.
    """
    with generators.restored(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
