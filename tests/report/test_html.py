"""The page is one file that needs nothing, and no text of a store or a file becomes markup."""

import base64
import hashlib
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from made_fit import NASTY, make_fit
from made_run import CONFIG, add_run, make_store, make_trials, open_run
from page import Page

from nas.core import Proposal
from nas.errors import UserError
from nas.report.document import Column, Document, Table
from nas.report.elements import element
from nas.report.fit import with_fit
from nas.report.html import MAX_BYTES, html, write_report
from nas.report.study import run_document

EVIL = [
    NASTY,
    "<b>bold</b>",
    "a & b",
    "'\"><svg onload=alert(1)>",
    "]]>",
    "<!--",
    "&lt;b&gt;",
    "{{ 7 * 7 }}",
    "\u2028x",
]


def evil_trials():
    trials = make_trials(40)
    return [
        replace(
            one,
            text=EVIL[one.number % len(EVIL)],
            canonical=f"{one.canonical}{one.number}",
            error=one.error and EVIL[one.number % len(EVIL)],
        )
        for one in trials
    ]


@pytest.fixture
def document(tmp_path):
    store = make_store(tmp_path / "nas.db")
    decisions = [[f"{name}{evil}", options] for (name, options), evil in zip(CONFIG["decisions"], EVIL, strict=False)]
    config = {**CONFIG, "decisions": decisions, "strategy": {"type": EVIL[3]}, EVIL[1]: EVIL[2]}
    add_run(store, evil_trials(), "run <i>&", config)
    commands = {"repeat": f"nas search run='{NASTY}'"}
    made = run_document(store, "run <i>&", commands=commands, left_out=[f"Left out: {NASTY}."])
    return with_fit(made, make_fit(tmp_path / "files" / "fit"))


def test_texts_stay_texts(document):
    page = Page(html(document))
    assert {tag for tag, _ in page.tags}.isdisjoint({"b", "i", "object", "iframe", "link"})
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes), tag
        assert tag != "img" or attributes["src"].startswith("data:image/")
    assert len(page.scripts) == 2, "the data and the script"
    texts = {text for occurrences in page.facts.values() for _, text in occurrences}
    assert {NASTY, f"nas predict images='{NASTY}'", "run <i>&"} <= texts
    assert {row["text"] for row in page.rows().values()} == set(EVIL)
    assert page.data["scores"]["classes"][2] == NASTY


def test_the_page_names_no_address(document):
    page = Page(html(document))
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), f"{tag} {name}"
    assert not re.search(r"@import|url\(", html(document))


def test_the_policy_forbids_everything_but_what_the_page_holds(document):
    text = html(document)
    page = Page(text)
    policy = next(known["content"] for tag, known in page.tags if tag == "meta" and "http-equiv" in known)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for name in ("style", "script"):
        inline = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy


def test_an_element_escapes_its_children_and_attributes():
    assert element("text", "<b>", 'x"', title='"><', stroke_width=1.25) == (
        '<text title="&#34;&gt;&lt;" stroke-width="1.2">&lt;b&gt;x&#34;</text>'
    )


def test_every_picture_has_an_alternative_text(document):
    page = Page(html(document))
    pictures = [known for tag, known in page.tags if tag == "img" or (tag == "svg" and known.get("role") == "img")]
    assert len(pictures) > 20
    assert all(known.get("alt") or known.get("aria-label") for known in pictures)


def test_ids_are_unique_and_controls_have_labels(document):
    page = Page(html(document))
    ids = [known["id"] for _, known in page.tags if "id" in known]
    assert len(ids) == len(set(ids))
    labels = {known.get("for") for tag, known in page.tags if tag == "label"}
    assert "slider" in labels


def test_a_table_that_is_too_large_keeps_its_best_rows(tmp_path):
    store = make_store(tmp_path / "nas.db")
    add_run(store, make_trials(3))
    rng = np.random.default_rng(0)
    count = 20_000
    values = [None if number % 10 == 3 else float(rng.random()) for number in range(count)]
    texts = [rng.bytes(60).hex() for _ in range(count)]
    columns = [
        Column("number", "trial", "count", range(count)),
        Column("score", "score", "number", values),
        Column("text", "architecture", "text", texts),
    ]
    text = html(replace(run_document(store, "made"), table=Table("trial", columns, count, "score")))
    assert MAX_BYTES / 2 < len(text.encode()) <= MAX_BYTES
    rows = Page(text).rows()
    assert Page(text).data["table"]["of"] == count
    best = sorted((number for number in range(count) if values[number] is not None), key=lambda number: -values[number])
    assert list(rows) == sorted(best[: len(rows)])
    assert all(rows[number]["text"] == texts[number] for number in rows)


