"""What is wrong with a folder of pictures is found, with its files; a clean folder is clean."""

from dataclasses import replace

import numpy as np
import pytest
from made_subjects import made
from pictures.planted import FAULTS, clean

from nas.data import Digits
from nas.data.image_folder import ImageFolder
from nas.inspection import inspect, subject_of
from nas.inspection.appearance import find_faint_pictures
from nas.inspection.classes import find_class_faults
from nas.inspection.duplicates import find_duplicates
from nas.inspection.leaks import find_leaks
from nas.inspection.sizes import find_odd_sizes

KINDS = {
    "unreadable": {"unreadable_file": 1, "truncated_file": 1},
    "empty": {"empty_file": 1},
    "duplicate_under_two_labels": {"duplicate_under_two_labels": 1},
    "near_duplicate": {"near_duplicate": 1},
    "near_duplicate_across_the_split": {"near_duplicate_across_parts": 1},
    "under_ten_in_a_class": {"few_pictures": 1},
    "imbalanced": {"imbalance": 100},
    "turned_by_exif": {"turned_by_exif": 2},
    "mixed_modes": {"mixed_modes": 4},
    "label_told_by_the_border": {"label_told_by_border": None},
    "label_told_by_the_size": {"label_told_by_size": None, "label_told_by_format": None},
    "one_class": {"one_class": 1},
    "blank_dark_and_blurred": {"blank": 1, "dark": 1, "blurred": 1},
}
"""Planted fault -> kinds of the findings that name it, with their numbers; None: an accuracy."""
NOTES = {"near_duplicate", "turned_by_exif", "mixed_modes", "dark", "blurred"}


def inspected(root, **settings):
    return inspect(subject_of(ImageFolder(str(root), cache=str(root.parent / "cache"), **settings)))


@pytest.mark.parametrize("fault", KINDS)
def test_a_planted_fault_is_named_with_its_files(fault, tmp_path):
    planted = FAULTS[fault](tmp_path / "photos")
    found = {finding.kind: finding for finding in inspected(planted.root).findings}
    assert KINDS[fault].keys() <= found.keys()
    files = {file for kind in KINDS[fault] for file in found[kind].files}
    assert files == set(planted.files)
    for kind, number in KINDS[fault].items():
        assert number is None or found[kind].number == number
        assert found[kind].severity == ("note" if kind in NOTES else "problem")
        assert found[kind].advice.endswith(".")


def test_a_clean_folder_has_no_findings(tmp_path):
    inspection = inspected(clean(tmp_path / "photos"))
    assert inspection.findings == ()
    assert inspection.summary == "60 pictures in 3 classes: no problem"
    assert [(one.name, one.count) for one in inspection.classes] == [("circle", 20), ("cross", 20), ("square", 20)]
    assert all(one.train + one.valid + one.test == one.count for one in inspection.classes)


def test_digits_have_no_findings_and_their_test_images_stay_locked(monkeypatch):
    monkeypatch.setattr(Digits, "read_test", lambda self: pytest.fail("test images were read"))
    inspection = inspect(Digits())
    assert inspection.findings == ()
    assert (inspection.pictures, inspection.channels, inspection.side) == (1438, 1, 8)


def test_an_inspection_is_read_as_it_was_written(tmp_path):
    inspection = inspected(FAULTS["empty"](tmp_path / "photos").root)
    assert type(inspection).from_json(inspection.to_json()) == inspection


def test_a_folder_one_level_too_high_is_named_with_the_right_one(tmp_path):
    clean(tmp_path / "photos" / "all")
    (finding,) = inspected(tmp_path / "photos").findings
    assert finding.kind == "one_class"
    assert finding.advice == f"Did you mean data.root={tmp_path / 'photos' / 'all'} ('circle', 'cross', 'square')?"


