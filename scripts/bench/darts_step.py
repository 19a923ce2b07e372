"""A search step of DARTS against the same step in plain PyTorch, alternating in one process.

    python scripts/bench/darts_step.py [PLAIN.py]

PLAIN.py has `Supernet`, `optimizers` and `search_step` as a researcher would write them from the paper; the default is
`../shared/bench/plain_darts.py` beside the checkout. Before the timing, both start from equal weights and alphas and
must agree: in float64, gradients and the losses of three steps to 1e-9 (CUDA: 1e-8); in float32, the first loss to
1e-4, and gradients as closely as the plain step agrees with itself in another memory format.

Rows `darts/first-order` and `darts/second-order` (16 channels, 8 cells, batch 16 on a CPU, 64 on CUDA), and
`darts/memory`, the peak memory of one first-order step, each in its own process.
"""

from __future__ import annotations

import copy
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rows import Row

from nas.core import Objective, Task
from nas.strategies.darts import DARTS
from nas.supernets.graphs import GraphStep
from nas.supernets.steps import weight_optimizer, weight_step
from nas.training.device import MIB, PeakMemory
from nas.training.recipe import Recipe
from search_spaces.darts import DARTS as Space

CHANNELS, CELLS = 16, 8
CHECKED = 4, 8
"""Channels and cells of the networks that must agree."""
TASK = Task(3, 32, 32, 10)
RECIPE = Recipe(epochs=50, lr=0.025, momentum=0.9, nesterov=False, weight_decay=3e-4, grad_clip=5.0)
ROUNDS = 5
Batch = tuple[torch.Tensor, torch.Tensor]


class Ours:
    """Supernet, alphas and optimizer of a gradient search, with the weights of the plain supernet."""

    def __init__(self, plain: Any, order: str, dtype: torch.dtype, device: torch.device) -> None:
        space = Space()
        self.strategy = DARTS(space=space, objective=Objective(), order=order)
        self.strategy.init(np.random.default_rng(0), device)
        self.strategy.start_epoch(1)
        channels = plain.stem[0].out_channels // 3
        sizes = {"channels": channels, "cells": len(plain.cells)}
        self.supernet = space.supernet(TASK, sizes).to(device, dtype)
        with torch.no_grad():
            for ours, theirs in zip(self.supernet.parameters(), plain.weights(), strict=True):
                ours.copy_(theirs)
            for name, theirs in zip(("normal", "reduce"), plain.alphas(), strict=True):
                self.strategy.parameters[name].data = theirs.detach().clone()
        self.supernet.to(memory_format=torch.channels_last)
        self.optimizer = weight_optimizer(self.supernet, RECIPE, run_all_operations=True)
        self.rng = torch.Generator()

    def step(self, train: Batch, valid: Batch) -> torch.Tensor:
        self.strategy.alpha_step(self.supernet, train, valid, self.optimizer, self.rng)
        with torch.no_grad():
            probs = self.strategy.probs(self.rng)
        return weight_step(self.supernet, [probs], train, self.optimizer, RECIPE, run_all_operations=True)


def batches(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Batch, Batch]:
    rng = torch.Generator().manual_seed(1)
    pair = [
        (
            torch.randn(size, 3, 32, 32, generator=rng).to(device, dtype),
            torch.randint(10, (size,), generator=rng).to(device),
        )
        for _ in range(2)
    ]
    return pair[0], pair[1]


def channels_last(batch: Batch) -> Batch:
    return batch[0].contiguous(memory_format=torch.channels_last), batch[1]


def check_agreement(plain: ModuleType, device: torch.device) -> str:
    """Exit with a message unless both compute the same; returns by how much float32 gradients differ."""
    exact = 1e-9 if device.type == "cpu" else 1e-8  # an H100 rounds products of float64 differently: 1.4e-9
    for order in ("first", "second"):
        torch.manual_seed(0)
        theirs = plain.Supernet(*CHECKED).to(device, torch.float64)
        ours = Ours(theirs, order, torch.float64, device)
        pair = batches(4, torch.float64, device)
        _require(f"{order} order, float64 gradients", relative(*_gradients(theirs, ours, pair[0])), exact)
        optimizers = plain.optimizers(theirs)
        for step in range(1, 4):
            expected = plain.search_step(theirs, *optimizers, *pair, unrolled=order == "second")
            found = ours.step(*map(channels_last, pair))
            _require(f"{order} order, float64 loss of step {step}", relative([found], [expected]), exact)
    torch.manual_seed(0)
    theirs = plain.Supernet(*CHECKED).to(device)
    batch = batches(4, torch.float32, device)[0]
    ours = Ours(theirs, "first", torch.float32, device)
    found, expected = (ours.strategy.loss(ours.supernet, channels_last(batch), ours.rng), _loss(theirs, batch))
    _require("float32 loss", relative([found], [expected]), 1e-4)
    distance = relative(*_gradients(theirs, ours, batch))
    # rounding flips the sign of a few of millions of rectified values, so the plain step differs from itself as well
    other = copy.deepcopy(theirs).to(memory_format=torch.channels_last)
    own = relative(_plain_gradients(other, channels_last(batch)), _plain_gradients(theirs, batch))
    _require("float32 gradients", distance, max(1e-4, 3 * own))
    return f"float32 gradients differ by {distance:.1e}, the plain step's from its own in channels-last by {own:.1e}"


