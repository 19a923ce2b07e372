"""Whether an exported form is the network: it is loaded again in a fresh process and compared on real images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import UserError, located
from nas.export import replay, unsteady
from nas.export.failure import runtime_failure
from nas.export.model import Model, unwrapped


@dataclass(frozen=True)
class CheckResult:
    """How a form compares with the network that it was made from.

    Args:
        files: that it consists of.
        difference: largest absolute one of the logits.
        tolerance: what it may be.
        accuracy: on the images, fraction 0-1.
        latency: batch size -> median milliseconds.
    """

    files: Sequence[str]
    difference: float
    tolerance: float
    accuracy: float
    latency: Mapping[str, float]


def original(model: Model) -> tuple[Tensor, CheckResult]:
    """Logits of the network itself, and how it does; without latencies, which a process of this age would bias.

    Raises:
        UserError: it gives no logits, or others for the same images the next time or in another batch.
    """
    images, name = model.inputs(), type(unwrapped(model.network)).__name__
    # tensors of inference mode that a network keeps for later would keep torch.export from taking it
    with torch.no_grad():
        try:
            logits = torch.cat(replay.logits(model.network, images)).clone()
            together = torch.cat([model.network(part) for part in torch.split(images, replay.BATCH)])
        except replay.NotLogits as error:
            raise UserError(f"{name} cannot be exported: in evaluation {error}") from None
        except Exception as error:  # noqa: BLE001 - whatever a network of the user's raises
            raise UserError(f"{name} cannot be exported: in evaluation it fails ({located(error)})") from None
    tolerance = _tolerance(logits)
    if logits.shape[1] != model.task.classes:
        raise UserError(
            f"{name} cannot be exported: it gives {logits.shape[1]} logits an image, expected {model.task.classes}"
        )
    if not bool(logits.isfinite().all()):
        raise UserError(f"{name} cannot be exported: some of its logits are NaN or infinite")
    if not (difference := _difference(together, logits)) <= tolerance:
        raise UserError(
            f"{name} cannot be exported: {_why_unsteady(unwrapped(model.network), images, logits, difference)}"
        )
    return logits, CheckResult((), 0.0, tolerance, _accuracy(logits, model), {})


def _why_unsteady(network: nn.Module, images: Tensor, logits: Tensor, difference: float) -> str:
    """Why images have other logits in other batches."""
    with torch.no_grad():
        again = torch.cat(replay.logits(network, images))
    if not _difference(again, logits) <= _tolerance(logits):
        line = unsteady.drawing_line(network, images)
        if line is not None:
            return f"its forward draws random numbers in evaluation{f' ({line})' if line else ''}"
        return (
            f"in evaluation the logits of an image change by {difference:.1e} from one call to the next; forward must "
            "keep nothing that later calls compute with"
        )
    line = unsteady.mixing_line(network, images) or "a mean over the batch, or a squeeze without a dimension?"
    return f"in evaluation the logits of an image change by {difference:.1e} with the images beside it ({line})"


def check(model: Model, form: str, written: ModuleType, folder: Path, expected: Tensor) -> CheckResult:
    """Run a form and compare it.

    Args:
        form: its name.
        written: the module of `nas.export.formats` that wrote its files.
        expected: logits of the network.

    Raises:
        UserError: it does not run, or computes something else.
    """
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        images = model.inputs()
        if form == "onnx":
            np.save(work / "images.npy", images.numpy())
        else:
            torch.save(images, work / "images.pt")
        alone = ["-I"] if written.ALONE else ["-P"]  # neither this folder's trace.py nor a user's queue.py comes first
        # a space of the user's own is importable there from wherever it is here
        environment = os.environ | ({} if written.ALONE else {"PYTHONPATH": os.pathsep.join(sys.path)})
        own = [str(model.config_dir.absolute())] if model.config_dir else []
        words = [
            sys.executable,
            "-B",
            *alone,
            replay.__file__,
            form,
            str(folder),
            str(work),
            str(torch.get_num_threads()),
            *own,
        ]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            if form == "onnx" and (reason := runtime_failure(done.stderr, folder / written.FILES[0])):
                raise UserError(f"format={form}: {reason}; nothing was kept")
            raise UserError(
                f"format={form}: what was written does not run in a fresh process ({last}); nothing was kept"
            )
        if form == "onnx":
            logits = torch.from_numpy(np.load(work / "logits.npy"))
        else:
            logits = torch.load(work / "logits.pt", weights_only=True)
        timed = json.loads((work / "latency.json").read_text())
    tolerance = _tolerance(expected)
    found = CheckResult(tuple(written.FILES), _difference(logits, expected), tolerance, _accuracy(logits, model), timed)
    changed = _changed_labels(logits, expected, tolerance)
    if not found.difference <= tolerance or changed:
        labels = f", and {changed} of {len(expected)} labels" if changed else ""
        raise UserError(
            f"format={form}: what was written differs from the network by {found.difference:.1e} (at most "
            f"{tolerance:.1e} is rounding){labels}; nothing was kept"
        )
    return found


def _tolerance(logits: Tensor) -> float:
    return 1e-4 * max(1.0, float(logits.abs().max()))


def _difference(logits: Tensor, expected: Tensor) -> float:
    return float((logits - expected).abs().max()) if logits.shape == expected.shape else float("inf")


def _changed_labels(logits: Tensor, expected: Tensor, tolerance: float) -> int:
    """Images whose label is another one although it was clear."""
    if logits.shape != expected.shape:
        return len(expected)
    best = expected.topk(min(2, expected.shape[1]), 1).values
    clear = (best[:, 0] - best[:, -1] > tolerance) | (expected.shape[1] == 1)
    return int((clear & (logits.argmax(1) != expected.argmax(1))).sum())


def _accuracy(logits: Tensor, model: Model) -> float:
    return float((logits.argmax(1) == model.images.labels).float().mean())
