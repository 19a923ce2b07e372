"""A cleaned copy of a folder: what is left out, and that originals stay as they are."""

import csv

import pytest
from pictures.planted import FAULTS, clean
from PIL import Image

from nas import UsageError, UserError
from nas.data import Digits
from nas.data.image_folder import ImageFolder
from nas.inspection import inspect, subject_of, write_cleaned


def subject(root, **settings):
    return subject_of(ImageFolder(str(root), cache=str(root.parent / "cache"), **settings))


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        ("unreadable", ["cannot be read", "cannot be read"]),
        ("empty", ["empty"]),
        ("duplicate_under_two_labels", ["the same picture is under another label too"] * 2),
        ("near_duplicate_across_the_split", ["nearly the same picture is in test"]),
        ("turned_by_exif", []),
    ],
)
def test_a_copy_leaves_out_what_only_does_harm_and_says_why(fault, reasons, tmp_path):
    planted = FAULTS[fault](tmp_path / "photos")
    before = contents(planted.root)
    cleaned = write_cleaned(subject(planted.root), tmp_path / "fixed" / "here")
    with (tmp_path / "fixed" / "here" / "left_out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["reason"] for row in rows] == reasons
    assert {row["file"] for row in rows} <= set(planted.files)
    copied = contents(tmp_path / "fixed" / "here")
    del copied["left_out.csv"]
    assert copied == {name: data for name, data in before.items() if name not in cleaned.left_out}
    assert contents(planted.root) == before
    assert cleaned.kept == len(copied)
    assert not inspect(subject(tmp_path / "fixed" / "here")).problems


def test_of_exact_copies_the_one_in_the_test_part_stays(tmp_path):
    root = tmp_path / "photos"
    clean(root / "train")
    clean(root / "test", each=8, seed=1)
    (root / "train" / "cross" / "copy.png").write_bytes((root / "test" / "cross" / "001.png").read_bytes())
    cleaned = write_cleaned(subject(root), tmp_path / "fixed")
    assert cleaned.left_out == {"train/cross/copy.png": "copy of test/cross/001.png"}


def test_a_table_of_labels_is_copied_without_what_is_left_out(tmp_path):
    root = clean(tmp_path / "photos", each=4)
    Image.new("RGB", (32, 32), "red").save(root / "cross" / "000.png")
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    rows = [f"{file},{'x' if 'cross' in file else 'o'},{number // 2}" for number, file in enumerate(files)]
    (root / "labels.csv").write_text("\n".join(["file,label,patient", *rows]))
    write_cleaned(subject(root, group="patient"), tmp_path / "fixed")
    copy = subject(tmp_path / "fixed", group="group")
    assert (copy.class_names, len(copy.names)) == (("o", "x"), 11)
    assert copy.names == tuple(file for file in files if file != "cross/000.png")
    assert len(set(copy.groups)) == 6


def test_a_folder_that_is_not_empty_or_lies_inside_is_refused_and_left_as_it_is(tmp_path):
    root = clean(tmp_path / "photos", each=3)
    with pytest.raises(UserError, match=r"fix=.*fixed lies inside of the pictures of .*; choose a folder out"):
        write_cleaned(subject(root), root / "fixed")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="mine is not an empty folder and was left unchanged; set fix= to a new"):
        write_cleaned(subject(root), tmp_path / "mine")
    assert contents(tmp_path / "mine") == {"letter.txt": b"dear"}


def test_a_file_that_vanishes_leaves_no_half_copy(tmp_path):
    root = clean(tmp_path / "photos", each=3)
    found = subject(root)
    (root / "square" / "002.png").unlink()
    with pytest.raises(UserError, match=r"square/002\.png has vanished since it was read; nothing was written"):
        write_cleaned(found, tmp_path / "fixed")
    assert not [path for path in tmp_path.iterdir() if "fixed" in path.name]


def test_a_data_set_without_files_is_refused(tmp_path):
    with pytest.raises(UserError, match="fix= copies files, and this data set has none; use it with data=image_folder"):
        write_cleaned(subject_of(Digits()), tmp_path / "fixed")
