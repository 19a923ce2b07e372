"""Pictures are decoded once, as `nas predict` reads them, and again only when their files change."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple

import numpy as np
import planted
import pytest
from PIL import Image

from nas import UserError
from nas.pictures import cache as module
from nas.pictures import making
from nas.pictures.cache import cached
from nas.pictures.decoding import decode_quietly, row
from nas.pictures.listing import find_pictures
from nas.pictures.making import chosen_side


@pytest.fixture
def photos(tmp_path):
    return planted.clean(tmp_path / "photos", each=4, size=(24, 20))


@pytest.fixture
def reads(monkeypatch):
    """Files that were decoded."""
    names = []
    decode = making.decode

    def counted(path, colour, name):
        names.append(name)
        return decode(path, colour, name)

    monkeypatch.setattr(making, "decode", counted)
    return names


def made(root, tmp_path, side=16, channels=None, **more):
    return cached(find_pictures(root), side, channels, folder=tmp_path / "cache", **more)


def sentence(*arguments, **more):
    with pytest.raises(UserError) as error:
        made(*arguments, **more)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_row_is_what_prediction_reads(tmp_path):
    root = planted.mixed_modes(tmp_path / "photos").root
    planted.turned_by_exif(tmp_path / "turned")
    shutil.copytree(tmp_path / "turned", root, dirs_exist_ok=True)
    for channels in (1, 3):
        for side in (16, 20):  # of 32 pixels: averaged, and resized
            result = made(root, tmp_path, side, channels)
            for picture, pixels in zip(find_pictures(root).pictures, result.pixels, strict=True):
                image = decode_quietly(root / picture.file, (255, 255, 255)).image
                assert np.array_equal(pixels, row(image, channels, side, side)), picture.file


def test_the_facts_of_a_file(tmp_path, photos):
    exif = Image.Exif()
    exif[planted.ORIENTATION_TAG] = 6
    Image.new("RGB", (6, 4), (255, 0, 0)).save(photos / "cross" / "red.jpg", exif=exif)
    (photos / "cross" / "text.png").write_text("text")
    facts = {p.file: f for p, f in zip(find_pictures(photos).pictures, made(photos, tmp_path).facts, strict=True)}
    red = facts["cross/red.jpg"]
    assert (red.error, red.width, red.height, red.mode, red.format, red.orientation) == (None, 4, 6, "RGB", "JPEG", 6)
    assert red.bytes == (photos / "cross" / "red.jpg").stat().st_size
    assert (red.contrast, red.sharpness, red.grey) == (0, 0, False)
    assert red.brightness == pytest.approx(0.299, abs=0.01)
    assert red.border == pytest.approx((1, 0, 0, 0, 0, 0), abs=0.01)
    text = facts["cross/text.png"]
    assert (text.error, text.bytes, text.digest) == ("cross/text.png cannot be read (not an image)", 4, "")
    clear = facts["circle/000.png"]
    assert len(clear.digest) == 16
    assert clear.sharpness > 100
    assert 0 < clear.difference_hash < 1 << 64


def test_the_same_pixels_have_the_same_digest_in_any_format(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7), dtype=np.uint8)
    grey, root = Image.fromarray(pixels), tmp_path / "photos"
    for name, image in {"a/1.png": grey, "a/2.bmp": grey.convert("RGB"), "b/3.tiff": grey.rotate(180)}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
    one, two, three = made(root, tmp_path).facts
    assert one.digest == two.digest != three.digest


@pytest.mark.parametrize(("size", "side"), [((24, 20), 16), ((31, 400), 32), ((3000, 2000), 224), ((1, 1), 8)])
def test_the_side_is_chosen_from_the_shorter_sides_of_the_files(tmp_path, size, side):
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.new("L", size).save(tmp_path / name / "1.png")
    assert chosen_side(find_pictures(tmp_path)) == side


def test_pictures_that_are_all_grey_have_one_channel(tmp_path, photos):
    root = tmp_path / "grey"
    for path in sorted(photos.rglob("*.png")):
        target = root / path.relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("L").convert("RGB").save(target)
    result = made(root, tmp_path)
    assert (result.channels, result.pixels.shape, result.facts[0].mode) == (1, (12, 1, 16, 16), "RGB")
    first = np.array(result.pixels)
    shutil.copy(photos / "cross" / "000.png", root / "cross" / "colour.png")
    more = made(root, tmp_path)
    assert more.channels == 3
    assert np.array_equal(more.pixels[:4, 1], first[:4, 0])


def test_only_files_that_changed_are_read_again(tmp_path, photos, reads):
    before = made(photos, tmp_path)
    assert len(reads) == 12
    old = np.array(before.pixels)
    assert made(photos, tmp_path).facts == before.facts
    assert len(reads) == 12
    reads.clear()
    Image.new("RGB", (24, 20)).save(photos / "cross" / "001.png")
    (photos / "circle" / "003.png").unlink()
    Image.new("RGB", (24, 20), "red").save(photos / "square" / "new.png")
    after = made(photos, tmp_path)
    assert sorted(reads) == ["cross/001.png", "square/new.png"]
    assert np.array_equal(after.pixels[:3], old[:3])
    assert not after.pixels[4].any()
    assert np.array_equal(before.pixels, old)  # an open cache stays as it was
    reads.clear()
    os.utime(photos / "cross" / "002.png", ns=(1, 1))
    made(photos, tmp_path)
    assert reads == ["cross/002.png"]
    assert len([path for path in before.folder.parent.iterdir() if path.is_dir()]) == 1


def test_other_settings_have_a_cache_of_their_own(tmp_path, photos, reads):
    made(photos, tmp_path)
    made(photos, tmp_path, side=8)
    made(photos, tmp_path, background="black")
    assert len(reads) == 36
    made(photos, tmp_path)
    assert len(reads) == 36


def test_a_damaged_cache_is_made_again(tmp_path, photos, reads):
    whole = made(photos, tmp_path)
    for name in ("pixels.npy", "facts.npy", "texts.json"):
        file = whole.folder / name
        file.write_bytes(file.read_bytes()[:50])
        assert made(photos, tmp_path).facts == whole.facts
    assert len(reads) == 48


KILLED = """
import sys, time
from pathlib import Path
from nas.pictures import making
from nas.pictures.cache import cached
from nas.pictures.listing import find_pictures