def test_exact_copies_in_two_parts_are_a_problem_if_the_folder_states_the_parts_and_a_note_otherwise():
    labels = np.repeat([0, 1], 10)
    parts = np.array((["train"] * 9 + ["test"]) * 2)
    subject = made(labels, [{"digest": "ff"} if number in (0, 9) else {} for number in range(20)], parts=parts)
    across, copies = find_duplicates(subject)
    assert (across.kind, across.severity) == ("near_duplicate_across_parts", "note")
    assert across.files == copies.files == ("a/000.png", "a/009.png")
    stated = find_duplicates(replace(subject, stated=parts))[0]
    assert stated.severity == "problem"
    assert stated.title.endswith("in more than one of the parts train, test")


def test_imbalance_is_a_note_from_ten_and_a_problem_from_a_hundred():
    def severity(many, few):
        findings = find_class_faults(made(np.repeat([0, 1], [many, few])))
        return [one.severity for one in findings if one.kind == "imbalance"]

    assert severity(99, 10) == []
    assert severity(100, 10) == severity(999, 10) == ["note"]
    assert severity(1000, 10) == ["problem"]


def test_a_set_that_is_dark_as_a_whole_has_no_dark_pictures():
    labels = np.repeat([0, 1], 20)
    night = [{"brightness": 0.03, "contrast": 0.02} for _ in labels]
    assert find_faint_pictures(made(labels, night)) == []
    night[5:] = [{} for _ in range(35)]
    (finding,) = find_faint_pictures(made(labels, night))
    assert (finding.kind, finding.number) == ("dark", 5)


def test_pictures_of_an_odd_size_or_shape_are_notes_the_worst_first():
    labels = np.repeat([0, 1], 20)
    sizes = [{"width": 640, "height": 480} for _ in labels]
    sizes[3] = {"width": 64, "height": 48}
    sizes[7] = {"width": 32, "height": 24}
    sizes[9] = {"width": 1900, "height": 160}
    small, long = find_odd_sizes(made(labels, sizes))
    assert (small.kind, small.files) == ("odd_size", ("a/007.png", "a/003.png"))
    assert (long.kind, long.files) == ("odd_aspect", ("a/009.png",))


@pytest.mark.parametrize(
    ("fact", "change"),
    [
        ("size", {"width": 40}),
        ("format", {"format": "JPEG"}),
        ("mode", {"mode": "L"}),
        ("exif_turn", {"orientation": 6}),
        ("border", {"border": (0.9,) * 3 + (0.0,) * 3}),
    ],
)
def test_a_class_that_one_fact_tells_is_named_with_the_fact(fact, change):
    labels = np.repeat([0, 1, 2], 20)
    (finding,) = find_leaks(made(labels, [change if label == 1 else {} for label in labels]))
    assert finding.kind == f"label_told_by_{fact}"
    assert "alone tells class 'b': a small tree that sees nothing else finds 100 % of 'b'" in finding.title
    assert finding.title.endswith("where guessing gives 0.33")
    assert finding.files == tuple(f"b/{number:03d}.png" for number in range(20, 40))


def test_a_fact_that_differs_by_chance_tells_nothing():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 30)
    facts = [
        {"width": int(rng.integers(30, 60)), "format": str(rng.choice(["PNG", "JPEG"])), "border": tuple(rng.random(6))}
        for _ in labels
    ]
    assert find_leaks(made(labels, facts)) == []


def test_a_border_that_only_goes_on_the_inside_of_the_picture_is_not_a_leak():
    """As the sky behind aeroplanes does."""
    labels = np.repeat([0, 1], 30)
    pixels = np.where((labels == 1)[:, None, None, None], 200, 50).astype(np.uint8) * np.ones((1, 3, 16, 16), np.uint8)
    facts = [{"border": ((0.8 if label else 0.2),) * 3 + (0.1,) * 3} for label in labels]
    assert find_leaks(made(labels, facts, pixels=pixels)) == []
    assert len(find_leaks(made(labels, facts))) == 1
