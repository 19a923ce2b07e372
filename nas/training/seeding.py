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
def random_numbers_kept(device: torch.device) -> Iterator[None]:
    """Draws within, from the global generators of torch, NumPy and Python, change nothing that is drawn after.

    Args:
        device: Whose generator is kept beside that of the CPU.
    """
    with generators.kept(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
