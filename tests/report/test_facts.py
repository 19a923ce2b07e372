"""Every number of a report is the store's: recomputed here by other means, and none is left unchecked."""

import json
import math
import re
import sqlite3
import statistics

import pytest
from made_run import DECISIONS, IMAGES, add_run, make_store, make_trials
from page import Page

from nas.report.html import html
from nas.report.study import run_document
from nas.report.wording import shown

FIXED_NUMBERS = {"95", "19", "20", "0.05"}
"""Numbers of the explanations: 95 %, 19 times in 20, p below 0.05."""
STYLES = {
    "count": "trials completed failed planned reused comparable decisions possible seed trial epochs count needed more "
    "within images",
    "seconds": "seconds median_seconds longest_seconds",
    "points": "difference difference_low difference_high",
    "short": "parameters flops",
    "bytes": "peak_memory_mb",
}
"""How the last word of a fact's path is shown; other numbers of this run are shares."""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "nas.db"
    store = make_store(path)
    add_run(store, make_trials())
    document = run_document(store, "made", commands={"repeat the search": "nas search run=made"})
    return path, document, Page(html(document))


def rows_of(path):
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    found = [dict(row) for row in connection.execute("select * from trials order by number")]
    for row in found:
        for key in ("metrics", "architecture", "cost"):
            row[key] = json.loads(row[key])
    return found


def wilson(p, n, z=1.959964):
    """As Wikipedia writes it: the roots of (p - x)² = z² x (1 - x) / n."""
    a, b, c = 1 + z * z / n, -(2 * p + z * z / n), p * p
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def expected_facts(path):
    """The facts of the page, from SQL."""
    rows = rows_of(path)
    done = [row for row in rows if row["status"] == "completed"]
    accuracy = {row["number"]: row["metrics"]["valid_accuracy"] for row in done}
    best = max(done, key=lambda row: (accuracy[row["number"]], -row["number"]))
    alike = sorted(
        (row for row in done if row["fidelity"] == best["fidelity"]),
        key=lambda row: (-accuracy[row["number"]], row["number"]),
    )
    values = [accuracy[row["number"]] for row in alike]
    second = next(row for row in alike if row["canonical"] != best["canonical"])
    one, two = accuracy[best["number"]], accuracy[second["number"]]
    (low1, high1), (low2, high2) = wilson(one, IMAGES), wilson(two, IMAGES)
    failed = [row for row in rows if row["status"] == "failed"]
    facts = {
        "run.name": "made",
        "run.seed": 7,
        "run.state_text": "is finished",
        "run.trials": len(rows),
        "run.planned": 60,
        "run.failed": len(failed),
        "run.reused": 0,
        "run.comparable": len(alike),
        "run.decisions": 3,
        "run.possible": 18,
        "run.seconds": math.fsum(row["seconds"] for row in rows),
        "metric.label": "accuracy on validation pictures",
        "metric.images": IMAGES,
        "parts.strategy": "RandomSearch",
        "best.trial": best["number"],
        "best.value": one,
        "best.low": low1,
        "best.high": high1,
        "best.seconds": best["seconds"],
        "best.epochs": best["fidelity"] or 4,
        "best.parameters": best["metrics"]["parameters"],
        "best.text": best["text"],
        "typical.median": statistics.median(values),
        "typical.first": accuracy[min(row["number"] for row in alike)],
        "runner_up.trial": second["number"],
        "runner_up.value": two,
        "runner_up.difference": one - two,
        "runner_up.difference_low": one - two - math.sqrt((one - low1) ** 2 + (high2 - two) ** 2),
        "runner_up.difference_high": one - two + math.sqrt((high1 - one) ** 2 + (two - low2) ** 2),
        "runner_up.within": sum(value >= low1 for value in values),
        "cost.seconds": math.fsum(row["seconds"] for row in rows),
        "cost.median_seconds": statistics.median(row["seconds"] for row in rows),
        "cost.longest_seconds": max(row["seconds"] for row in rows),
        "cost.peak_memory_mb": max(row["cost"]["peak_memory_mb"] for row in rows),
        "cost.failures.0.kind": "not_finite",
        "cost.failures.0.count": len(failed),
        "cost.failures.0.message": failed[0]["error"],
        "commands.0.name": "repeat the search",
        "commands.0.command": "nas search run=made",
        "versions.0.name": "cellnas",
        "versions.0.value": "0.3.0",
        "versions.1.name": "python",
        "versions.1.value": "3.11.7",
        "settings.0.key": "objective.metric",
        "settings.0.value": "valid_accuracy",
        "settings.1.key": "objective.direction",
        "settings.1.value": "maximize",
        "settings.2.key": "strategy.type",
        "settings.2.value": "my.RandomSearch",
        "settings.3.key": "budget.trials",
        "settings.3.value": "60",
    }
    for index, (name, options) in enumerate(DECISIONS):
        facts[f"best.decisions.{index}.name"] = name
        facts[f"best.decisions.{index}.option"] = options[best["architecture"][index]]
    steps, spent = [], 0.0
    for row in rows:
        spent += row["seconds"]
        is_better = row in alike and (not steps or accuracy[row["number"]] > steps[-1]["value"])
        if is_better:
            steps.append({"trial": row["number"], "value": accuracy[row["number"]], "seconds": spent})
    facts |= {f"steps.{index}.{key}": value for index, step in enumerate(steps) for key, value in step.items()}
    return facts


