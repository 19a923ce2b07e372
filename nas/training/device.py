"""Where training runs: device, threads, determinism, peak memory."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.utils.deterministic

from nas.errors import UsageError
from nas.training.precision import products
from nas.training.recipe import Recipe

MIB = 2**20
_filling: Any = torch.utils.deterministic  # its attribute is created at run time, so type checkers miss it


def resolve_device(text: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` names; `auto` is CUDA if available.

    Raises:
        UsageError: The text names no device, or one that this machine does not have.
    """
    if text == "auto":
        text = "cuda" if torch.cuda.is_available() else "cpu"
    if text == "cpu":
        return torch.device("cpu")
    kind, _, number = text.partition(":")
    if kind != "cuda" or (":" in text and not number.isdecimal()):
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, got {text!r}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(number or 0)
    if index >= count:
        names = "" if not count else ", cuda:0" if count == 1 else f", cuda:0 to cuda:{count - 1}"
        have = f"{count or 'no'} CUDA device{'' if count < 2 else 's'}{names}"
        raise UsageError(f"device={text}: this machine has {have}; use device=auto or device=cpu")
    return torch.device("cuda", index)


@contextmanager
def configured(device: torch.device, recipe: Recipe) -> Iterator[None]:
    """Apply a recipe's threads, determinism and precision to the process, and restore what was set before.

    Inside, the device is CUDA's current one, which streams, graphs and a user's own `cuda` use. Only the workspace of
    cuBLAS stays as it is set here: it is read once, when the first handle is created.
    """
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        _filling.fill_uninitialized_memory,
    )
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    if recipe.deterministic:
        # cuBLAS promises equal results only with a fixed workspace
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling fresh memory only makes programs repeat that read it before writing; it costs up to a fifth of a step
        _filling.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = device.type == "cuda" and not recipe.deterministic
    try:
        # torch lets cuDNN round to TF32 unasked; fp32 here means fp32
        with current(device), products(tf32=recipe.precision == "tf32"):
            yield
    finally:
        torch.set_num_threads(before[0])
        if recipe.deterministic:  # the mere call imports a compiler, which takes a second
            torch.use_deterministic_algorithms(before[1], warn_only=before[2])
        torch.backends.cudnn.benchmark = before[3]
        _filling.fill_uninitialized_memory = before[4]


def current(device: torch.device) -> AbstractContextManager[object]:
    """Make a device CUDA's current one; a CPU needs nothing."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class PeakMemory:
    """Peak memory since its creation: of the device on CUDA, of the whole process on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]  # there are no statistics before
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _reset_process_peak()

    def mebibytes(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / MIB
        return _process_peak() / MIB


def _reset_process_peak() -> None:
    """Set the process's high-water mark back to what it holds now (Linux; elsewhere the mark never falls)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _process_peak() -> float:
    """High-water mark of the process's resident memory, bytes."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
