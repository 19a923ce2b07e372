import shutil

import pytest
import torch

from nas import UserError
from nas.data.cifar10 import FOLDER, TRAIN, Cifar10


@pytest.fixture
def linked(cifar10_root, tmp_path):
    """A folder of links to the real batches, so that one of them can be broken."""
    folder = tmp_path / "data" / FOLDER
    folder.mkdir(parents=True)
    for path in cifar10_root.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def test_the_real_images_are_split_in_balanced_halves_and_need_no_test_batch(linked):
    (linked / "test_batch").unlink()
    data = Cifar10(str(linked.parent))
    split = data.split()
    assert split.hash == "2cd06f9b5d0280ac"  # pinned: stored runs rely on it
    for part in (split.train, split.valid):
        assert part.pixels.shape == (25_000, 3, 32, 32)
        assert torch.bincount(part.labels).tolist() == [2_500] * 10
    mean = split.whole().pixels.float().mean((0, 2, 3)) / 255
    assert torch.allclose(mean, torch.tensor(split.train.mean), atol=1e-4)
    with pytest.raises(UserError, match="test_batch cannot be read"):
        data.read_test()


def test_a_truncated_batch_is_named(linked):
    broken = linked / "data_batch_3"
    content = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(content[:1_000_000])
    with pytest.raises(UserError, match=r"CIFAR-10 file .*data_batch_3 is damaged \(1,000,000 bytes"):
        Cifar10(str(linked.parent)).split()


def test_a_missing_batch_is_named(linked):
    (linked / "data_batch_5").unlink()
    with pytest.raises(UserError, match=r"data_batch_5 cannot be read \(No such file or directory\)"):
        Cifar10(str(linked.parent)).split()


def test_no_file_is_unpickled_before_its_sum_was_checked(tmp_path):
    """A pickle can run code; one with another sum must never get that far."""
    marker, folder = tmp_path / "was run", tmp_path / FOLDER
    folder.mkdir()
    for name in TRAIN:
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch \"%s\"'\ntR." % str(marker).encode())
    with pytest.raises(UserError, match="data_batch_1 is damaged"):
        Cifar10(str(tmp_path)).split()
    assert not marker.exists()


def test_offline_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("nas.data.cifar10.ADDRESS", "http://127.0.0.1:9/cifar-10-python.tar.gz")  # nobody listens there
    with pytest.raises(UserError) as error:
        Cifar10("elsewhere").split()
    message = str(error.value)
    assert "data.root (elsewhere)" in message
    assert str(tmp_path / "nowhere") in message
    assert str(tmp_path / "cache" / "cellnas") in message
    assert "data=digits" in message
    assert "\n" not in message
    assert not (tmp_path / "cache").exists()


def test_the_folders_are_searched_in_order(cifar10_root, tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = tmp_path / "cellnas"
    cached.mkdir()
    (cached / FOLDER).symlink_to(cifar10_root)
    assert Cifar10().folder() == cached / FOLDER
    near = tmp_path / "near"
    shutil.copytree(cached, near, symlinks=True)
    monkeypatch.setenv("NAS_DATA", str(near))
    assert Cifar10().folder() == near / FOLDER
    assert Cifar10(str(cached)).folder() == cached / FOLDER
