"""A report in a real browser: it sorts, filters and moves, on a phone too, and asks the network for nothing."""

import numpy as np
import pytest
from browser import PHONE
from made_fit import CLASSES, make_fit
from made_run import add_run, make_store, make_trials

from nas.report.fit import with_fit
from nas.report.html import write_report
from nas.report.study import run_document
from nas.report.wording import shown

TRIALS = 3000
"""So many that the data of the page is compressed."""
ENTER, TAB, RIGHT = "\ue007", "\ue004", "\ue014"


@pytest.fixture(scope="module")
def trials():
    return make_trials(TRIALS)


@pytest.fixture(scope="module")
def report(tmp_path_factory, trials):
    folder = tmp_path_factory.mktemp("report")
    store = make_store(folder / "nas.db")
    add_run(store, trials)
    document = with_fit(run_document(store, "made"), make_fit(folder / "made" / "fit"))
    write_report(folder / "report.html", document)
    return folder / "report.html"


@pytest.fixture
def page(browser, report):
    browser.open(report)
    browser.wait(lambda: browser.run("return document.documentElement.dataset.ready === 'yes'"), "page that is ready")
    return browser


def column(page, number):
    return page.texts(f"#table tbody tr > :nth-child({number})")


def heading(page, label):
    return next(one for one in page.all("#table thead button") if one.text == label)


def sort(page):
    """Column and order that the table says it is sorted by."""
    return [(one.text, one.get_attribute("aria-sort")) for one in page.all("#table thead th[aria-sort]")]


def test_the_table_shows_the_best_first(page, trials):
    best = sorted(
        (one for one in trials if one.completed), key=lambda one: (-one.metrics["valid_accuracy"], one.number)
    )
    assert column(page, 1) == [str(f"{one.number:,}") for one in best[:50]]
    assert sort(page) == [("valid accuracy", "descending")]
    assert page.find("#count").text == "1 to 50 of 3,000 trials kept, of 3,000"


def test_a_heading_sorts_and_turns_the_order(page, trials):
    heading(page, "time").click()
    slowest = sorted(trials, key=lambda one: (-one.seconds, one.number))[:50]
    assert column(page, 1) == [f"{one.number:,}" for one in slowest]
    assert sort(page) == [("time", "descending")]
    heading(page, "time").click()
    quickest = sorted(trials, key=lambda one: (one.seconds, one.number))[:50]
    assert column(page, 1) == [f"{one.number:,}" for one in quickest]
    assert sort(page) == [("time", "ascending")]


def test_the_keyboard_sorts_and_turns_pages(page):
    page.run("arguments[0].focus()", heading(page, "trial"))
    page.press(ENTER)
    assert column(page, 1)[:3] == ["0", "1", "2"]
    page.press(ENTER)
    assert column(page, 1)[:2] == ["2,999", "2,998"]
    page.run("document.getElementById('next').focus()")
    page.press(ENTER)
    assert column(page, 1)[0] == "2,949"
    assert page.find("#count").text.startswith("51 to 100 of 3,000")
    page.run("document.getElementById('previous').focus()")
    page.press(ENTER)
    assert not page.find("#previous").is_enabled()


def test_failed_trials_are_last_in_both_orders(page):
    for _ in range(2):
        heading(page, "valid accuracy").click()
        assert "–" not in column(page, 2)


def test_the_filter_keeps_rows_that_have_the_text(page, trials):
    page.find("#filter").send_keys("IN EPOCH 13 <")
    kept = [one for one in trials if one.error and "in epoch 13 <" in one.error]
    assert column(page, 1) == [str(one.number) for one in kept]
    page.find("#filter").clear()
    page.find("#filter").send_keys("nothing has this")
    assert column(page, 1) == []
    assert page.find("#count").text == "no trial is kept, of 3,000"


def test_the_status_keeps_failed_trials(page, trials):
    choose = "arguments[0].value = 'failed: not_finite'; arguments[0].dispatchEvent(new Event('change'))"
    page.run(choose, page.find("#status"))
    failed = sum(not one.completed for one in trials)
    assert page.find("#count").text == f"1 to 50 of {failed} trials kept, of 3,000"
    assert set(column(page, 3)) == {"failed: not_finite"}