read = making.decode
def slow(*arguments):
    print(flush=True)
    time.sleep(0.1)
    return read(*arguments)
making.decode = slow
cached(find_pictures(Path(sys.argv[1])), 16, None, folder=Path(sys.argv[2]))
"""


def test_a_killed_process_leaves_nothing_that_is_read_and_a_second_one_waits_for_the_first(tmp_path, photos, reads):
    words = [sys.executable, "-c", KILLED, str(photos), str(tmp_path / "cache")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as first:
        first.stdout.readline()
        first.send_signal(signal.SIGKILL)
    assert made(photos, tmp_path).pixels.shape == (12, 3, 16, 16)
    assert len(reads) == 12
    assert len([path for path in next((tmp_path / "cache").iterdir()).iterdir() if path.is_dir()]) == 1
    shutil.rmtree(tmp_path / "cache")
    with subprocess.Popen(words, stdout=subprocess.PIPE) as first:
        first.stdout.readline()
        with pytest.warns(UserWarning, match="another process is reading the pictures of .*; waiting for it"):
            made(photos, tmp_path)
        assert first.wait() == 0
    assert len(reads) == 12


@pytest.mark.filterwarnings("ignore:another process is reading")
def test_threads_of_one_process_may_ask_at_once(tmp_path, photos):
    results = []
    threads = [threading.Thread(target=lambda: results.append(made(photos, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4


def test_a_full_disk_is_named_with_what_to_set(tmp_path, photos, monkeypatch):
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as patch:
        patch.setattr(making.shutil, "disk_usage", lambda _path: usage(1_000))
        text = sentence(photos, tmp_path, side=224)
    assert f"the cache of data.root={photos} in {tmp_path}/cache/" in text
    assert "cannot be written (its pictures need 2 MB, and 0 MB is free); name another folder by data.cache" in text

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(making, "write_facts", full)
        text = sentence(photos, tmp_path)
    assert "(No space left on device; free up disk space, or choose a smaller data.side)" in text
    assert not [path for path in next((tmp_path / "cache").iterdir()).iterdir() if path.is_dir()]
    assert made(photos, tmp_path).side == 16


def test_a_folder_that_cannot_be_written_is_named(tmp_path, photos):
    (tmp_path / "cache").write_text("a file")
    assert "cannot be written (Not a directory); name another folder by data.cache" in sentence(photos, tmp_path)


def test_a_complete_cache_is_read_from_a_folder_that_cannot_be_written(tmp_path, photos, monkeypatch):
    made(photos, tmp_path)
    monkeypatch.setattr(module, "_locked", lambda *_: pytest.fail("nothing is to be made"))
    assert made(photos, tmp_path).side == 16


def test_pictures_none_of_which_can_be_read_are_refused(tmp_path):
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.png").write_bytes(b"")
    text = sentence(tmp_path / "photos", tmp_path)
    assert text.endswith("none of its 2 pictures can be read, the first is a/1.png cannot be read (it is empty)")


def test_files_that_change_without_end_are_refused(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(module, "read_state", lambda _folder, count: None)
    assert "its files change faster than they can be read; wait until they rest" in sentence(photos, tmp_path)


def test_a_file_that_vanishes_meanwhile_is_unreadable(tmp_path, photos):
    listing = find_pictures(photos)
    (photos / "circle" / "000.png").unlink()
    result = cached(listing, 16, None, folder=tmp_path / "cache")
    assert result.facts[0].error == "circle/000.png cannot be read (No such file or directory)"
    assert result.readable.tolist() == list(range(1, 12))


@pytest.mark.slow
def test_twenty_thousand_files_are_listed_in_seconds(tmp_path):
    for label in range(20):
        (tmp_path / f"{label}").mkdir()
        for number in range(1_000):
            (tmp_path / f"{label}" / f"{number}.png").touch()
    start = time.monotonic()
    assert len(find_pictures(tmp_path).pictures) == 20_000
    assert time.monotonic() - start < 5
