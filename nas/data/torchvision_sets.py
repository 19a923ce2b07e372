"""CIFAR-100, MNIST, Fashion-MNIST and SVHN, read and downloaded by torchvision, which checks their official MD5 sums.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009 (CIFAR-100). LeCun, Bottou, Bengio & Haffner,
"Gradient-based learning applied to document recognition", Proceedings of the IEEE 1998 (MNIST). Xiao, Rasul & Vollgraf,
"Fashion-MNIST", 2017, https://arxiv.org/abs/1708.07747. Netzer et al., "Reading digits in natural images with
unsupervised feature learning", NIPS workshop 2011 (SVHN).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import zlib
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from nas.core import Task
from nas.data.base import DataSet
from nas.data.download import complete_folder, reachable
from nas.data.images import Images
from nas.errors import UserError
from nas.files import cache_folder

DAMAGE = (RuntimeError, OSError, ValueError, AssertionError, KeyError, EOFError, pickle.UnpicklingError, zlib.error,
          TypeError)  # fmt: skip
"""What reading an incomplete or damaged file raises."""


class TorchvisionSet(DataSet):
    """Base of data sets that torchvision reads.

    Args:
        root: Folder that holds, or will hold, the folder of the data set; None: `NAS_DATA` or the cache.
        valid_fraction: Share of the training images held out for validation.
        split_seed: Selects one of the possible splits.
    """

    title: ClassVar[str]
    folder_name: ClassVar[str]
    """Folder as torchvision names it, in the root."""
    loose_file: ClassVar[str | None] = None
    """File that torchvision puts into the root itself, without a folder."""
    address: ClassVar[str]
    """File whose server must answer before a download."""
    disk_bytes: ClassVar[int]
    """Archives and unpacked files."""
    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]
    mirror: ClassVar[bool] = False

    def __init__(self, root: str | None = None, valid_fraction: float = 0.2, split_seed: int = 0) -> None:
        super().__init__(valid_fraction, split_seed)
        self.root = root

    @staticmethod
    @abstractmethod
    def opened(folder: Path, *, train: bool, download: bool) -> tuple[Any, Any]:
        """Pixels, uint8 (N, C, H, W), and labels of a part, from the folder of the data set."""

    def read_train(self) -> Images:
        return self._read(train=True)

    def read_test(self) -> Images:
        return self._read(train=False)

    def folder(self) -> Path:
        """The folder of the data set, downloaded if it is missing.

        Raises:
            UserError: The download failed.
        """
        roots = [Path(p).expanduser() for p in (self.root, os.environ.get("NAS_DATA"), cache_folder()) if p]
        for root in roots:
            for folder in (root / self.folder_name, root):
                if folder.name == self.folder_name and folder.is_dir():
                    return folder
            if self.loose_file and (root / self.loose_file).is_file():
                return root
        target = roots[0] if self.root else cache_folder()
        advice = f"Set data.root to a folder that holds {self.folder_name}, or try data=digits."
        reason = reachable(self.address)
        if reason is not None:
            raise UserError(
                f"{self.title} was not found in data.root ({self.root or 'not set'}), NAS_DATA "
                f"({os.environ.get('NAS_DATA') or 'not set'}), {cache_folder()}, and it could not be downloaded "
                f"({reason}). {advice}"
            )
        complete_folder(self.title, self.folder_name, self.disk_bytes, target, advice=advice, fill=self._download)
        return target / self.folder_name

    def _download(self, parent: Path) -> None:
        with contextlib.redirect_stdout(sys.stderr):  # results go to stdout, and a progress bar is none
            for train in (True, False):
                self.opened(parent / self.folder_name, train=train, download=True)

    def _read(self, *, train: bool) -> Images:
        folder = self.folder()
        try:
            pixels, labels = self.opened(folder, train=train, download=False)
        except DAMAGE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{self.title} in {folder} is incomplete or damaged ({reason.partition('. You can use')[0]}); delete "
                "that folder and restore it, or set data.root to a complete copy"
            ) from None
        return Images(
            torch.as_tensor(np.ascontiguousarray(pixels)),
            torch.as_tensor(np.asarray(labels), dtype=torch.int64),
            self.mean,
            self.std,
            mirror=self.mirror,
        )


class Cifar100(TorchvisionSet):
    """50,000 training and 10,000 test images, 3x32x32 pixels, 100 classes."""

    name = "cifar100"
    title = "CIFAR-100"
    task = Task(channels=3, height=32, width=32, classes=100)
    class_names = (
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
        "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
        "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
        "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
        "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
        "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
        "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
        "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
        "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
        "willow_tree", "wolf", "woman", "worm",
    )  # fmt: skip
    folder_name = "cifar-100-python"
    address = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    disk_bytes = 360_000_000
    mean, std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    mirror = True

    @staticmethod
    def opened(folder: Path, *, train: bool, download: bool) -> tuple[Any, Any]:
        from torchvision.datasets import CIFAR100

        data = CIFAR100(folder.parent, train=train, download=download)
        return data.data.transpose(0, 3, 1, 2), data.targets


class Mnist(TorchvisionSet):
    """60,000 training and 10,000 test images of handwritten digits, 1x28x28 pixels, 10 classes."""

    name = "mnist"
    title = "MNIST"
    task = Task(channels=1, height=28, width=28, classes=10)
    folder_name = "MNIST"
    address = "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz"
    disk_bytes = 70_000_000
    mean, std = (0.1307,), (0.3081,)

    @staticmethod
    def opened(folder: Path, *, train: bool, download: bool) -> tuple[Any, Any]:
        from torchvision.datasets import MNIST

        data = MNIST(folder.parent, train=train, download=download)
        return data.data[:, None], data.targets


class FashionMnist(TorchvisionSet):
    """60,000 training and 10,000 test images of clothes, 1x28x28 pixels, 10 classes."""

    name = "fashion_mnist"
    title = "Fashion-MNIST"
    task = Task(channels=1, height=28, width=28, classes=10)
    class_names = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip
    folder_name = "FashionMNIST"
    address = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz"
    disk_bytes = 90_000_000
    mean, std = (0.2860,), (0.3530,)
    mirror = True

    @staticmethod
    def opened(folder: Path, *, train: bool, download: bool) -> tuple[Any, Any]:
        from torchvision.datasets import FashionMNIST

        data = FashionMNIST(folder.parent, train=train, download=download)
        return data.data[:, None], data.targets


class Svhn(TorchvisionSet):
    """73,257 training and 26,032 test images of house numbers, 3x32x32 pixels, 10 classes; its folder is `svhn`."""

    name = "svhn"
    title = "SVHN"
    task = Task(channels=3, height=32, width=32, classes=10)
    folder_name = "svhn"
    loose_file = "train_32x32.mat"
    address = "http://ufldl.stanford.edu/housenumbers/test_32x32.mat"
    disk_bytes = 260_000_000
    mean, std = (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)

    @staticmethod
    def opened(folder: Path, *, train: bool, download: bool) -> tuple[Any, Any]:
        from torchvision.datasets import SVHN

        data = SVHN(folder, split="train" if train else "test", download=download)
        return data.data, data.labels
