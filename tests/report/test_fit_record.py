"""The record of a fit in its report: every number is that of its files, and a damaged file costs one section."""

import json
import math
import re

import numpy as np
import pytest
from made_fit import CLASSES, make_fit
from made_run import add_run, make_store, make_trials
from page import Page

from nas.fit.result import METHODS
from nas.report.document import at
from nas.report.fit import with_fit
from nas.report.html import html
from nas.report.study import run_document

FILES = ("inspection.json", "signal.json", "plan.json", "result.json", "predictions.npz")


@pytest.fixture
def run(tmp_path):
    store = make_store(tmp_path / "nas.db")
    add_run(store, make_trials())
    return run_document(store, "made")


@pytest.fixture
def folder(tmp_path):
    return make_fit(tmp_path / "runs" / "made" / "fit")


def facts_of(page):
    """Path below `fit` -> the values and texts that the page shows."""
    return {path: shown for path, shown in page.facts.items() if path.startswith("fit.")}


def in_the_record(folder, path):
    """The value of a fact of the files, for the facts that are copied."""
    section, _, rest = path.removeprefix("fit.").partition(".")
    if section == "threshold":
        return json.loads((folder.parent / "model" / "model.json").read_text())["threshold"][rest]
    record = json.loads((folder / f"{section}.json").read_text())
    for key, (name, value) in {
        "speeds": ("name", "speed"),
        "settings": ("key", "value"),
        "commands": ("name", "command"),
    }.items():
        if isinstance(record.get(key), dict):
            flat = {}
            for one, inner in record[key].items():
                flat |= (
                    {f"{one}: {name}": value for name, value in inner.items()}
                    if isinstance(inner, dict)
                    else {one: inner}
                )
            record[key] = [{name: one, value: flat[one]} for one in flat]
    if section == "signal" and rest.startswith("shuffle"):
        shuffled = record["shuffled"]
        return {"shuffled_mean": np.mean(shuffled), "shuffled_best": max(shuffled), "shuffles": len(shuffled)}[rest]
    if rest.endswith(".what") and ".steps." not in f".{rest}":
        method = at(record, rest.replace(".what", ".method"))
        return METHODS.get(method, method)
    if rest == "class_count":
        return len(record["classes"])
    if rest.endswith("more_files"):
        return len(at(record, rest.replace("more_files", "files"))) - 8
    return at(record, rest)


def in_the_predictions(folder, path):
    """The value of a fact about predictions, counted picture by picture."""
    file = np.load(folder / "predictions.npz")
    labels, probabilities = file["test_labels"].tolist(), file["test_probabilities"].astype(float)
    answers = [max(range(len(CLASSES)), key=row.__getitem__) for row in probabilities.tolist()]
    sure = [max(row) for row in probabilities.tolist()]
    pairs = list(zip(labels, answers, strict=True))
    right = sum(one == other for one, other in pairs)
    _, _, name, *rest = path.split(".")
    if name == "classes":
        index, key = int(rest[0]), rest[1]
        own, said = labels.count(index), answers.count(index)
        good = pairs.count((index, index))
        return {"name": CLASSES[index], "images": own, "precision": good / said, "recall": good / own}[key]
    if name == "matrix":
        return pairs.count((int(rest[0]), int(rest[1])))
    if name in ("mistakes", "unsure"):
        wrong = [index for index in range(len(labels)) if labels[index] != answers[index]]
        order = (
            sorted(wrong, key=lambda index: -sure[index])
            if name == "mistakes"
            else sorted(range(len(labels)), key=sure.__getitem__)
        )
        index = order[int(rest[0])]
        known = {
            "predicted": CLASSES[answers[index]],
            "true": CLASSES[labels[index]],
            "confidence": sure[index],
            "file": str(file["test_files"][index]),
        }
        return known[rest[1]]
    off = sorted({(-pairs.count(one), *one) for one in pairs if one[0] != one[1]})
    if name == "pairs":
        count, true, said = off[int(rest[0])]
        return {"count": -count, "true": CLASSES[true], "predicted": CLASSES[said]}[rest[1]]
    p, n, z = right / len(labels), len(labels), 1.959964
    a, b, c = 1 + z * z / n, -(2 * p + z * z / n), p * p
    root = math.sqrt(b * b - 4 * a * c)
    return {
        "images": n,
        "part": "test",
        "right": right,
        "accuracy": p,
        "low": (-b - root) / (2 * a),
        "high": (-b + root) / (2 * a),
        "wrong": n - right,
        "more_pairs": len(off) - 12,
        "baseline_right": int(file["baseline_correct"].sum()),
    }[name]


def test_every_fact_is_that_of_the_record(run, folder):
    page = Page(html(with_fit(run, folder)))
    shown = facts_of(page)
    assert {path.split(".")[1] for path in shown} == {
        "inspection",
        "signal",
        "plan",
        "result",
        "predictions",
        "threshold",
    }
    for path, occurrences in shown.items():
        expected = in_the_predictions(folder, path) if ".predictions." in path else in_the_record(folder, path)
        for attribute, text in occurrences:
            if attribute is None:
                assert text == (expected if isinstance(expected, str) else json.dumps(expected)), path
            elif expected is None:
                assert (attribute, text) == ("", "–"), path
            else:
                assert json.loads(attribute) == pytest.approx(expected, rel=1e-6), path


def test_no_number_stands_outside_the_facts(run, folder):
    numbers = set(re.findall(r"\d+(?:[.,]\d+)*", " ".join(Page(html(with_fit(run, folder))).loose)))
    assert numbers <= {"95", "19", "20", "0.05"}


