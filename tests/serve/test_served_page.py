"""The page of `nas serve` in a browser: drop pictures and see their labels; no request leaves the machine."""

import pytest
from browser import PHONE
from PIL import Image
from served import serving

TAB, ENTER = "\ue004", "\ue007"


@pytest.fixture
def page(browser, tmp_path):
    """The open page of a model of brightness, with three pictures to drop."""
    for name, grey in (("dark", 0), ("light", 255), ("middle", 150)):
        Image.new("L", (20, 10), grey).save(tmp_path / f"{name}.png")
    with serving(tmp_path / "brightness") as server:
        browser.open(server.url)
        browser.find("#classes:not([hidden])")
        yield browser
        browser.close_page()


def status(page, text):
    page.wait(lambda: page.texts("#status") == [text], f"status {text!r}")


def test_dropped_pictures_have_their_label_and_bars(page, tmp_path):
    assert page.texts("h1") == ["brightness"]
    assert page.texts("#about") == ["test accuracy 0.9877 · “none of these” below 90.0 %"]
    page.drop("#drop", tmp_path / "light.png", tmp_path / "middle.png")
    status(page, "2 pictures labelled")
    assert page.texts(".file") == ["light.png", "middle.png"]
    assert page.texts(".label") == ["light", "none of these"]
    assert page.texts(".why") == ["light is likeliest, but below 90.0 %"]
    assert page.texts(".bars li") == [
        "light\n98.2 %",
        "dark\n1.8 %",
        "light\n66.9 %",
        "dark\n33.1 %",
    ]
    widths = [page.run("return arguments[0].style.width", fill) for fill in page.all(".fill")]
    assert [float(width.removesuffix("%")) for width in widths] == pytest.approx([98.2, 1.8, 66.95, 33.05], abs=0.05)
    assert page.run("return [...document.images].every(image => image.naturalWidth === 20)")
    assert page.foreign_requests == []


def test_the_newest_pictures_come_first_and_all_can_be_removed(page, tmp_path):
    page.drop("#drop", tmp_path / "light.png")
    status(page, "1 picture labelled")
    page.drop("footer", tmp_path / "dark.png")  # anywhere on the page
    status(page, "2 pictures labelled")
    assert page.texts(".label") == ["dark", "light"]
    page.click("#clear")
    assert page.all(".card") == []
    assert page.texts("#status") == [""]
    assert not page.find("#clear").is_displayed()


def test_a_file_that_is_not_a_picture_has_a_sentence_and_the_others_their_label(page, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    page.drop("#drop", tmp_path / "notes.txt", tmp_path / "dark.png")
    status(page, "1 picture labelled, 1 could not be read")
    assert page.texts(".error") == ["This file cannot be read (not an image)"]
    assert page.texts(".preview")[0] == "no preview"


def test_a_dropped_folder_is_searched_for_pictures(page, tmp_path):
    inner = tmp_path / "photos" / "b"
    inner.mkdir(parents=True)
    Image.new("L", (9, 9), 0).save(tmp_path / "photos" / "a.PNG")
    Image.new("L", (9, 9), 255).save(inner / "c.jpg")
    for name in (".hidden.png", "notes.txt"):
        (tmp_path / "photos" / name).write_text("no image")
    page.drop("#drop", tmp_path / "photos")
    status(page, "2 pictures labelled")
    assert page.texts(".file") == ["a.PNG", "c.jpg"]


def test_a_file_larger_than_the_limit_is_not_sent(page, tmp_path):
    page.run("model.max_bytes = 50")
    page.drop("#drop", tmp_path / "dark.png")
    status(page, "1 could not be read")
    assert page.texts(".error")[0].startswith("This file has 1 MB; expected at most ")
    assert not any(url.endswith("/predict") for url in page.requests)


def test_of_more_pictures_than_a_browser_can_show_the_rest_is_left_out(page):
    page.run("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    page.run("add(Array.from({length: 502}, (_, index) => new File(['x'], `${index}.png`)))")
    status(page, "500 could not be read")
    assert page.texts("#results > .error") == ["2 more were left out: nas predict labels a whole folder"]


def test_chosen_files_and_the_keyboard_work(page, tmp_path):
    page.find("#choose").send_keys(str(tmp_path / "dark.png"))
    status(page, "1 picture labelled")
    page.run("document.activeElement.blur()")
    reached = []
    for _ in range(3):
        page.press(TAB)
        reached.append(page.run("return document.activeElement.id || document.activeElement.tagName"))
    assert reached == ["SUMMARY", "choose", "clear"]
    page.press(ENTER)
    assert page.all(".card") == []
    assert page.run("return document.activeElement.id") == "choose"


def test_names_of_files_and_classes_are_text(browser, tmp_path):
    name = "<img src=x onerror=alert(1)>"
    with serving(tmp_path / "<b>model", classes=[name, "</script><script>alert(2)</script>"]) as server:
        Image.new("L", (9, 9), 0).save(tmp_path / f"{name}.png")
        browser.open(server.url)
        browser.find("#classes:not([hidden])")
        browser.drop("#drop", tmp_path / f"{name}.png")
        status(browser, "1 picture labelled")
        assert browser.texts("h1") == ["<b>model"]
        assert browser.texts(".file") == [f"{name}.png"]
        assert browser.texts(".label") == [name]
        assert len(browser.all("img")) == 1
        assert len(browser.all("script")) == 1
        browser.close_page()


def test_long_names_fit_on_a_phone(browser, tmp_path):
    names = ["dark_" + "and_very_" * 30 + "dark", "light"]
    Image.new("L", (9, 9), 0).save(tmp_path / f"{'long' * 50}.png")
    with serving(tmp_path / ("model" * 30), classes=names) as server:
        browser.open(server.url)
        browser.emulate(PHONE)
        browser.find("#classes:not([hidden])")
        browser.click("summary")
        browser.drop("#drop", tmp_path / f"{'long' * 50}.png")
        status(browser, "1 picture labelled")
        assert browser.overflow == 0
        assert all(bar.size["width"] > 40 for bar in browser.all(".track"))
        browser.close_page()


def test_a_server_that_has_ended_is_named(page, tmp_path):
    page.run("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    page.drop("#drop", tmp_path / "dark.png")
    status(page, "1 could not be read")
    assert page.texts(".error") == ["The server does not answer; is nas serve still running?"]
