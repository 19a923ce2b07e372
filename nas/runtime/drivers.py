"""Whether this machine may have a GPU, without importing torch, which takes seconds."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

DRIVERS = ("libcuda.so.1", "nvcuda.dll")
"""Libraries that NVIDIA's driver installs; without one `torch.cuda.is_available()` is false."""
ROCM_DEVICE = Path("/dev/kfd")
"""The device of AMD's driver, which torch addresses as CUDA too."""


def has_gpu_driver() -> bool:
    """Whether the driver of a GPU is installed; there may still be no GPU."""
    for library in DRIVERS:
        with suppress(OSError):
            ctypes.CDLL(library)
            return True
    return ROCM_DEVICE.exists()
