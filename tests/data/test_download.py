"""Downloads against a server of this machine: two at once, killed ones, and all that can go wrong on the way."""

import errno
import hashlib
import http.server
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections import namedtuple

import pytest

from nas import UserError
from nas.data import cifar10
from nas.data import download as module
from nas.data.download import Archive, download

FILES = {"data_batch_1": b"one" * 5000, "test_batch": bytes(range(256)) * 20}


def packed(files):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at any path and counts how often; `part` cuts it, `seconds` is how long it thinks."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.part, self.seconds, self.served = (
            packed({f"pics/{k}": v for k, v in FILES.items()}),
            None,
            0,
            0,
        )
        self.sum = hashlib.md5(self.content).hexdigest()

    def archive(self, needed=1000):
        return Archive("Pictures", f"http://127.0.0.1:{self.server_port}/pics.tar.gz", self.sum, "pics", needed)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.served += 1
        seconds = self.server.seconds  # a test may change it once the first bytes have arrived
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[:10])
        self.wfile.flush()
        time.sleep(seconds)
        self.wfile.write(self.server.content[10 : self.server.part])

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield serving
        serving.shutdown()


def whole(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def visible(target):
    return sorted(path.name for path in target.iterdir() if not path.name.endswith(".lock"))


def test_an_archive_becomes_its_folder(server, tmp_path):
    download(server.archive(), tmp_path / "new" / "data", "No way out.")
    assert whole(tmp_path / "new" / "data" / "pics")
    assert visible(tmp_path / "new" / "data") == ["pics"]


def test_of_two_at_once_the_slower_waits_and_uses_what_the_other_brought(server, tmp_path, recwarn):
    server.seconds = 0.5
    errors = []

    def one():
        try:
            download(server.archive(), tmp_path, "")
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, server.served, visible(tmp_path)) == ([], 1, ["pics"])
    assert whole(tmp_path / "pics")


def test_a_killed_download_is_resumed(server, tmp_path, recwarn):
    """The waiting process continues with its own download and removes what the killed one left."""
    server.seconds = 30
    call = f"download({server.archive()!r}, Path({str(tmp_path)!r}), '')"
    code = f"from pathlib import Path; from nas.data.download import *; {call}"
    process = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / ".pics.partial" / "archive").exists():
        assert process.poll() is None
        time.sleep(0.02)
    server.seconds = 0
    waiting = threading.Thread(target=download, args=(server.archive(), tmp_path, ""))
    waiting.start()
    time.sleep(0.3)
    assert waiting.is_alive()
    process.kill()
    process.wait()
    waiting.join(10)
    message = f"another process is downloading Pictures to {tmp_path}; waiting for it"
    assert [str(warning.message) for warning in recwarn] == [message]
    assert visible(tmp_path) == ["pics"]
    assert whole(tmp_path / "pics")


def test_unfinished_folders_of_an_earlier_version_are_removed_if_their_process_has_ended(server, tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    for owner in (ended.pid, os.getpid()):
        (tmp_path / f".pics.{owner}").mkdir()
    download(server.archive(), tmp_path, "")
    assert visible(tmp_path) == [f".pics.{os.getpid()}", "pics"]


def fails(archive, target):
    with pytest.raises(UserError) as error:
        download(archive, target, "Set data.root.")
    assert str(error.value).startswith(f"downloading Pictures to {target} failed (")
    assert str(error.value).endswith("). Set data.root.")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_goes_wrong_is_a_sentence_and_leaves_nothing(server, tmp_path, monkeypatch):
    sound, gone = server.archive(), Archive("Pictures", "http://127.0.0.1:9/x", "0", "pics", 0)
    assert "Connection refused" in fails(gone, tmp_path)
    server.part = 100
    assert f"the connection broke off {len(server.content) - 100:,} bytes before the end" in fails(sound, tmp_path)
    server.part, server.content = None, b"<html>not today</html>"
    assert f"22 bytes were read from {sound.address}, and their MD5 sum is not {sound.md5}" in fails(sound, tmp_path)
    server.sum = hashlib.md5(server.content).hexdigest()
    assert "file could not be opened successfully" in fails(server.archive(), tmp_path)
    server.content = packed({"../outside": b"x"})
    server.sum = hashlib.md5(server.content).hexdigest()
    assert "outside" in fails(server.archive(), tmp_path)
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    server.seconds = 2
    assert "timed out" in fails(server.archive(), tmp_path)
    assert visible(tmp_path) == []
    assert not (tmp_path.parent / "outside").exists()


def test_a_full_disk_is_noticed_before_and_during_the_download(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: usage(9e9, 8.995e9, 5e6))
        text = fails(server.archive(360_000_000), tmp_path)
    assert text.startswith(f"downloading Pictures to {tmp_path} failed (5 MB is free; it needs 360 MB). Set")
    assert server.served == 0

    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extractall", full)
    assert "(No space left on device; it needs 0 MB)" in fails(server.archive(), tmp_path)
    assert visible(tmp_path) == []


def test_a_folder_that_cannot_be_created_is_a_sentence(server, tmp_path):
    (tmp_path / "file").write_text("")
    assert "Not a directory" in fails(server.archive(), tmp_path / "file" / "data")


def test_cifar10_is_downloaded_where_the_cache_is(server, tmp_path, monkeypatch):
    folder = cifar10.FOLDER
    server.content = packed({f"{folder}/{name}": content for name, content in FILES.items()})
    monkeypatch.setattr(cifar10, "ADDRESS", server.archive().address)
    monkeypatch.setattr(cifar10, "ARCHIVE_MD5", hashlib.md5(server.content).hexdigest())
    monkeypatch.setattr(cifar10, "DISK_BYTES", 1000)
    monkeypatch.delenv("NAS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cifar10.Cifar10().folder() == tmp_path / "cellnas" / folder
    assert whole(tmp_path / "cellnas" / folder)
    with pytest.raises(UserError, match="data_batch_1 is damaged"):
        cifar10.Cifar10().split()
