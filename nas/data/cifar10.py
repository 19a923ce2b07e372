"""CIFAR-10: 50,000 training and 10,000 test images, 3x32x32 pixels, 10 classes.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html. The official python version is read directly, each file checked against
its official MD5 sum before it is unpickled.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from nas.core import Task
from nas.data.base import DataSet
from nas.data.download import Archive, download, reachable
from nas.data.images import Images
from nas.errors import UsageError, UserError
from nas.files import cache_folder
from nas.validation import as_written

FOLDER = "cifar-10-batches-py"
ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
DISK_BYTES = 360_000_000
"""Archive and unpacked files."""
TRAIN = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
TEST = {"test_batch": "40351d587109b95175f43aff81a1287e"}
POOLS = (1, 2, 4, 8, 16)
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class Cifar10(DataSet):
    """CIFAR-10 from disk, downloaded if it is missing.

    Args:
        root: Folder that holds, or will hold, `cifar-10-batches-py`; None: `NAS_DATA` or the cache.
        valid_fraction: Share of the training images held out for validation (NAS-Bench-201: 0.5).
        split_seed: Selects one of the possible splits.
        pool: Side of the square of pixels that is averaged into one: 1, 2, 4, 8 or 16; 4 gives images of 8x8 pixels.
    """

    name = "cifar10"
    task = Task(channels=3, height=32, width=32, classes=10)
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(
        self, root: str | None = None, valid_fraction: float = 0.5, split_seed: int = 0, pool: int = 1
    ) -> None:
        super().__init__(valid_fraction, split_seed)
        if pool not in POOLS or isinstance(pool, bool):
            raise UsageError(f"data.pool must be one of {', '.join(map(str, POOLS))}, got {as_written(pool)}")
        self.root = root
        self.pool = pool
        if pool > 1:
            side = 32 // pool
            self.name = f"cifar10-{side}x{side}"
            self.task = Task(channels=3, height=side, width=side, classes=10)

    def read_train(self) -> Images:
        return pooled(_read(self.folder(), TRAIN), self.pool)

    def read_test(self) -> Images:
        return pooled(_read(self.folder(), TEST), self.pool)

    def folder(self) -> Path:
        """The folder with the batches, downloaded if it is missing.

        Raises:
            UserError: The download failed.
        """
        roots = [Path(p).expanduser() for p in (self.root, os.environ.get("NAS_DATA"), cache_folder()) if p]
        for root in roots:
            for folder in (root / FOLDER, root):
                if folder.name == FOLDER and folder.is_dir():
                    return folder
        # An explicit data.root is where the user wants the files; NAS_DATA may be shared and read-only.
        target = roots[0] if self.root else cache_folder()
        looked = ", ".join(
            (
                f"data.root ({self.root or 'not set'})",
                f"NAS_DATA ({os.environ.get('NAS_DATA') or 'not set'})",
                str(cache_folder()),
            )
        )
        _download(target, looked)
        return target / FOLDER


def pooled(images: Images, side: int) -> Images:
    """The images with every square of `side` x `side` pixels replaced by its mean, rounded to a whole value."""
    if side == 1:
        return images
    means = F.avg_pool2d(images.pixels.float(), side)
    return replace(images, pixels=means.round().to(torch.uint8))


def _read(folder: Path, sums: dict[str, str]) -> Images:
    """The images of some files, in the order of the files.

    Raises:
        UserError: A file is missing or is not the official one.
    """
    pixels, labels = [], []
    for name, md5 in sums.items():
        path = folder / name
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"CIFAR-10 file {path} cannot be read ({error.strerror or error}); "
                "restore it, set data.root to a complete copy, or try data=digits"
            ) from None
        if hashlib.md5(raw, usedforsecurity=False).hexdigest() != md5:
            raise UserError(
                f"CIFAR-10 file {path} is damaged ({len(raw):,} bytes, its MD5 sum is not {md5}); "
                "delete it and restore it, or set data.root to a complete copy"
            )
        batch = pickle.loads(raw, encoding="bytes")
        pixels.append(batch[b"data"].reshape(-1, 3, 32, 32))
        labels += batch[b"labels"]
    return Images(
        torch.from_numpy(np.concatenate(pixels)),
        torch.tensor(labels, dtype=torch.int64),
        MEAN,
        STD,
        mirror=True,
    )


def _download(target: Path, looked: str) -> None:
    """Download and unpack the official archive.

    Raises:
        UserError: The network is unreachable, or the download failed.
    """
    advice = "Set data.root to a folder that holds cifar-10-batches-py, or try data=digits."
    reason = reachable(ADDRESS)
    if reason is not None:
        raise UserError(f"CIFAR-10 was not found in {looked}, and it could not be downloaded ({reason}). {advice}")
    download(Archive("CIFAR-10", ADDRESS, ARCHIVE_MD5, FOLDER, DISK_BYTES), target, advice)
