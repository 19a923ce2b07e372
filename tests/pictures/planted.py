"""Small folders of pictures for tests: a clean one, and one for each fault that a folder of pictures can have.

Run it as a program to look at them: `python tests/pictures/planted.py FOLDER`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("circle", "cross", "square")
ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class Planted:
    """A folder with a fault.

    Args:
        root: Folder.
        files: Pictures that have the fault, relative to the folder, with "/".
    """

    root: Path
    files: tuple[str, ...]


def drawn(kind: int, rng: np.random.Generator, width: int = 32, height: int = 32) -> np.ndarray:
    """A shape on a background of soft noise, uint8 (height, width, 3): its place, size and colours are drawn.

    Args:
        kind: 0 circle, 1 cross, 2 square; a higher number gives stripes of another direction.
    """
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    pixels = 60 + pixels * 0.4 + rng.normal(0, 6, pixels.shape)
    y, x = np.mgrid[0:height, 0:width]
    radius = min(width, height) * rng.uniform(0.2, 0.35)
    dy, dx = y - height * rng.uniform(0.35, 0.65), x - width * rng.uniform(0.35, 0.65)
    if kind == 0:
        inside = dx**2 + dy**2 <= radius**2
    elif kind == 1:
        inside = (np.minimum(abs(dx), abs(dy)) <= radius / 4) & (np.maximum(abs(dx), abs(dy)) <= radius)
    elif kind == 2:
        inside = np.maximum(abs(dx), abs(dy)) <= radius * 0.85
    else:
        inside = np.sin((dx * np.cos(kind) + dy * np.sin(kind)) * (8 / radius)) > 0.3
    pixels[inside] = rng.integers(150, 256, 3)
    return pixels.clip(0, 255).astype(np.uint8)


def clean(
    root: Path,
    each: int | Sequence[int] = 20,
    classes: Sequence[str] = CLASSES,
    *,
    size: tuple[int, int] = (32, 32),
    seed: int = 0,
    suffix: str = ".png",
) -> Path:
    """A folder a class, without a fault.

    Args:
        root: Folder to create.
        each: Pictures of each class, or of all.
        classes: Names of the folders.
        size: Width and height in pixels.
        seed: Selects one of the possible folders.
        suffix: Format.
    """
    rng = np.random.default_rng(seed)
    counts = [each] * len(classes) if isinstance(each, int) else each
    for kind, (name, count) in enumerate(zip(classes, counts, strict=True)):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(drawn(kind, rng, *size)).save(root / name / f"{number:03d}{suffix}")
    return root


def unreadable(root: Path) -> Planted:
    """One file is cut off, one is text."""
    clean(root)
    cut, text = root / "cross" / "003.png", root / "square" / "007.png"
    cut.write_bytes(cut.read_bytes()[:400])
    text.write_text("not a picture")
    return Planted(root, ("cross/003.png", "square/007.png"))


def empty(root: Path) -> Planted:
    """One file has no bytes."""
    (clean(root) / "circle" / "005.png").write_bytes(b"")
    return Planted(root, ("circle/005.png",))


def duplicate_under_two_labels(root: Path) -> Planted:
    """One picture is in two classes."""
    clean(root)
    (root / "square" / "copy.png").write_bytes((root / "circle" / "002.png").read_bytes())
    return Planted(root, ("circle/002.png", "square/copy.png"))


def near_duplicate(root: Path) -> Planted:
    """One picture was saved again, smaller and as JPEG."""
    clean(root, size=(64, 64))
    with Image.open(root / "circle" / "004.png") as opened:
        opened.resize((56, 56), Image.Resampling.BICUBIC).save(root / "circle" / "again.jpg", quality=85)
    return Planted(root, ("circle/004.png", "circle/again.jpg"))


def near_duplicate_across_the_split(root: Path) -> Planted:
    """One picture of `train` is, saved again as JPEG, in `test` too."""
    clean(root / "train", size=(64, 64))
    clean(root / "test", each=8, size=(64, 64), seed=1)
    with Image.open(root / "train" / "cross" / "006.png") as opened:
        opened.save(root / "test" / "cross" / "again.jpg", quality=85)
    return Planted(root, ("test/cross/again.jpg", "train/cross/006.png"))


def under_ten_in_a_class(root: Path) -> Planted:
    """One class has 6 pictures."""
    clean(root, each=(20, 6, 20))
    return Planted(root, tuple(f"cross/{number:03d}.png" for number in range(6)))


def imbalanced(root: Path) -> Planted:
    """One class has 100 times as many pictures as another."""
    clean(root, each=(1200, 12, 40), size=(16, 16))
    return Planted(root, tuple(f"cross/{number:03d}.png" for number in range(12)))


def turned_by_exif(root: Path) -> Planted:
    """Two files are to be turned by a quarter, as their EXIF data say."""
    clean(root, size=(48, 32), suffix=".jpg")
    for name in ("000.jpg", "001.jpg"):
        path = root / "circle" / name
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = 6
        with Image.open(path) as opened:
            turned = opened.transpose(Image.Transpose.ROTATE_90)
        turned.save(path, exif=exif, quality=90)
    return Planted(root, ("circle/000.jpg", "circle/001.jpg"))


def mixed_modes(root: Path) -> Planted:
    """One file is grey, one has transparent pixels, one has 16 bits, one a palette."""
    clean(root)
    colour = np.asarray(Image.open(root / "circle" / "000.png"))
    grey = np.asarray(Image.fromarray(colour).convert("L"))
    Image.fromarray(grey).save(root / "circle" / "000.png")
    alpha = np.full((*grey.shape, 1), 255, np.uint8)
    alpha[:8] = 0
    Image.fromarray(np.concatenate((colour, alpha), 2)).save(root / "circle" / "001.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(root / "cross" / "000.png")
    Image.open(root / "square" / "000.png").quantize(64).save(root / "square" / "000.png")
    return Planted(root, ("circle/000.png", "circle/001.png", "cross/000.png", "square/000.png"))


def label_told_by_the_border(root: Path) -> Planted:
    """Every picture of one class has a white frame."""
    clean(root)
    files = sorted((root / "square").iterdir())
    for path in files:
        pixels = np.asarray(Image.open(path)).copy()
        pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:] = 255, 255, 255, 255
        Image.fromarray(pixels).save(path)
    return Planted(root, tuple(f"square/{path.name}" for path in files))


def label_told_by_the_size(root: Path) -> Planted:
    """Every picture of one class is larger than the others, and of another format."""
    clean(root)
    for path in sorted((root / "cross").iterdir()):
        Image.open(path).resize((40, 40)).save(path.with_suffix(".jpg"))
        path.unlink()
    return Planted(root, tuple(f"cross/{path.name}" for path in sorted((root / "cross").iterdir())))


def one_class(root: Path) -> Planted:
    """All pictures are of one class."""
    clean(root, classes=("circle",))
    return Planted(root, tuple(f"circle/{number:03d}.png" for number in range(20)))


def blank_dark_and_blurred(root: Path) -> Planted:
    """One picture is of one colour, one is nearly black, one is out of focus."""
    clean(root, size=(64, 64))
    from PIL import ImageFilter

    Image.new("RGB", (64, 64), (90, 120, 200)).save(root / "circle" / "000.png")
    dark = np.asarray(Image.open(root / "cross" / "000.png")) // 25
    Image.fromarray(dark).save(root / "cross" / "000.png")
    path = root / "square" / "000.png"
    Image.open(path).filter(ImageFilter.GaussianBlur(9)).save(path)
    return Planted(root, ("circle/000.png", "cross/000.png", "square/000.png"))


def labels_without_a_rule(root: Path, each: int = 40, seed: int = 0) -> Planted:
    """The folder of each picture was drawn: there is no signal."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(np.arange(3 * each) % 3)
    for index, kind in enumerate(kinds):
        path = root / CLASSES[index // each] / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(int(kind), rng)).save(path)
    return Planted(root, tuple(f"{CLASSES[index // each]}/{index:03d}.png" for index in range(3 * each)))


FAULTS: dict[str, Callable[[Path], Planted]] = {
    fault.__name__: fault
    for fault in (
        unreadable, empty, duplicate_under_two_labels, near_duplicate, near_duplicate_across_the_split,
        under_ten_in_a_class, imbalanced, turned_by_exif, mixed_modes, label_told_by_the_border, label_told_by_the_size,
        one_class, blank_dark_and_blurred, labels_without_a_rule,
    )
}  # fmt: skip


if __name__ == "__main__":
    for name, fault in FAULTS.items():
        print(name, *fault(Path(sys.argv[1]) / name).files[:4])