def test_the_slider_has_every_picture(run, folder):
    """Precision and recall at each threshold, from the cells and from the pictures."""
    scores = Page(html(with_fit(run, folder))).data["scores"]
    file = np.load(folder / "predictions.npz")
    labels, probabilities = file["test_labels"], file["test_probabilities"].astype(float)
    answers, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    for hundredths in range(0, 101, 7):
        kept = [cell for cell in scores["cells"] if cell[2] >= hundredths]
        above = sure >= hundredths / 100
        for index in range(len(CLASSES)):
            assert sum(cell[3] for cell in kept if cell[1] == index) == (above & (answers == index)).sum()
            assert (
                sum(cell[3] for cell in kept if cell[0] == cell[1] == index)
                == (above & (answers == index) & (labels == index)).sum()
            )


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b'{"classes": 3}', b"\xff\xfe", b'{"steps": [{}], "winner": []}']
)
def test_a_damaged_file_leaves_one_section_out(run, folder, name, content):
    (folder / name).write_bytes(content)
    document = with_fit(run, folder)
    key = name.partition(".")[0]
    assert document.facts["fit"][key] is None
    assert [sentence.partition(" is damaged, so ")[0] for sentence in document.left_out] == [name]
    page = Page(html(document))
    assert f"{name} is damaged, so " in " ".join(page.loose)
    others = {one.partition(".")[0] for one in FILES} - {key}
    assert others <= {path.split(".")[1] for path in facts_of(page)}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_leaves_one_section_out_without_a_word(run, folder, name):
    (folder / name).unlink()
    document = with_fit(run, folder)
    assert document.left_out == ()
    assert document.facts["fit"][name.partition(".")[0]] is None
    html(document)


def test_a_run_without_a_record_stays_as_it_is(run, tmp_path):
    assert with_fit(run, tmp_path / "nothing") is run


def edited(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_fit_without_baseline_runner_up_and_difference(run, folder):
    edited(folder, "result.json", baseline=None, runner_up=None, difference=None, commands={})
    page = Page(html(with_fit(run, folder)))
    assert "Against the baseline" not in " ".join(page.loose)


@pytest.mark.parametrize(
    ("interval", "words"),
    [((0.05, 0.01, 0.09), "better"), ((-0.05, -0.09, -0.01), "worse"), ((0.02, -0.01, 0.05), "not clearly better")],
)
def test_the_verdict_follows_from_the_interval(run, folder, interval, words):
    mean, low, high = interval
    edited(
        folder,
        "result.json",
        difference={"mean": mean, "low": low, "high": high, "images": 240, "method": "McNemar"},
    )
    text = " ".join(html(with_fit(run, folder)).split())
    assert f"the winner is <strong>{words}</strong>" in text


def test_a_hundred_classes_have_no_matrix_but_their_confusions(run, tmp_path):
    folder = make_fit(tmp_path / "many" / "fit", images=500, classes=[f"class {number}" for number in range(100)])
    document = with_fit(run, folder)
    assert document.facts["fit"]["predictions"]["matrix"] is None
    assert len(document.facts["fit"]["predictions"]["pairs"]) == 12
    assert len(html(document).encode()) < 400_000


def test_large_thumbnails_stay_within_the_budget(run, tmp_path):
    folder = make_fit(tmp_path / "large" / "fit", images=60, side=64)
    document = with_fit(run, folder)
    assert sum(len(one.uri) for one in document.pictures.values()) < 400_000
    assert len(html(document).encode()) < 600_000


def test_grey_pictures_and_pictures_without_files(run, folder):
    file = dict(np.load(folder / "predictions.npz"))
    file["test_thumbnails"] = file["test_thumbnails"][..., :1]
    file["test_files"] = np.array([], dtype=str)
    np.savez(folder / "predictions.npz", **file)
    document = with_fit(run, folder)
    assert document.left_out == ()
    assert re.fullmatch(r"picture \d+", document.facts["fit"]["predictions"]["mistakes"][0]["file"])
    html(document)


def test_a_network_that_makes_no_mistake(run, folder):
    file = dict(np.load(folder / "predictions.npz"))
    file["test_probabilities"] = np.eye(len(CLASSES), dtype=np.float32)[file["test_labels"]]
    np.savez(folder / "predictions.npz", **file)
    assert "It made no mistake on these pictures" in html(with_fit(run, folder))


def test_a_finding_shows_no_file_outside_the_data(run, folder):
    record = json.loads((folder / "inspection.json").read_text())
    record["findings"][0]["files"] = ["../photos/0.jpg", "../../../../../etc/passwd", "0.jpg", "missing.jpg"]
    (folder / "inspection.json").write_text(json.dumps(record))
    finding = with_fit(run, folder).facts["fit"]["inspection"]["findings"][0]
    assert finding["pictures"] == ["finding_0_0", "finding_0_2"]


def test_predictions_that_do_not_fit_are_damaged(run, folder):
    file = dict(np.load(folder / "predictions.npz"))
    for key, value in {
        "test_labels": file["test_labels"][:-1],
        "test_probabilities": file["test_probabilities"] * np.nan,
        "test_thumbnails": file["test_thumbnails"].astype(float),
        "baseline_correct": file["baseline_correct"][:3],
    }.items():
        np.savez(folder / "predictions.npz", **{**file, key: value})
        assert with_fit(run, folder).facts["fit"]["predictions"] is None, key
