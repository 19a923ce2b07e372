"""Runs one exported form on images in a process of its own.

    python artifact_runner.py FOLDER WORK THREADS

It reads the images in WORK and writes logits and latencies there. The source of the format's `load` is in WORK too, so
the process imports only what the form itself needs.
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

LOADER_FILE = "load.py"
"""File of WORK with the source of the format's `load`."""
SPACE_FILE = "make_space.pickle"
"""File of WORK with the function that creates the space, written by the checking process; only `state` needs it."""

LogitsFunction = Callable[[Any], Any]


class NotLogits(ValueError):
    """A network or a form does not return one row of logits for each image."""


Form = tuple[Callable[[Path], Any], LogitsFunction, Callable[[Path, list[Any]], None]]
"""Reads the images, computes the logits of a batch, writes those of all batches."""


def in_torch(network: LogitsFunction, threads: int) -> Form:
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


def logits(run: LogitsFunction, images: Any) -> list[Any]:
    """Logits of all images, batch by batch: batches of 1, 2 and 16 images first, then of 64.

    Raises:
        NotLogits: A batch does not give one row of logits for each of its images.
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


def tolerance(logits: Any) -> float:
    """Largest difference of logits of a network that counts as rounding."""
    return 1e-4 * max(1.0, float(logits.abs().max()))


def latency(run: LogitsFunction, images: Any) -> float:
    """Median milliseconds of a batch."""
    run(images)
    seconds: list[float] = []
    start = time.perf_counter()
    while len(seconds) < MIN_ROUNDS or (time.perf_counter() - start < TIMING_SECONDS and len(seconds) < MAX_ROUNDS):
        round_start = time.perf_counter()
        run(images)
        seconds.append(time.perf_counter() - round_start)
    return 1000 * statistics.median(seconds)


def latencies(run: LogitsFunction, images: Any) -> dict[str, float]:
    """Batch size -> milliseconds, for sizes of at most as many images as there are."""
    return {str(size): latency(run, images[:size]) for size in TIMED_BATCH_SIZES if len(images) >= size}


def loader(work: Path) -> Callable[[Path, int, Path], Form]:
    """The `load` of a format, from its source."""
    source = "from __future__ import annotations\n" + (work / LOADER_FILE).read_text()
    names: dict[str, Any] = {"in_torch": in_torch}
    exec(compile(source, LOADER_FILE, "exec"), names)
    load: Callable[[Path, int, Path], Form] = names["load"]
    return load


def main(folder: Path, work: Path, threads: int) -> None:
    """Run the files of a form."""
    read, run, write = loader(work)(folder, threads, work)
    images = read(work)
    write(work, logits(run, images))
    (work / "latency.json").write_text(json.dumps(latencies(run, images)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
