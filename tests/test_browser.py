"""The browser of the tests sees what a page does wrong."""

from pathlib import Path

import pytest
from browser import PHONE, Browser, _is_local, check
from PIL import Image

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><title>A page</title>
<style>body {{ margin: 0; background: #fff; }} main {{ height: 1500px; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #000; }} }}
@media print {{ body {{ background: #00f; }} }}
#target {{ position: absolute; top: 1200px; }}</style>
<main><p id="target">drop here</p></main>{more}
<script>
const target = document.querySelector("#target");
target.addEventListener("dragover", event => event.preventDefault());
target.addEventListener("drop", async event => {{
  event.preventDefault();
  target.textContent = (await Promise.all([...event.dataTransfer.files].map(f => f.text()))).join(" ");
}});
</script></html>"""


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a page with some more elements."""

    def run(more: str = "") -> Browser:
        (tmp_path / "page.html").write_text(PAGE.format(more=more))
        browser.open(tmp_path / "page.html")
        return browser

    return run


def corner(path: Path) -> tuple[int, ...]:
    with Image.open(path) as image:
        return image.size, image.convert("RGB").getpixel((5, 5))


def test_a_page_without_faults_passes(opened):
    page = opened()
    assert page.texts("#target") == ["drop here"]
    assert [url.partition(":")[0] for url in page.requests] == ["file"]
    assert page.overflow == 0


def test_errors_of_the_console_are_seen(opened):
    page = opened("<script>undefined_name()</script>")
    with pytest.raises(AssertionError, match="undefined_name is not defined"):
        check(page)
    assert len(page.take_errors()) == 1
    check(page)


def test_a_request_to_another_machine_is_seen(opened):
    page = opened('<img src="http://example.invalid/x.png" alt="">')
    page.wait(lambda: page.foreign_requests, "request")
    with pytest.raises(AssertionError, match=r"left this machine: \['http://example.invalid/x.png'\]"):
        check(page)
    page.close_page()


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("file:///tmp/a.html", True),
        ("data:image/png;base64,AA", True),
        ("blob:null/1", True),
        ("http://127.0.0.1:8000/predict", True),
        ("http://127.0.0.1.example.com/", False),
        ("https://cdn.example.com/127.0.0.1", False),
        ("ws://example.com/", False),
    ],
)
def test_only_addresses_of_this_machine_are_local(url, local):
    assert _is_local(url) is local


def test_files_are_dropped_onto_an_element_below_the_window(opened, tmp_path):
    page = opened()
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    page.drop("#target", tmp_path / "one", tmp_path / "two")
    page.wait(lambda: page.texts("#target") == ["one two"], "text of the files")


def test_screenshots_show_the_whole_page_in_the_colours_and_the_width_asked_for(opened, tmp_path):
    page = opened()
    assert corner(page.screenshot(tmp_path / "a.png")) == ((1280, 1500), (255, 255, 255))
    assert corner(page.screenshot(tmp_path / "b.png", PHONE, "dark")) == ((390, 1500), (0, 0, 0))
    assert corner(page.screenshot(tmp_path / "c.png", 800, media="print")) == ((800, 1500), (0, 0, 255))


def test_a_page_that_is_wider_than_a_phone_is_seen(opened):
    page = opened('<div style="width: 500px">wide</div>')
    page.emulate(PHONE)
    assert page.overflow in (110, 111)  # Chromium rounds up
