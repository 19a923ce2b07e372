"""Ten faults, planted one at a time in folders of CIFAR-10 pictures, and clean folders of CIFAR-10 and digits.

    NAS_DATA=… python experiments/fit/planted_faults.py

A fault counts as named if a finding of its kind lists every planted file; a clean folder counts as clean without a
problem, doubtful labels included, which the pretrained network looks for. Each is tried with three draws of the
pictures. Writes planted_faults.csv beside this file.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from nas.backbones import make_backbone
from nas.data import Cifar10, DataSet, Digits
from nas.data.image_folder import ImageFolder
from nas.inspection import Inspection, inspect, make_features, subject_of

DRAWS = 3
OUT = Path(__file__).with_suffix(".csv")
COLUMNS = ("set", "pictures", "kind", "tried", "named", "other_problems", "notes", "seconds")
WIDTHS = (32, 9, 28, 6, 6, 15, 24, 8)


def write(data: DataSet, root: Path, each: int, draw: int, classes: int = 10) -> list[list[Path]]:
    """A folder a class, with pictures that the draw selects; returns the files of each class."""
    images = data.read_train()
    labels = images.labels.numpy()
    rng = np.random.default_rng(draw)
    files: list[list[Path]] = []
    for label in range(classes):
        folder = root / (data.class_names[label] if data.class_names else str(label))
        folder.mkdir(parents=True)
        files.append([])
        for position in sorted(rng.permutation(np.flatnonzero(labels == label))[:each]):
            pixels = images.pixels[position].numpy()
            files[-1].append(folder / f"{position}.png")
            Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(files[-1][-1])
    return files


def pixels_of(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file)).copy()


def one_class(files: list[list[Path]]) -> list[Path]:
    for others in files[1:]:
        shutil.rmtree(others[0].parent)
    return files[0]


def unreadable(files: list[list[Path]]) -> list[Path]:
    files[2][3].write_bytes(b"not a picture")
    return [files[2][3]]


def truncated(files: list[list[Path]]) -> list[Path]:
    files[3][4].write_bytes(files[3][4].read_bytes()[:600])
    return [files[3][4]]


def empty(files: list[list[Path]]) -> list[Path]:
    files[4][5].write_bytes(b"")
    return [files[4][5]]


def under_two_labels(files: list[list[Path]]) -> list[Path]:
    copy = files[1][0].parent / "copy.png"
    shutil.copy(files[0][0], copy)
    return [files[0][0], copy]


def across_the_split(files: list[list[Path]]) -> list[Path]:
    root = files[0][0].parent.parent
    for part, chosen in (("train", slice(0, 20)), ("test", slice(20, None))):
        for one in files:
            folder = root / part / one[0].parent.name
            folder.mkdir(parents=True)
            for file in one[chosen]:
                file.rename(folder / file.name)
    for one in files:
        one[0].parent.rmdir()
    name = files[5][0].parent.name
    original, again = root / "train" / name / files[5][0].name, root / "test" / name / "again.jpg"
    Image.open(original).save(again, quality=90)
    return [original, again]


def under_ten(files: list[list[Path]]) -> list[Path]:
    for file in files[6][7:]:
        file.unlink()
    return files[6][:7]


def hundred_to_one(files: list[list[Path]]) -> list[Path]:
    for file in files[1][10:]:
        file.unlink()
    return files[1][:10]


def turned(files: list[list[Path]]) -> list[Path]:
    result = []
    for file in files[7][:3]:
        exif = Image.Exif()
        exif[0x0112] = 6
        image = Image.open(file).transpose(Image.Transpose.ROTATE_90)
        file.unlink()
        result.append(file.with_suffix(".jpg"))
        image.save(result[-1], quality=95, exif=exif)
    return result


def mixed(files: list[list[Path]]) -> list[Path]:
    grey, alpha, deep = files[8][0], files[8][1], files[9][0]
    Image.open(grey).convert("L").save(grey)
    image = Image.open(alpha).convert("RGBA")
    image.putalpha(200)
    image.save(alpha)
    Image.fromarray(np.asarray(Image.open(deep).convert("L")).astype(np.uint16) * 257).save(deep)
    return [grey, alpha, deep]


def border(files: list[list[Path]]) -> list[Path]:
    for file in files[9]:
        pixels = pixels_of(file)
        pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1] = 128, 128, 128, 128
        Image.fromarray(pixels).save(file)
    return files[9]


FAULTS: tuple[tuple[str, Callable[[list[list[Path]]], list[Path]], str, int, int], ...] = (
    ("one class only", one_class, "one_class", 30, 10),
    ("unreadable", unreadable, "unreadable_file", 30, 10),
    ("cut off", truncated, "truncated_file", 30, 10),
    ("empty", empty, "empty_file", 30, 10),
    ("duplicate under two labels", under_two_labels, "duplicate_under_two_labels", 30, 10),
    ("near duplicate across the split", across_the_split, "near_duplicate_across_parts", 30, 10),
    ("under 10 in a class", under_ten, "few_pictures", 30, 10),
    ("100:1", hundred_to_one, "imbalance", 1000, 2),
    ("turned by EXIF", turned, "turned_by_exif", 30, 10),
    ("grey, alpha and 16 bit", mixed, "mixed_modes", 30, 10),
    ("label told by the border", border, "label_told_by_border", 30, 10),
)
"""Name, what plants it, kind of its finding, pictures of each class, classes."""
CLEAN: tuple[tuple[type[DataSet], int], ...] = (
    (Cifar10, 10), (Cifar10, 20), (Cifar10, 100), (Cifar10, 200), (Digits, 10), (Digits, 20), (Digits, 140),
)  # fmt: skip
"""Data set and pictures of each class."""


def main() -> None:
    backbone = make_backbone("efficientnet_lite0")
    rows: list[tuple[object, ...]] = []

    def found(root: Path, *, doubts: bool = False) -> tuple[Inspection, float]:
        start = time.monotonic()
        subject = subject_of(ImageFolder(str(root), cache=str(root.parent / "cache")))
        inspection = inspect(subject, make_features(subject, backbone) if doubts else None)
        return inspection, time.monotonic() - start

    def add(*row: object) -> None:
        rows.append(row)
        print("  ".join(f"{cell!s:{width}}" for cell, width in zip(row, WIDTHS, strict=True)), flush=True)

    add(*COLUMNS)
    for name, plant, kind, each, classes in FAULTS:
        named, problems, notes, seconds = 0, set(), set(), 0.0
        for draw in range(DRAWS):
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder) / "photos"
                planted = {str(file.relative_to(root)) for file in plant(write(Cifar10(), root, each, draw, classes))}
                inspection, took = found(root)
                mine = [one for one in inspection.findings if one.kind == kind]
                named += any(planted <= set(one.files) for one in mine)
                others = [one for one in inspection.findings if one.kind != kind]
                problems |= {one.kind for one in others if one.severity == "problem"}
                notes |= {one.kind for one in others if one.severity == "note"}
                seconds += took / DRAWS
        texts = [" ".join(sorted(kinds)) for kinds in (problems, notes)]
        add(name, inspection.pictures, kind, DRAWS, named, *texts, f"{seconds:.1f}")
    for data, each in CLEAN:
        clean, problems, notes, seconds = 0, set(), set(), 0.0
        for draw in range(DRAWS):
            with tempfile.TemporaryDirectory() as folder:
                write(data(), Path(folder) / "photos", each, draw)
                inspection, took = found(Path(folder) / "photos", doubts=True)
                clean += not inspection.problems
                problems |= {one.kind for one in inspection.problems}
                notes |= {f"{one.kind}:{one.number:g}" for one in inspection.findings if one.severity == "note"}
                seconds += took / DRAWS
        texts = [" ".join(sorted(kinds)) for kinds in (problems, notes)]
        add(f"clean {data.name}", inspection.pictures, "no problem", DRAWS, clean, *texts, f"{seconds:.1f}")
    with OUT.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
