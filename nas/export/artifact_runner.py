"""Runs one exported form on images in a process of its own.

    python artifact_runner.py FORM FOLDER WORK THREADS

It reads the images in WORK and writes logits and latencies there. It imports only what the form itself needs.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMING_SECONDS = 0.5
"""Duration of the timing of a batch size, unless `MIN_ROUNDS` take longer."""
MIN_ROUNDS, MAX_ROUNDS = 3, 200
TIMED_BATCH_SIZES = (1, 64)
FIRST_BATCH_SIZES = (1, 2, 16)
"""Sizes of the first batches, since a form may work for one number of images and not for another."""
BATCH_SIZE = 64
"""Size of the others; with more images, the system takes back a large network's memory after each operation."""

SPACE_FILE = "make_space.pickle"
"""File of WORK with what makes the space; only `state` needs it, and it is written by the process that checks."""

Run = Callable[[Any], Any]


class NotLogits(ValueError):
    """A network or a form does not return one row of logits for each image."""


Form = tuple[Callable[[Path], Any], Run, Callable[[Path, list[Any]], None]]
"""Reads the images, computes the logits of a batch, writes those of all batches."""


def python(folder: Path, threads: int, _work: Path) -> Form:
    """`network.py`."""
    import importlib.util

    import torch

    spec = importlib.util.spec_from_file_location("network", folder / "network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.Network()
    # `weights()` reads only one of the two files, and which one depends on whether safetensors is installed
    loaded, other = module.weights(), torch.load(folder / "network.pt", weights_only=True)
    if loaded.keys() != other.keys() or not all(torch.equal(loaded[name], other[name]) for name in loaded):
        raise ValueError("network.pt and network.safetensors differ")
    return in_torch(network, threads)


def torch_export(folder: Path, threads: int, _work: Path) -> Form:
    """`model.pt2`."""
    import torch

    return in_torch(torch.export.load(folder / "model.pt2").module(), threads)


def state(folder: Path, threads: int, work: Path) -> Form:
    """`model.safetensors` in the network of its space."""
    import pickle

    from nas.export.folder import read

    exported = read(folder)
    space = exported.space(pickle.loads((work / SPACE_FILE).read_bytes()))
    return in_torch(exported.network(space), threads)


def onnx(folder: Path, threads: int, _work: Path) -> Form:
    """`model.onnx` in ONNX Runtime."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return (
        lambda work: np.load(work / "images.npy"),
        lambda images: session.run(["logits"], {"images": images})[0],
        lambda work, batches: np.save(work / "logits.npy", np.concatenate(batches)),
    )


def in_torch(network: Run, threads: int) -> Form:
    """A network of PyTorch as a form."""
    import torch

    torch.set_num_threads(threads)

    def run(images: Any) -> Any:
        with torch.inference_mode():
            return network(images)

    return (
        lambda work: torch.load(work / "images.pt", weights_only=True),
        run,
        lambda work, batches: torch.save(torch.cat(batches).as_subclass(torch.Tensor).clone(), work / "logits.pt"),
    )


def logits(run: Run, images: Any) -> list[Any]:
    """Logits of all images, batch by batch: batches of 1, 2 and 16 images first, then of 64.

    Raises:
        NotLogits: a batch does not give one row of logits for each of its images.
    """
    results: list[Any] = []
    start = 0
    while start < len(images):
        size = FIRST_BATCH_SIZES[len(results)] if len(results) < len(FIRST_BATCH_SIZES) else BATCH_SIZE
        batch = images[start : start + size]
        result = run(batch)
        shape = getattr(result, "shape", None)
        if shape is None or len(shape) != 2 or len(result) != len(batch):
            got = f"a {type(result).__name__}" if shape is None else f"shape {tuple(shape)}"
            raise NotLogits(f"a batch of {len(batch)} gives {got}, expected logits of shape ({len(batch)}, classes)")
        results.append(result)
        start += size
    return results


def latency(run: Run, images: Any) -> float:
    """Median milliseconds of a batch."""
    run(images)
    seconds: list[float] = []
    start = time.perf_counter()
    while len(seconds) < MIN_ROUNDS or (time.perf_counter() - start < TIMING_SECONDS and len(seconds) < MAX_ROUNDS):
        round_start = time.perf_counter()
        run(images)
        seconds.append(time.perf_counter() - round_start)
    return 1000 * statistics.median(seconds)


def latencies(run: Run, images: Any) -> dict[str, float]:
    """Batch size -> milliseconds, for sizes of at most as many images as there are."""
    return {str(size): latency(run, images[:size]) for size in TIMED_BATCH_SIZES if len(images) >= size}


FORMS = {function.__name__: function for function in (python, torch_export, state, onnx)}


def main(form: str, folder: Path, work: Path, threads: int) -> None:
    """Run the form of a name."""
    read, run, write = FORMS[form](folder, threads, work)
    images = read(work)
    write(work, logits(run, images))
    (work / "latency.json").write_text(json.dumps(latencies(run, images)))


if __name__ == "__main__":
    main(
        sys.argv[1],
        Path(sys.argv[2]),
        Path(sys.argv[3]),
        int(sys.argv[4]),
    )