def test_a_cell_says_its_number_as_the_rest_of_the_page(page, trials):
    """The page's script and `nas.report.wording` show every style alike."""
    heading(page, "trial").click()
    styles = {"valid_accuracy": "percent", "seconds": "seconds", "parameters": "short", "peak_memory_mb": "bytes"}
    for cell in page.all("#table tbody [data-fact]")[:150]:
        _, number, name = cell.get_attribute("data-fact").split(".")
        trial = trials[int(number)]
        known = {**trial.metrics, **trial.cost, "seconds": trial.seconds}
        if name in styles:
            assert cell.text == shown(known.get(name), styles[name]), name


def test_the_slider_computes_precision_and_recall(page, report):
    file = np.load(report.parent / "made" / "fit" / "predictions.npz")
    labels, probabilities = file["test_labels"], file["test_probabilities"].astype(float)
    answers, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    slider = page.find("#slider")
    assert slider.get_attribute("value") == "62", "the threshold of the export"
    for keys, threshold in (((RIGHT,) * 13, 0.75), ((), 0.75), (("\ue010",), 1.0), (("\ue011",), 0.0)):
        page.run("arguments[0].focus()", slider)
        page.press(*keys)
        assert page.find("#threshold-value").text == f"{100 * threshold:.0f} %"
        above = sure >= threshold
        for index, row in enumerate(page.all("#by-class tbody tr")):
            cells = [cell.text for cell in row.find_elements("css selector", "td")]
            given, own = above & (answers == index), labels == index
            right = (given & own).sum()
            assert cells[1] == (shown(right / given.sum(), "percent") if given.sum() else "–"), CLASSES[index]
            assert cells[2] == shown(right / own.sum(), "percent")
        summary = page.find("#threshold-summary").text
        assert f"{above.sum()} of 240 pictures get an answer, {240 - above.sum()} are “none of these”" in summary


def test_the_colours_follow_the_system_and_the_button(page):
    ground = "return getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(255, 255, 255)", "rgb(20, 24, 31)"
    assert page.run(ground) == light
    page.emulate(scheme="dark")
    assert page.run(ground) == dark
    for text, colour in (("light", light), ("dark", dark), ("automatic", dark)):
        page.click("#theme")
        assert page.find("#theme").text == f"Colours: {text}"
        assert page.run(ground) == colour


@pytest.mark.parametrize("width", [PHONE, 320, 700, 1280])
def test_the_page_does_not_scroll_sideways(page, width):
    page.emulate(width)
    assert page.overflow == 0


def test_the_contents_name_every_section(page):
    assert page.texts("#contents a") == page.texts("main section[id] h2")
    for link in page.all("#contents a"):
        assert page.all("#" + link.get_attribute("href").partition("#")[2])


def test_every_text_has_enough_contrast(page):
    """4.5 to 1, as WCAG 2.2 asks, for the colours of the style sheet in both schemes."""
    script = """
      const style = getComputedStyle(document.documentElement);
      const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
      const light = (name) => {
        canvas.fillStyle = style.getPropertyValue(name).trim(); canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255)
          .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
      return ['--ink', '--quiet', '--accent'].flatMap(
        (ink) => ['--ground', '--panel'].map((under) => [ink, under, ratio(ink, under)]));
    """
    for scheme in ("light", "dark"):
        page.emulate(scheme=scheme)
        for ink, under, ratio in page.run(script):
            assert ratio >= 4.5, (scheme, ink, under)


def test_nothing_is_asked_of_the_network_and_nothing_is_run(page, report):
    assert not [one for one in page.requests if not one.startswith(("file:", "data:"))]
    assert page.run("return document.images.length") == page.run(
        "return [...document.images].filter((i) => i.naturalWidth).length"
    )
    assert page.run("return document.querySelectorAll('img[src=\"x\"]').length") == 0


def test_the_policy_stops_a_script_that_got_in(page):
    page.run(
        "const s = document.createElement('script'); s.textContent = 'window.entered = 1'; document.body.append(s)"
    )
    assert page.run("return window.entered") is None
    errors = page.wait(lambda: page.errors and page.take_errors(), "refusal")
    assert all("Content Security Policy" in one for one in errors), errors
