"""Checks and timings that need a real CUDA device, in a few minutes, with a short table at the end.

    python scripts/bench/gpu.py [--device cuda:1] [--limit 480] [--only trainer 'darts step']

A check that fails or raises is a line of the table, and the rest continues. Rows that do not start within `--limit`
seconds are skipped, and listed as such. If the variable OUT names a folder, the table and the figures are written there
as `gpu.txt` and `gpu.json`. `--device cpu` runs the same code on small networks, to try the script; its figures mean
nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from nas.core import Objective, Task
from nas.data.digits import Digits
from nas.data.images import Images
from nas.strategies.darts import DARTS
from nas.strategies.drnas import DrNAS
from nas.strategies.gdas import GDAS
from nas.strategies.pc_darts import PCDARTS
from nas.supernets.gradient import GradientSearch
from nas.supernets.graphs import STEPS_BEFORE_RECORDING, GraphStep
from nas.supernets.health import dominant_eigenvalue
from nas.supernets.memory_estimate import need
from nas.supernets.recipe import SupernetRecipe
from nas.supernets.steps import weight_optimizer, weight_step
from nas.training.device import MIB, PeakMemory, configured, resolve_device
from nas.training.fit import fit
from nas.training.recipe import Recipe
from search_spaces.darts import DARTS as DARTSSpace
from search_spaces.nasbench201 import NASBench201

ROOT = Path(__file__).resolve().parents[2]
CIFAR = Task(3, 32, 32, 10)
CELL = (3, 1, 2, 4, 0, 3)
STEPS = STEPS_BEFORE_RECORDING + 1
"""Steps of a search that is compared."""
STRATEGIES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "darts": (DARTS, {}),
    "darts second order": (DARTS, {"order": "second"}),
    "pc_darts": (PCDARTS, {"warmup": 0, "partial_channels": 2}),
    "gdas": (GDAS, {}),
    "drnas": (DrNAS, {}),
}
Fact = tuple[str, str, bool | None]
"""Name of a row, its result, and whether it is right (None: a figure without a target)."""


@dataclass
class Report:
    """The results so far."""

    device: torch.device
    limit: float
    only: Sequence[str] | None = None
    started: float = field(default_factory=time.monotonic)
    rows: list[Fact] = field(default_factory=list)

    def run(self, name: str, work: Callable[[], Any]) -> None:
        """Run a check, whose rows start with its name; an exception becomes a row."""
        if self.only is not None and name not in self.only:
            return
        if time.monotonic() - self.started > self.limit:
            self.rows.append((name, "skipped: the time limit was reached", None))
            return
        started = time.monotonic()
        try:
            facts = work()
        except Exception as error:  # noqa: BLE001 (the other rows are worth more than a traceback)
            reason = " ".join(str(error).split())[:150]
            facts = [("", f"{type(error).__name__}: {reason}", False)]
        self.rows += [(f"{name} {row}".strip(), text, right) for row, text, right in facts]
        print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def table(self) -> str:
        width = max(len(name) for name, _, _ in self.rows)
        mark = {True: "ok", False: "WRONG", None: "--"}
        return "\n".join(f"{mark[right]:5}  {name:{width}}  {text}" for name, text, right in self.rows)


def noise(count: int, device: torch.device) -> Images:
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=rng, dtype=torch.uint8)
    return Images(pixels, torch.randint(10, (count,), generator=rng), (0.5,) * 3, (0.25,) * 3).to(device)


def searched(name: str, space: Any, cells: int, device: str, *, graphs: bool) -> tuple[list[float], list[str]]:
    """Training losses of a small search, and its warnings about CUDA graphs.

    An epoch is two ordinary steps and a recorded one: after more steps, rounding alone drives two devices apart.
    """
    make, options = STRATEGIES[name]
    recipe = SupernetRecipe(
        epochs=1,
        batch_size=16,
        train_images=16 * STEPS,
        valid_images=16 * STEPS,
        lr=0.025,
        nesterov=False,
        flip=False,
        graphs=graphs,
        network={"channels": 4, "cells": cells},
    )
    strategy = make(space=space, objective=Objective(), epochs=1, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = GradientSearch(space, Digits(), recipe)(strategy, 0, 5, device, lambda *_: None)
    graph = [str(one.message) for one in caught if "CUDA graph" in str(one.message)]
    return [metrics["supernet_train_loss"] for metrics in result.curve], graph


def searches(device: torch.device, space: Any, cells: int) -> list[Fact]:
    """Every strategy against the same search on the CPU, and with graphs against the same search without."""
    rows: list[Fact] = []
    for name in STRATEGIES:
        expected, _ = searched(name, space, cells, "cpu", graphs=False)
        plain, _ = searched(name, space, cells, str(device), graphs=False)
        graph, warned = searched(name, space, cells, str(device), graphs=True)
        apart = _apart(plain, expected)
        rows.append((name, f"losses differ from the CPU's by {apart:.1e}", apart < 1e-2))
        apart = _apart(graph, plain)
        text = f"losses differ from those of ordinary steps by {apart:.1e}" + (f"; {warned[0]}" if warned else "")
        rows.append((f"{name} graph", text, apart < 1e-4 and not warned))
    return rows


def _apart(losses: list[float], expected: list[float]) -> float:
    """Largest relative difference."""
    return max(abs(a - b) / abs(b) for a, b in zip(losses, expected, strict=True))


def precision(device: torch.device) -> list[Fact]:
    """Errors of products against float64, which show whether TF32 is on."""
    torch.manual_seed(0)
    a, b = torch.randn(512, 512, device=device), torch.randn(512, 512, device=device)
    images, kernel = torch.randn(8, 64, 16, 16, device=device), torch.randn(64, 64, 3, 3, device=device)
    rows: list[Fact] = []
    for name, low, high in (("fp32", 0.0, 1e-5), ("tf32", 1e-5, 1e-2)):
        with configured(device, Recipe(epochs=1, precision=name)):  # type: ignore[arg-type]
            pairs = (
                ("product", a @ b, a.double() @ b.double()),
                ("convolution", F.conv2d(images, kernel), F.conv2d(images.double(), kernel.double())),
            )
        for kind, result, exact in pairs:
            error = float((result - exact).norm() / exact.norm())
            right = (low <= error < high) if device.type == "cuda" else None
            rows.append((f"{name} {kind}", f"error {error:.1e}, expected {low:.0e} to {high:.0e}", right))
    return rows


class Step:
    """A search step of DARTS on the published supernet.

    Args:
        sizes: Channels and cells.
        size: Images in a batch.
    """

    def __init__(self, device: torch.device, sizes: dict[str, int], size: int, order: str = "first") -> None:
        torch.manual_seed(0)
        space = DARTSSpace()
        self.supernet = space.supernet(CIFAR, sizes).to(device).to(memory_format=torch.channels_last)
        self.strategy = DARTS(space=space, objective=Objective(), order=order)
        self.strategy.init(np.random.default_rng(0), device)
        self.strategy.start_epoch(1)
        self.recipe = Recipe(epochs=50, lr=0.025, nesterov=False, weight_decay=3e-4, grad_clip=5.0)
        self.optimizer = weight_optimizer(self.supernet, self.recipe, run_all_operations=True)
        self.rng = torch.Generator()
        images = torch.randn(2, size, 3, 32, 32, device=device)
        labels = torch.randint(10, (2, size), device=device)
        self.batches = [(images[part].contiguous(memory_format=torch.channels_last), labels[part]) for part in range(2)]

    def __call__(self, train: Any, valid: Any) -> torch.Tensor:
        self.strategy.alpha_step(self.supernet, train, valid, self.optimizer, self.rng)
        with torch.no_grad():
            probs = self.strategy.probs(self.rng)
        return weight_step(self.supernet, [probs], train, self.optimizer, self.recipe, run_all_operations=True)

    def curvature(self) -> None:
        images, labels = self.batches[1]
        loss = F.cross_entropy(self.supernet(images, self.strategy.probs(self.rng), run_all_operations=True), labels)
        dominant_eigenvalue(loss, self.strategy.alphas(), torch.Generator().manual_seed(0), iterations=2)


def memory(device: torch.device, sizes: dict[str, int], size: int) -> list[Fact]:
    """The memory estimate before a search against the peak of a step and of the eigenvalue."""
    rows: list[Fact] = []
    with configured(device, Recipe(epochs=1)):
        for name in ("step", "eigenvalue"):
            step = Step(device, sizes, size)
            probs = step.strategy.expected()
            fixed, each = need(step.supernet, probs, CIFAR, curvature=name == "eigenvalue")
            gc.collect()
            peak = PeakMemory(device)
            if name == "step":
                step(*step.batches)
            else:
                step.curvature()
            estimate, measured = (fixed + each * size) / MIB, peak.mebibytes()
            right = 0.9 <= estimate / measured <= 2.0 if device.type == "cuda" else None
            rows.append((name, f"estimated {estimate:.0f} MiB, peak {measured:.0f} MiB", right))
            del step
    return rows


def freed(device: torch.device) -> list[Fact]:
    """Memory that a finished search leaves on the device, without the garbage collector."""
    if device.type != "cuda":
        return [("", "only the memory of a CUDA device can be measured", None)]
    gc.collect()
    before = torch.cuda.memory_allocated(device)
    gc.disable()
    try:
        _, warned = searched("darts", NASBench201(), 1, str(device), graphs=True)
        left = torch.cuda.memory_allocated(device) - before
        torch._C._cuda_clearCublasWorkspaces()  # they belong to the streams, and stay
        workspaces = torch.cuda.memory_allocated(device) - before
    finally:
        gc.enable()
    text = f"{left / MIB:.2f} MiB are left, {workspaces / MIB:.2f} MiB without the workspaces of cuBLAS"
    return [("", text + "".join(f"; {one}" for one in warned), workspaces < 2 * MIB)]


def timed(work: Callable[[], Any], device: torch.device, rounds: int) -> float:
    """Median seconds of a function, after a first call that does not count."""
    seconds = []
    for _ in range(rounds + 1):
        _synchronize(device)
        started = time.perf_counter()
        work()
        _synchronize(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def steps(device: torch.device, sizes: dict[str, int], size: int, rounds: int) -> list[Fact]:
    """Milliseconds of a step of DARTS, ordinary and as a CUDA graph."""
    rows: list[Fact] = []
    with configured(device, Recipe(epochs=1)):
        for order in ("first", "second"):
            step = Step(device, sizes, size, order)
            plain = timed(lambda: step(*step.batches), device, rounds)  # noqa: B023 (called at once)
            text = f"{1000 * plain:.1f} ms"
            if device.type == "cuda":
                graph = GraphStep(step, size)
                for _ in range(3):
                    graph(*step.batches)
                fast = timed(lambda: graph(*step.batches), device, rounds)  # noqa: B023
                text += f", as a graph {1000 * fast:.1f} ms ({plain / fast:.1f} times as fast)"
            rows.append((f"{order} order", text, None))
    return rows


def throughput(device: torch.device, sizes: dict[str, int], size: int, images: int) -> list[Fact]:
    """Images per second of the trainer, including augmentation, and of bare steps on one batch on the device."""
    rows: list[Fact] = []
    data = noise(images, device)
    for name in ("fp32", "tf32", "bf16"):
        recipe = Recipe(epochs=3, batch_size=size, precision=name, deterministic=False)  # type: ignore[arg-type]
        epoch_ends: list[float] = []

        def on_epoch_end(_metrics: Any, ends: list[float] = epoch_ends) -> None:
            ends.append(time.perf_counter())

        with configured(device, recipe):
            torch.manual_seed(0)
            network = NASBench201().build(CELL, CIFAR, sizes).to(device)
            fit(network, data, None, recipe, seed=0, report=on_epoch_end)
            batch = torch.randn(size, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
            labels = torch.randint(10, (size,), device=device)
            optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, fused=True)

            def bare() -> None:
                optimizer.zero_grad()  # noqa: B023 (called at once)
                with torch.autocast(device.type, torch.bfloat16, enabled=name == "bf16"):  # noqa: B023
                    loss = F.cross_entropy(network(batch).float(), labels)  # noqa: B023
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()  # noqa: B023

            plain = size / timed(bare, device, 5)
        ours = images / min(after - before for before, after in pairwise(epoch_ends))
        rows.append((name, f"{ours:,.0f} images/s, bare steps {plain:,.0f}", None))
    return rows


def gpu_tests(limit: float) -> list[Fact]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/training", "tests/supernets", "--tb=line"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=limit,
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    rows: list[Fact] = [("", lines[-1] if lines else "no output", done.returncode == 0)]
    return rows + [("", line[:150], False) for line in lines if line.startswith("FAILED")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the script")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="run only these rows, such as trainer")
    parser.add_argument("--limit", type=float, default=480.0, help="seconds after which no further row starts")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    real = device.type == "cuda"
    sizes = {"channels": 16, "cells": 8} if real else {"channels": 2, "cells": 3}
    net = {"channels": 16, "cells": 5} if real else {"channels": 2, "cells": 1}
    size = 64 if real else 4
    report = Report(device, arguments.limit, arguments.only)
    name = torch.cuda.get_device_name(device) if real else "the CPU: a trial run, whose figures mean nothing"
    report.rows.append(("device", f"{name}, torch {torch.__version__}, {torch.cuda.device_count()} devices", None))
    report.run("precision", lambda: precision(device))
    report.run("memory", lambda: memory(device, sizes, size))
    report.run("memory after a search", lambda: freed(device))
    report.run("darts step", lambda: steps(device, sizes, size, 10 if real else 1))
    batch, images = (256, 25_600) if real else (8, 32)
    report.run("trainer", lambda: throughput(device, net, batch, images))
    report.run("nasbench201", lambda: searches(device, NASBench201(), 1))
    if torch.cuda.device_count() > 1 and device.index == 0:
        report.run("nasbench201 on cuda:1", lambda: searches(torch.device("cuda:1"), NASBench201(), 1))
    if real:
        report.run("darts", lambda: searches(device, DARTSSpace(), 3))
        report.run("pytest -m gpu", lambda: gpu_tests(max(60.0, arguments.limit)))
    table = report.table()
    if os.environ.get("OUT"):
        folder = Path(os.environ["OUT"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gpu.txt").write_text(table + "\n")
        rows = [{"name": name, "found": text, "right": right} for name, text, right in report.rows]
        (folder / "gpu.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(table)
    return int(any(right is False for _, _, right in report.rows))


if __name__ == "__main__":
    sys.exit(main())