def test_every_fact_is_what_the_store_says(page):
    path, _, shown_page = page
    facts = expected_facts(path)
    unknown = {
        key
        for key in shown_page.facts
        if key not in facts and not key.startswith(("importance.", "run.started", "run.updated"))
    }
    assert not unknown, "facts that this test does not recompute"
    assert not facts.keys() - shown_page.facts.keys(), "facts that the page does not show"
    for key, value in facts.items():
        for attribute, text in shown_page.facts[key]:
            if isinstance(value, str):
                assert text == value, key
            else:
                assert json.loads(attribute) == pytest.approx(value, rel=1e-6, abs=1e-9), key


def test_a_number_is_shown_as_it_is(page):
    """The text of a fact is its value, rounded."""
    styles = {word: style for style, words in STYLES.items() for word in words.split()}
    for key, occurrences in page[2].facts.items():
        for attribute, text in occurrences:
            if attribute is not None:
                word = key.rpartition(".")[2]
                assert text == shown(json.loads(attribute), styles.get(word, "percent")), key


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (0.93451, "percent", "93.5 %"),
        (-0.0123, "points", "−1.2 points"),
        (0.0123, "points", "+1.2 points"),
        (12345, "count", "12,345"),
        (73306, "short", "73.3 k"),
        (1536.0, "bytes", "1.5 GB"),
        (12.3, "bytes", "12 MB"),
        (0.0001, "seconds", "under 0.01 s"),
        (0, "seconds", "0 s"),
        (1.234, "seconds", "1.2 s"),
        (59.7, "seconds", "1 min"),
        (185, "seconds", "3 min 5 s"),
        (7800, "seconds", "2 h 10 min"),
        (200_000, "seconds", "2 d 7 h"),
        (0.0004, "p_value", "under 0.001"),
        (0.1312, "p_value", "0.131"),
        (90.8, "fixed", "90.80"),
        (0.000123456, "number", "0.0001235"),
        (None, "percent", "–"),
        (True, "text", "yes"),
    ],
)
def test_numbers_in_words(value, style, text):
    assert shown(value, style) == text


def test_the_importance_is_that_of_the_analysis(page):
    from nas.analysis.importance import importance

    path, document, shown_page = page
    alike = [row for row in rows_of(path) if row["status"] == "completed" and row["fidelity"] is None]
    found = importance(
        [name for name, _ in DECISIONS],
        [len(options) for _, options in DECISIONS],
        [row["architecture"] for row in alike],
        [row["metrics"]["valid_accuracy"] for row in alike],
    )
    assert [effect.decision for effect in found.effects] == ["op", "width", "depth"]
    assert document.facts["importance"]["trials"] == len(alike)
    for index, effect in enumerate(found.effects):
        (attribute, _), *_ = shown_page.facts[f"importance.effects.{index}.share"]
        assert json.loads(attribute) == pytest.approx(effect.share)
        options = dict(DECISIONS)[effect.decision]
        assert (
            shown_page.facts[f"importance.effects.{index}.better"][0][1]
            == options[max(range(len(options)), key=effect.means.__getitem__)]
        )


def test_no_number_stands_outside_the_facts(page):
    loose = " ".join(page[2].loose)
    numbers = set(re.findall(r"\d+(?:[.,]\d+)*", loose))
    assert numbers <= FIXED_NUMBERS


def test_every_row_of_the_table_is_a_trial_of_the_store(page):
    path, _, shown_page = page
    found, stored = shown_page.rows(), rows_of(path)
    assert list(found) == [row["number"] for row in stored]
    for row in stored:
        mine = found[row["number"]]
        assert mine["valid_accuracy"] == (
            None if row["status"] == "failed" else pytest.approx(row["metrics"]["valid_accuracy"], rel=1e-5)
        )
        assert mine["seconds"] == pytest.approx(row["seconds"], rel=1e-5)
        assert mine["status"] == ("failed: not_finite" if row["status"] == "failed" else "completed")
        assert (mine["text"], mine["error"]) == (row["text"], row["error"])
        assert mine["peak_memory_mb"] == row["cost"]["peak_memory_mb"]
        assert mine["parameters"] == row["metrics"].get("parameters")
        assert mine["epochs"] == (row["fidelity"] or 4)
        assert mine["group"] == (2 if row["fidelity"] else 1)


def test_the_curve_is_that_of_the_facts(page):
    path, document, _ = page
    line = document.charts["by_trials"].lines[0]
    facts = expected_facts(path)
    values = [facts[key] for key in facts if re.fullmatch(r"steps\.\d+\.value", key)]
    assert list(line.y) == [*values, values[-1]]
    assert line.x[-1] == 60
