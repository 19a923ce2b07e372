"""Which pictures a folder holds, and what is said of folders that hold none that can be learned from."""

import os
from pathlib import Path

import pytest
from PIL import Image

from nas import UserError
from nas.pictures import walking
from nas.pictures.listing import find_pictures


def put(root, *files):
    """Small pictures, or other files by their suffix."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpg"):
            Image.new("L", (4, 4), len(file)).save(path, format="PNG")
        else:
            path.write_text("text")
    return root


def listed(root, **more):
    """(file, class, part) of each picture."""
    found = find_pictures(root, **more)
    return [(one.file, found.class_names[one.label], one.part) for one in found.pictures]


def sentence(root, **more):
    with pytest.raises(UserError) as error:
        find_pictures(root, **more)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_folder_a_class_with_all_that_is_below_it(tmp_path):
    put(tmp_path, "dog/b.JPG", "dog/old/deep/c.png", "dog/notes.txt", "Katze é/ü 1.png", "Katze é/a.png")
    assert listed(tmp_path) == [
        ("Katze é/a.png", "Katze é", None),
        ("Katze é/ü 1.png", "Katze é", None),
        ("dog/b.JPG", "dog", None),
        ("dog/old/deep/c.png", "dog", None),
    ]
    assert find_pictures(tmp_path).others == 1


def test_what_systems_add_is_ignored(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", "__MACOSX/a/1.png", ".hidden/1.png", "a/._1.png", "a/Thumbs.db", "b/.DS_Store")
    assert [file for file, *_ in listed(tmp_path)] == ["a/1.png", "b/1.png"]
    assert find_pictures(tmp_path).others == 0


def test_classes_that_are_numbers_are_in_the_order_of_numbers(tmp_path):
    put(tmp_path, *(f"{number}/1.png" for number in (10, 9, 100, 2)))
    assert find_pictures(tmp_path).class_names == ("2", "9", "10", "100")


@pytest.mark.parametrize("valid", ["valid", "val", "Validation"])
def test_folders_of_parts(tmp_path, valid):
    put(tmp_path, *(f"{part}/{name}/1.png" for part in ("Train", valid, "test") for name in "ab"), "README.md")
    files = [(f"{folder}/{name}/1.png", folder) for folder in ("Train", valid, "test") for name in "ab"]
    parts = {"Train": "train", valid: "valid", "test": "test"}
    assert [(file, part) for file, _, part in listed(tmp_path)] == sorted((file, parts[one]) for file, one in files)


def test_train_alone_is_a_folder_of_parts_and_a_train_among_vehicles_a_class(tmp_path):
    put(tmp_path / "parts", "train/a/1.png", "train/b/1.png", "empty/notes.txt")
    assert [part for *_, part in listed(tmp_path / "parts")] == ["train", "train"]
    put(tmp_path / "vehicles", "train/1.png", "bus/1.png", "train/steam/2.png")
    assert [label for _, label, _ in listed(tmp_path / "vehicles")] == ["bus", "train", "train"]


def test_labels_of_a_csv_file(tmp_path):
    put(tmp_path, "x/1.png", "x/2.png", "3 ü.png", "4.png")
    (tmp_path / "labels.csv").write_text(
        "Patient;LABEL;File;split\np1;cat;x/1.png;train\n"
        'p2;"dog; small";x\\2.png;\n;cat;3 ü.png;Val\n;cat;4.png;test\n',
        encoding="utf-8-sig",
    )
    assert listed(tmp_path) == [
        ("3 ü.png", "cat", "valid"),
        ("4.png", "cat", "test"),
        ("x/1.png", "cat", "train"),
        ("x/2.png", "dog; small", None),
    ]
    assert [one.group for one in find_pictures(tmp_path, group="patient").pictures] == [None, None, "p1", "p2"]


def test_another_csv_file_may_lie_elsewhere_and_its_files_are_relative_to_it(tmp_path):
    put(tmp_path, "photos/1.png", "photos/2.png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "mine.csv").write_text("image,class\n../photos/1.png,a\n../photos/2.png,b\n")
    found = find_pictures(tmp_path / "photos", labels=str(tmp_path / "lists" / "mine.csv"))
    assert [one.file for one in found.pictures] == ["1.png", "2.png"]


def test_letters_that_are_coded_in_two_ways_are_one_file_and_one_class(tmp_path):
    put(tmp_path, "train/Cafe\u0301/1.png", "train/b/1.png", "test/Café/1.png", "test/b/1.png")
    assert find_pictures(tmp_path).class_names == ("Café", "b")
    put(tmp_path / "two", "e\u0301.png", "b.png")
    (tmp_path / "two" / "labels.csv").write_text("file,label\né.png,a\nb.png,b\n", encoding="utf-8")
    assert len(find_pictures(tmp_path / "two").pictures) == 2


def test_linked_folders_are_followed_and_dead_links_are_left_to_the_reader(tmp_path):
    put(tmp_path / "elsewhere", "1.png")
    put(tmp_path / "photos", "a/1.png")
    (tmp_path / "photos" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "a" / "dead.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "photos" / "a" / "pipe.png")  # reading it would never end
    assert [file for file, *_ in listed(tmp_path / "photos")] == ["a/1.png", "a/dead.png", "b/1.png"]


FOLDERS = {
    "no folder": ([], "x", "{root}/x does not exist; expected a folder of pictures"),
    "a file": (["a.txt"], "a.txt", "{root}/a.txt is a file; expected a folder of pictures"),
    "an archive": (["a.zip"], "a.zip", "{root}/a.zip is a file; expected a folder of pictures: unpack it"),
    "a null": ([], "a\0", "is not the name of a folder (embedded null byte); expected a folder of pictures"),
    "empty": ([], "", "{root} holds no pictures: put the pictures of each class into a folder"),
    "other files": (["a/x.txt", "b/y.txt"], "", "{root} holds no pictures; 2 other files are there: put"),
    "no labels": (["1.png", "2.png"], "", "{root} holds 2 pictures without labels, such as 1.png; put the pictures"),
    "one class": (["a/1.png", "a/2.png", "b/x.txt"], "", "has one class only, 'a' with 2 pictures; expected two"),
    "nested once more": (
        ["photos/a/1.png", "photos/b/1.png"], "", "did you mean data.root={root}/photos ('a', 'b')?"
    ),
    "flat parts": (
        ["train/a/1.png", "train/b/1.png", "test/1.png"], "",
        "test/ holds 1 picture and no folder of a class; expected a folder with the pictures of each class in it",
    ),
    "only flat parts": (
        ["train/1.png", "test/1.png"], "",
        "test/ holds 1 picture and no folder of a class; expected a folder with the pictures of each class in it",
    ),
    "parts and classes": (
        ["train/a/1.png", "train/b/1.png", "test/a/1.png", "more/1.png"], "",
        "holds the parts 'test', 'train' and also 'more'; expected either folders of parts or folders of classes",
    ),
    "one part twice": (
        ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png", "valid/a/1.png"], "",
        "holds val/, valid/, which mean the same part; keep one of them",
    ),
    "a class missing in test": (
        ["train/a/1.png", "train/b/1.png", "test/a/1.png"], "",
        "test/ has no pictures of 'b', which train/ has; expected the same classes in every part: add pictures, or",
    ),
    "a class missing in train": (
        ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png", "test/c/1.png"], "",
        "train/ has no pictures of 'c', which test/ has",
    ),
    "a tab in a class": (["a\tb/1.png", "c/1.png"], "", r"the folder 'a\tb' names a class, and a class is labelled by"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:'b' of data.root")
@pytest.mark.parametrize(("files", "root", "message"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_that_cannot_be_learned_from_is_refused_in_a_sentence(tmp_path, files, root, message):
    put(tmp_path, *files)
    text = sentence(tmp_path / root)
    assert message.format(root=tmp_path) in text
    assert "data.root=" in text


ROWS = {
    "no file column": ("name,label\n1.png,a\n", "has no column 'file'; its first line is 'name', 'label': write"),
    "no label column": ("file,Group\n1.png,a\n", "has no column 'label'; its first line is 'file', 'Group'"),
    "missing files": (
        "file,label\n1.png,a\nx.png,b\ny.png,b\n",
        "lists 2 files that do not exist, the first is x.png; expected paths relative to",
    ),
    "two labels": ("file,label\n1.png,a\n2.png,b\n./1.png,b\n", "line 4 gives 1.png the label 'b', and an earlier"),
    "two parts": ("file,label,part\n1.png,a,test\n1.png,a,train\n", "lists 1.png again with another part or group"),
    "no label": ("file,label\n1.png,\n", "line 2 gives 1.png the label ''; expected one line of text"),
    "no file": ("file,label\n,a\n", "line 2 names no file"),
    "a label of two lines": ('file,label\n1.png,"a\nb"\n', "gives 1.png the label 'a\\nb'; expected one line of text"),
    "an unknown part": ("file,label,part\n1.png,a,holdout\n", "has the part 'holdout'; expected train, valid, test or"),
    "too few values": ("file,label\n1.png\n", "line 2 has 1 value; expected 2, as its header has"),
    "an open quote": ('file,label\n"1.png,a\n', "is not CSV (unexpected end of data)"),
    "nothing": ("", "is empty; expected a CSV file in UTF-8 with the columns file and label"),
    "only a header": ("file,label\n", "holds no pictures"),
    "one class": ("file,label\n1.png,a\n2.png,a\n", "has one class only, 'a' with 2 pictures; expected two at least"),
    "another encoding": (b"file,label\n1.png,caf\xe9\n", "is not text in UTF-8 (byte 20); save it as CSV in UTF-8"),
    "a long name": (f"file,label\n{'x' * 300}.png,a\n", "lists 1 file that does not exist"),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "message"), ROWS.values(), ids=ROWS)
def test_a_csv_file_that_cannot_be_learned_from_is_refused_in_a_sentence(tmp_path, rows, message):
    put(tmp_path, "1.png", "2.png")
    (tmp_path / "labels.csv").write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    assert message in sentence(tmp_path)


def test_a_wrong_name_of_the_csv_file_or_of_a_column_is_named(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    assert "data.labels=x.csv was not found in" in sentence(tmp_path, labels="x.csv")
    assert "data.group=patient names a column of a CSV file, and" in sentence(tmp_path, group="patient")
    (tmp_path / "labels.csv").write_text("file,label,patients\na/1.png,a,1\nb/1.png,b,1\n")
    text = sentence(tmp_path, group="patient")
    assert "data.group=patient is not a column of" in text
    assert "(did you mean 'patients'?)" in text


def test_a_name_that_is_not_text_is_refused(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff\xfe.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system has no such names")
    assert rf"{tmp_path}/a of data.root holds a name that is not text in UTF-8, b'\xff\xfe.png'; rename" in sentence(
        tmp_path
    )


@pytest.mark.parametrize(("link", "target"), [("a/again", ".."), ("a/inner/up", "../.."), ("b", ".")])
def test_links_in_a_circle_are_named(tmp_path, link, target):
    put(tmp_path, "a/1.png", "a/inner/2.png", "c/1.png")
    (tmp_path / link).symlink_to(target)
    text = sentence(tmp_path)
    assert "leads back to a folder that it is in; remove this link" in text
    assert link.split("/")[0] in text


def test_links_to_themselves_end_nothing(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "loop").symlink_to("loop")
    assert [file for file, *_ in listed(tmp_path)] == ["a/1.png", "b/1.png"]
    assert "is a link that leads back to itself; expected a folder of pictures" in sentence(tmp_path / "loop")
    (tmp_path / "dead").symlink_to("nowhere")
    assert "dead is a link to nowhere, which does not exist" in sentence(tmp_path / "dead")


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    put(tmp_path, "a/1.png", "b/1.png")
    scan = os.scandir

    def refused(folder):
        if str(folder).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(walking.os, "scandir", refused)
    text = sentence(tmp_path)
    assert f"the folder {tmp_path}/b of data.root cannot be read (Permission denied); give yourself the right" in text


def test_pictures_and_folders_that_are_left_out_are_counted(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", "logo.png", "empty/x.txt")
    with pytest.warns(UserWarning, match="left out") as said:
        assert find_pictures(tmp_path).others == 2
    assert [str(one.message) for one in said] == [
        f"'empty' of data.root={tmp_path} holds no pictures and was left out",
        f"1 picture of {tmp_path} itself, outside of the folders of classes, was left out",
    ]