def test_numbers_that_json_cannot_hold_do_not_break_the_page(tmp_path):
    store = make_store(tmp_path / "nas.db")
    odd = [
        replace(one, metrics={**one.metrics, "parameters": float("nan")}, cost={"peak_memory_mb": float("inf")})
        for one in make_trials(12)
    ]
    add_run(store, odd)
    page = Page(html(run_document(store, "made")))
    assert all(row["parameters"] is None for row in page.rows().values())


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(
        UserError, match=r"^out=.*/missing/r.html cannot be written \(No such file or directory\); set out="
    ):
        write_report(tmp_path / "missing" / "r.html", Document("run", "t", _smallest(tmp_path)))


def _smallest(tmp_path):
    store = make_store(tmp_path / "other.db")
    add_run(store, [])
    return run_document(store, "made").facts


def test_a_run_without_trials_has_a_report(tmp_path):
    store = make_store(tmp_path / "nas.db")
    add_run(store, [], ended="interrupted")
    text = html(run_document(store, "made"))
    assert "this search has no trials so far" in text
    assert "interrupted; the same command continues it" in Page(text).facts["run.state_text"][0][1]
    assert Page(text).data == {"table": None, "scores": None}


def test_a_run_whose_trials_all_failed_has_a_report(tmp_path):
    store = make_store(tmp_path / "nas.db")
    add_run(store, [one for one in make_trials() if not one.completed], ended="failures")
    text = html(run_document(store, "made"))
    assert "none of the trials of this search has ended with a result" in text
    assert "no second network" in text


def test_a_running_search_has_a_report(tmp_path):
    store = make_store(tmp_path / "nas.db")
    with open_run(store, make_trials(7)):
        page = Page(html(run_document(store, "made")))
    assert page.facts["run.state_text"][0][1] == "is still running, so everything below may change"
    assert page.facts["run.planned"][0][1] == "60"
    assert len(page.rows()) == 7


def test_a_single_trial_has_a_report(tmp_path):
    store = make_store(tmp_path / "nas.db")
    add_run(store, make_trials(1))
    assert "no second network" in html(run_document(store, "made"))


def test_a_metric_that_is_minimised(tmp_path):
    store = make_store(tmp_path / "nas.db")
    trials = [
        replace(one, metrics={"loss": 2.0 - one.metrics["valid_accuracy"]}) for one in make_trials() if one.completed
    ]
    add_run(store, trials, config={**CONFIG, "objective": {"metric": "loss", "direction": "minimize"}})
    page = Page(html(run_document(store, "made")))
    least = min(one.metrics["loss"] for one in trials if one.proposal.fidelity is None)
    assert json.loads(page.facts["best.value"][0][0]) == pytest.approx(least)
    assert json.loads(page.facts["runner_up.difference"][0][0]) <= 0
    assert page.data["table"]["descending"] is False
    assert page.facts["importance.effects.0.better"][0][1] == "</script><b>skip"


def test_a_space_that_changed_its_number_of_decisions(tmp_path):
    store = make_store(tmp_path / "nas.db")
    add_run(store, [replace(one, proposal=Proposal((0,))) for one in make_trials()])
    assert "does not record the decisions" in html(run_document(store, "made"))


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300, 1e-300, -7.0, 0.0])
def test_odd_values_have_a_report(tmp_path, value):
    store = make_store(tmp_path / "nas.db")
    odd = [replace(one, metrics={"valid_accuracy": value * (1 + one.number)}) for one in make_trials() if one.completed]
    add_run(store, odd)
    page = Page(html(run_document(store, "made")))
    assert len(page.rows()) == len(odd)
    assert ("best.value" in page.facts) == math.isfinite(value)


def test_a_space_too_large_to_count(tmp_path):
    """20^400 is more than a float holds, and its digits are more than Python writes."""
    store = make_store(tmp_path / "nas.db")
    decisions = [[f"d{number}", [str(option) for option in range(20)]] for number in range(400)]
    rng = np.random.default_rng(0)
    trials = [replace(one, proposal=Proposal(tuple(rng.integers(20, size=400).tolist()))) for one in make_trials(30)]
    add_run(store, trials, config={**CONFIG, "decisions": decisions})
    page = Page(html(run_document(store, "made")))
    assert page.facts["run.possible_power"] == [("520", "520")]
    assert page.facts["importance.needed"] == [("800", "800")]


def test_long_texts_are_cut_in_the_table(tmp_path):
    store = make_store(tmp_path / "nas.db")
    add_run(store, [replace(one, text="y" * 50_000, canonical=str(one.number)) for one in make_trials(40)])
    text = html(run_document(store, "made"))
    assert all(len(row["text"]) == 300 for row in Page(text).rows().values())
    assert len(text) < 200_000