def _require(what: str, error: float, limit: float) -> None:
    if not error <= limit:
        sys.exit(f"darts_step: {what} differ from the plain step's by {error:.1e} (> {limit:.0e})")


def _gradients(theirs: Any, ours: Ours, batch: Batch) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    loss = ours.strategy.loss(ours.supernet, channels_last(batch), ours.rng)
    found = torch.autograd.grad(loss, [*ours.strategy.alphas(), *ours.supernet.parameters()])
    return list(found), _plain_gradients(theirs, batch)


def _plain_gradients(theirs: Any, batch: Batch) -> list[torch.Tensor]:
    return list(torch.autograd.grad(_loss(theirs, batch), [*theirs.alphas(), *theirs.weights()]))


def _loss(theirs: Any, batch: Batch) -> torch.Tensor:
    return F.cross_entropy(theirs(batch[0]), batch[1])


def relative(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Norm of the difference of all values together, relative to the norm of the expected values."""
    difference = sum((a.detach() - b.detach()).square().sum().item() for a, b in zip(found, expected, strict=True))
    return (difference / sum(b.detach().square().sum().item() for b in expected)) ** 0.5


def timed(step: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one step."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak(who: str, plain: ModuleType, size: int, device: torch.device) -> float:
    """MiB that one first-order step takes at most, beyond what the process holds before it."""
    theirs = plain.Supernet(CHANNELS, CELLS).to(device)
    pair = batches(size, torch.float32, device)
    ours = Ours(theirs, "first", torch.float32, device) if who == "ours" else None
    optimizers = plain.optimizers(theirs)
    before = _resident() if device.type == "cpu" else torch.cuda.memory_allocated(device) / MIB
    memory = PeakMemory(device)
    if ours is not None:
        ours.step(*map(channels_last, pair))
    else:
        plain.search_step(theirs, *optimizers, *pair)
    return memory.mebibytes() - before


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / MIB


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("plain_darts", path)
    if spec is None or spec.loader is None or not path.is_file():
        sys.exit(f"darts_step: {path} does not exist; give the path of a plain step")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    arguments = sys.argv[1:]
    peak_only = bool(arguments) and arguments[0].startswith("--peak=")
    measured = arguments.pop(0).removeprefix("--peak=") if peak_only else None
    path = (
        Path(arguments[0]) if arguments else Path(__file__).resolve().parents[3] / "shared" / "bench" / "plain_darts.py"
    )
    plain = load(path)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = 64 if device.type == "cuda" else 16
    if measured:
        print(peak(measured, plain, size, device))
        return
    agreement = check_agreement(plain, device)
    target = 3.0 if device.type == "cuda" else 2.0
    note = f"{CHANNELS} channels, {CELLS} cells, batch {size}, fp32, {torch.get_num_threads()} threads; {agreement}"
    for order in ("first", "second"):
        torch.manual_seed(0)
        theirs = plain.Supernet(CHANNELS, CELLS).to(device)
        ours, optimizers = Ours(theirs, order, torch.float32, device), plain.optimizers(theirs)
        train, valid = batches(size, torch.float32, device)
        last = channels_last(train), channels_last(valid)
        step = GraphStep(ours.step, size) if device.type == "cuda" else ours.step
        for _ in range(3 if device.type == "cuda" else 0):  # ordinary steps, and the one that is recorded
            step(*last)
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS if order == "first" else 3):
            unrolled = order == "second"
            seconds[0].append(timed(lambda: step(*last), device))  # noqa: B023 (called at once)
            seconds[1].append(timed(lambda: plain.search_step(theirs, *optimizers, train, valid, unrolled), device))  # noqa: B023
        fast, slow = (statistics.median(times[1:]) for times in seconds)
        Row(
            f"darts/{order}-order", fast, slow, "s/step", target, more_is_better=False, device=device.type, note=note
        ).show()
    peaks = [
        float(
            subprocess.run(
                [sys.executable, __file__, f"--peak={who}", str(path)], capture_output=True, check=True
            ).stdout
        )
        for who in ("ours", "plain")
    ]
    Row("darts/memory", *peaks, "MiB", 1.0, more_is_better=False, device=device.type, note=note).show()


if __name__ == "__main__":
    main()
