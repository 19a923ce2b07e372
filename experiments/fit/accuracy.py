"""What `nas fit` reaches on folders of pictures, and when it ends.

    python experiments/fit/accuracy.py --work FOLDER [--only NAME …]

Writes each set as PNG files into FOLDER, runs `nas fit` on it, and adds a row to accuracy.csv beside this file: the
minutes that were given and taken, the method that won, its test accuracy, that of the baseline, and the test of the
difference. A set whose row exists is not run again. CIFAR-10 is read from $NAS_DATA; on two cores all take 40 minutes.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from nas.data import Cifar10

OUT = Path(__file__).with_suffix(".csv")
COLUMNS = (
    "set", "minutes", "taken", "method", "accuracy", "low", "high", "test_images", "baseline", "difference", "p",
    "candidates",
)  # fmt: skip
TEST_EACH = 200
"""Test pictures of each class where the training pictures are few."""


@dataclass(frozen=True)
class PictureSet:
    """A folder of pictures.

    Args:
        minutes: Time for `nas fit`.
        write: Writes the pictures.
    """

    minutes: float
    write: Callable[[Path], None]


def save(pixels: np.ndarray, root: Path, label: str, number: int) -> None:
    folder = root / label
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{number:05d}.png")


def cifar(each: int, *, held_out: bool) -> Callable[[Path], None]:
    """CIFAR-10 with some pictures of each class; `held_out`: with a test folder from the official test images."""

    def write(root: Path) -> None:
        data, rng = Cifar10(), np.random.default_rng(0)
        parts = [(data.read_train(), each, root / "train" if held_out else root)]
        if held_out:
            parts.append((data.read_test(), TEST_EACH, root / "test"))
        for images, count, folder in parts:
            labels = images.labels.numpy()
            for label, name in enumerate(data.class_names):
                for position in rng.permutation(np.flatnonzero(labels == label))[:count]:
                    save(images.pixels[position].permute(1, 2, 0).numpy(), folder, name, int(position))

    return write


def digits(each: int | None) -> Callable[[Path], None]:
    """scikit-learn's digits: all of them, or some of each class to learn from and the others in a test folder."""

    def write(root: Path) -> None:
        bunch, seen = load_digits(), dict.fromkeys(range(10), 0)
        for position in np.random.default_rng(0).permutation(len(bunch.target)):
            label = int(bunch.target[position])
            part = "" if each is None else "train" if seen[label] < each else "test"
            seen[label] += 1
            pixels = np.rint(bunch.images[position] * 255 / 16).astype(np.uint8)
            save(pixels, root / part, str(label), int(position))

    return write


SETS = {
    "cifar10, 10 a class": PictureSet(5, cifar(10, held_out=True)),
    "cifar10, 100 a class": PictureSet(10, cifar(100, held_out=True)),
    "digits, 20 a class": PictureSet(3, digits(20)),
    "digits": PictureSet(5, digits(None)),
    "cifar10, 200": PictureSet(5, cifar(20, held_out=False)),
    "cifar10, 2000": PictureSet(5, cifar(200, held_out=False)),
    "cifar10, 20000": PictureSet(5, cifar(2000, held_out=False)),
    "digits, one minute": PictureSet(1, digits(None)),
    "cifar10, 20000, one minute": PictureSet(1, cifar(2000, held_out=False)),
}


def fitted(name: str, one: PictureSet, work: Path) -> dict[str, object]:
    """The row of a set."""
    folder = work / name.replace(", ", "-").replace(" ", "-")
    if not (folder / "photos").is_dir():
        one.write(folder / "unfinished")
        (folder / "unfinished").rename(folder / "photos")
    started = time.perf_counter()
    words = ["fit", "data.root=photos", f"minutes={one.minutes:g}", "format=json"]
    done = subprocess.run(
        [sys.executable, "-m", "nas", *words], cwd=folder, stdout=subprocess.PIPE, check=True, text=True
    )
    taken = (time.perf_counter() - started) / 60
    result = json.loads(done.stdout)
    winner, baseline, ahead = result["winner"], result["baseline"], result["difference"]
    return {
        "set": name,
        "minutes": one.minutes,
        "taken": f"{taken:.2f}",
        "method": winner["method"],
        "accuracy": f"{winner['test_accuracy']:.4f}",
        "low": f"{winner['test_low']:.4f}",
        "high": f"{winner['test_high']:.4f}",
        "test_images": winner["test_images"],
        "baseline": f"{(baseline or winner)['test_accuracy']:.4f}",
        "difference": "" if ahead is None else f"{ahead['mean']:.4f}",
        "p": "" if ahead is None else f"{ahead['p']:.2g}",
        "candidates": result["trials"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the pictures, the runs and the models")
    parser.add_argument("--only", nargs="*", choices=SETS, default=list(SETS))
    given = parser.parse_args()
    rows = list(csv.DictReader(OUT.open())) if OUT.is_file() else []
    for name in given.only:
        if any(row["set"] == name for row in rows):
            continue
        rows.append(fitted(name, SETS[name], given.work.absolute()))
        print(rows[-1], flush=True)
        rows.sort(key=lambda row: list(SETS).index(str(row["set"])))
        with OUT.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
