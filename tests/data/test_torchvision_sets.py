"""Sets that torchvision reads, in small files of its formats."""

import hashlib
import pickle
import struct

import numpy as np
import pytest
import torch
from own_images import sentence
from scipy.io import savemat

from nas.config.settings import compose
from nas.data.torchvision_sets import Cifar100, FashionMnist, Mnist, Svhn
from nas.testing import check_data

RNG = np.random.default_rng(0)


def idx(path, values):
    """A file of MNIST: magic number, sizes, values."""
    head = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def mnist(root, name="MNIST", count=40):
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        idx(folder / f"{part}-images-idx3-ubyte", RNG.integers(0, 256, (count, 28, 28)))
        idx(folder / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)


def summed(monkeypatch, kind, folder):
    """Replace the official sums by those of the files that a test made."""
    from torchvision import datasets

    def own(name):
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    if kind == "SVHN":
        parts = {
            part: [url, name, own(name)] for part, (url, name, _) in datasets.SVHN.split_list.items() if part != "extra"
        }
        monkeypatch.setattr(datasets.SVHN, "split_list", parts)
        return
    for attribute in ("train_list", "test_list"):
        files = [[name, own(name)] for name, _ in getattr(datasets.CIFAR100, attribute)]
        monkeypatch.setattr(datasets.CIFAR100, attribute, files)
    monkeypatch.setattr(datasets.CIFAR100, "meta", datasets.CIFAR100.meta | {"md5": own("meta")})


def cifar100(root, monkeypatch, count=300):
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        batch = {
            "data": RNG.integers(0, 256, (count, 3072), dtype=np.uint8), "fine_labels": [i % 100 for i in range(count)],
        }  # fmt: skip
        (folder / part).write_bytes(pickle.dumps(batch))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list(Cifar100.class_names)}))
    summed(monkeypatch, "CIFAR100", folder)


def svhn(folder, monkeypatch, count=60):
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        labels = np.arange(1, count + 1)[:, None] % 10
        labels[labels == 0] = 10  # the file counts the digit 0 as class 10
        savemat(
            folder / f"{part}_32x32.mat", {"X": RNG.integers(0, 256, (32, 32, 3, count), dtype=np.uint8), "y": labels}
        )
    summed(monkeypatch, "SVHN", folder)


@pytest.mark.parametrize(("kind", "name"), [(Mnist, "MNIST"), (FashionMnist, "FashionMNIST")])
def test_files_of_mnist_are_read(tmp_path, kind, name):
    mnist(tmp_path, name)
    check_data(lambda: kind(str(tmp_path)))
    split = kind(str(tmp_path / name)).split()  # the folder itself
    assert (split.train.pixels.shape, len(split.valid)) == ((30, 1, 28, 28), 10)
    assert split.train.mirror is (kind is FashionMnist)


def test_cifar100_is_read_and_its_classes_are_those_of_its_file(tmp_path, monkeypatch):
    cifar100(tmp_path, monkeypatch)
    check_data(lambda: Cifar100(str(tmp_path)))
    assert len(set(Cifar100.class_names)) == 100
    assert list(Cifar100.class_names) == sorted(Cifar100.class_names)


@pytest.mark.parametrize("inside", ["svhn", ""])
def test_svhn_is_read_from_its_folder_or_the_root_itself_and_its_tens_are_zeros(tmp_path, monkeypatch, inside):
    svhn(tmp_path / inside, monkeypatch)
    data = Svhn(str(tmp_path))
    check_data(lambda: Svhn(str(tmp_path)))
    assert torch.bincount(data.read_test().labels).tolist() == [6] * 10


def test_a_damaged_file_is_named_with_what_to_do(tmp_path, monkeypatch):
    mnist(tmp_path)
    images = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:1000])
    text = sentence(Mnist(str(tmp_path)).split)
    assert text.startswith(f"MNIST in {tmp_path}/MNIST is incomplete or damaged (")
    assert text.endswith("); delete that folder and restore it, or set data.root to a complete copy")
    images.unlink()
    assert "is incomplete or damaged (Dataset not found)" in sentence(Mnist(str(tmp_path)).split)
    cifar100(tmp_path, monkeypatch)
    (tmp_path / "cifar-100-python" / "train").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert "CIFAR-100 in" in sentence(Cifar100(str(tmp_path)).split)


@pytest.mark.parametrize("option", ["cifar100", "mnist", "fashion_mnist", "svhn"])
def test_offline_the_way_out_is_named(tmp_path, monkeypatch, option):
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = compose("search", [f"data={option}", "data.root=elsewhere"]).make("data")
    monkeypatch.setattr(type(data), "address", "http://127.0.0.1:9/file")  # nobody listens there
    text = sentence(data.split)
    assert f"{data.title} was not found in data.root (elsewhere), NAS_DATA ({tmp_path / 'nowhere'}), " in text
    assert text.endswith(f"Set data.root to a folder that holds {data.folder_name}, or try data=digits.")
    assert not (tmp_path / "cache").exists()


def test_a_download_is_complete_or_absent(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("nas.data.torchvision_sets.reachable", lambda _address: None)
    failures = [RuntimeError("Error downloading train-images:\nTried two mirrors")]

    def opened(folder, *, train, download):
        if download:
            print("as torchvision does")
        if failures and not train:
            raise failures.pop()
        if not folder.exists():
            mnist(folder.parent)
        return Opened(folder, train=train, download=False)

    Opened = Mnist.opened
    monkeypatch.setattr(Mnist, "opened", staticmethod(opened))
    data = Mnist(str(tmp_path / "new"))
    assert "failed (Error downloading train-images: Tried two mirrors). Set data.root" in sentence(data.folder)
    assert not (tmp_path / "new" / "MNIST").exists()
    assert len(data.split().train) == 30
    assert sorted(path.name for path in (tmp_path / "new").iterdir() if path.suffix != ".lock") == ["MNIST"]
    assert capsys.readouterr().out == ""  # results go there
