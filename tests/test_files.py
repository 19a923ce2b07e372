"""Atomic writes of files and folders."""

import os
import platform
import subprocess
import sys

import pytest

from nas import UserError
from nas.files import atomic_folder, check_folder


def fill(target, then):
    with atomic_folder(target) as folder:
        (folder / "file").write_text("ours")
        then()


def failing():
    raise RuntimeError


def test_a_folder_is_written_completely_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "out"
    with pytest.raises(RuntimeError):
        fill(target, failing)
    assert list(target.parent.iterdir()) == []
    target.mkdir()
    fill(target, lambda: None)
    assert [path.name for path in target.iterdir()] == ["file"]
    fill(target, lambda: None)  # the same content again
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_another_process_fills_meanwhile_is_left_unchanged(tmp_path):
    target = tmp_path / "out"

    def meanwhile():
        target.mkdir()
        (target / "theirs").write_text("theirs")

    with pytest.raises(UserError, match="out is not an empty folder"):
        fill(target, meanwhile)
    assert [path.name for path in target.iterdir()] == ["theirs"]
    assert list(tmp_path.iterdir()) == [target]


def test_checking_a_folder_leaves_nothing(tmp_path):
    check_folder(tmp_path / "deep" / "deeper" / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    for name in ("file", "."):
        with pytest.raises(UserError, match="is not an empty folder"):
            check_folder(tmp_path / name)
    with pytest.raises(UserError, match="cannot be written"):
        check_folder(tmp_path / "file" / "below")


def test_temporary_folders_of_a_killed_process_are_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".model.{platform.node()}-{dead.pid}.abc"
    alive = tmp_path / f".model.{platform.node()}-{os.getpid()}.abc"
    for folder in (left, alive):
        folder.mkdir()
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "a").write_text("a")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive.name, "model"])
