"""Checks that an exported form is the network: it is loaded in a fresh process and compared on real images."""

from __future__ import annotations

import inspect
import json
import os
import pickle
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
from nas.export import artifact_runner, inconsistency
from nas.export.model import Model, unwrapped


@dataclass(frozen=True)
class CheckResult:
    """How a form compares with the network that it was written from.

    Args:
        files: Names of its files.
        difference: Largest absolute difference of the logits.
        tolerance: Largest difference that counts as rounding.
        accuracy: Accuracy on the images, 0 to 1.
        latency: Batch size -> median milliseconds.
    """

    files: Sequence[str]
    difference: float
    tolerance: float
    accuracy: float
    latency: Mapping[str, float]


def original(model: Model) -> tuple[Tensor, CheckResult]:
    """Logits and accuracy of the network itself, without latencies, which this long-running process would bias.

    Raises:
        UserError: It does not return logits, or returns different ones in a second call or in another batch.
    """
    images, name = model.inputs(), type(unwrapped(model.network)).__name__
    # not inference_mode: torch.export refuses a network that has stored tensors of inference mode
    with torch.no_grad():
        try:
            logits = torch.cat(artifact_runner.logits(model.network, images)).clone()
            in_batches = torch.cat([model.network(part) for part in torch.split(images, artifact_runner.BATCH_SIZE)])
        except artifact_runner.NotLogits as error:
            raise UserError(f"{name} cannot be exported: in evaluation {error}") from None
        except Exception as error:  # noqa: BLE001 - a user's network may raise anything
            raise UserError(f"{name} cannot be exported: in evaluation it fails ({located(error)})") from None
    tolerance = artifact_runner.tolerance(logits)
    if logits.shape[1] != model.task.classes:
        raise UserError(
            f"{name} cannot be exported: it gives {logits.shape[1]} logits per image, expected {model.task.classes}"
        )
    if not bool(logits.isfinite().all()):
        raise UserError(f"{name} cannot be exported: some of its logits are NaN or infinite")
    if not (difference := _difference(in_batches, logits)) <= tolerance:
        raise UserError(
            f"{name} cannot be exported: {_why_inconsistent(unwrapped(model.network), images, logits, difference)}"
        )
    return logits, CheckResult((), 0.0, tolerance, _accuracy(logits, model), {})


def _why_inconsistent(network: nn.Module, images: Tensor, logits: Tensor, difference: float) -> str:
    """Why images have different logits in different batches."""
    with torch.no_grad():
        again = torch.cat(artifact_runner.logits(network, images))
    if not _difference(again, logits) <= artifact_runner.tolerance(logits):
        line = inconsistency.drawing_line(network, images)
        if line is not None:
            return f"its forward draws random numbers in evaluation{f' ({line})' if line else ''}"
        return (
            f"in evaluation the logits of an image change by {difference:.1e} from one call to the next; forward must "
            "not store state that affects later calls"
        )
    line = inconsistency.mixing_line(network, images) or "a mean over the batch, or a squeeze without a dimension?"
    return (
        f"in evaluation the logits of an image change by {difference:.1e} with the other images of its batch ({line})"
    )


def check(model: Model, form: str, written: ModuleType, folder: Path, expected: Tensor) -> CheckResult:
    """Run a form and compare it.

    Args:
        form: Its name.
        written: Module of `nas.export.formats` that wrote its files.
        expected: Logits of the network, (N, classes).

    Raises:
        UserError: It does not run, or its logits differ.
    """
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        images = model.inputs()
        np.save(work / "images.npy", images.numpy())
        torch.save(images, work / "images.pt")  # for forms that need no NumPy
        (work / artifact_runner.LOADER_FILE).write_text(inspect.getsource(written.load))
        (work / artifact_runner.SPACE_FILE).write_bytes(pickle.dumps(model.make_space))
        if hasattr(written, "prepare"):
            written.prepare(model, folder, work)
        run_in_fresh_process(form, written, folder, work)
        if (array := work / "logits.npy").exists():
            logits = torch.from_numpy(np.load(array))
        else:
            logits = torch.load(work / "logits.pt", weights_only=True)
        latency = json.loads((work / "latency.json").read_text())
    tolerance = artifact_runner.tolerance(expected)
    files = tuple(name for name in written.FILES if (folder / name).exists())
    result = CheckResult(files, _difference(logits, expected), tolerance, _accuracy(logits, model), latency)
    changed = changed_labels(logits, expected, tolerance)
    if not result.difference <= tolerance or changed:
        labels = f", and {changed} of {len(expected)} labels" if changed else ""
        raise UserError(
            f"format={form}: its logits differ from the network's by {result.difference:.1e} (at most {tolerance:.1e} "
            f"is rounding){labels}; nothing was written"
        )
    return result


def run_in_fresh_process(form: str, written: ModuleType, folder: Path, work: Path) -> None:
    """Run a form on the images of a folder and write logits and latencies beside them.

    Args:
        form: Its name.
        written: Module of `nas.export.formats` that wrote its files.
        folder: Folder of these files.
        work: Folder with `images.npy` and `images.pt`, `LOADER_FILE`, and for `state` with `SPACE_FILE`.

    Raises:
        UserError: The form does not run.
    """
    # neither this folder's trace.py nor a user's queue.py may shadow the standard library
    isolated = ["-I"] if written.IS_STANDALONE else ["-P"]
    # a user's own space must be importable in the new process as it is in this one
    environment = os.environ | ({} if written.IS_STANDALONE else {"PYTHONPATH": os.pathsep.join(sys.path)})
    arguments = [str(folder), str(work), str(torch.get_num_threads())]
    command = [sys.executable, "-B", *isolated, artifact_runner.__file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        if hasattr(written, "explain") and (reason := written.explain(done.stderr, folder)):
            raise UserError(f"format={form}: {reason}; nothing was written")
        raise UserError(f"format={form}: the files do not run in a fresh process ({last}); nothing was written")


def _difference(logits: Tensor, expected: Tensor) -> float:
    return float((logits - expected).abs().max()) if logits.shape == expected.shape else float("inf")


def changed_labels(logits: Tensor, expected: Tensor, tolerance: float) -> int:
    """Number of images whose label has changed although it was clear, since the best two logits differed by more."""
    if logits.shape != expected.shape:
        return len(expected)
    best = expected.topk(min(2, expected.shape[1]), 1).values
    clear = (best[:, 0] - best[:, -1] > tolerance) | (expected.shape[1] == 1)
    return int((clear & (logits.argmax(1) != expected.argmax(1))).sum())


def _accuracy(logits: Tensor, model: Model) -> float:
    return float((logits.argmax(1) == model.images.labels).float().mean())
