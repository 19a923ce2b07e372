"""A headless Chromium for tests of pages: Debian's, steered through its own driver; it may reach only this machine."""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
LOCAL_SCHEMES = ("about", "blob", "data", "file")
LOCAL_HOSTS = ("127.0.0.1",)
BROWSERS_OWN = "chrome://"
"""Beginning of the addresses of its own pages, such as the one that it starts with."""
WIDTH, HEIGHT = 1280, 900
PHONE = 390
"""Width of a phone in CSS pixels."""
SECONDS = 20
"""How long a page may take to open, and a script to answer."""
MAX_HEIGHT = 16_000
"""Height of the largest screenshot: more exhausts the memory of textures."""
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # which root cannot have
    "--disable-dev-shm-usage",  # small in containers
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-features=OptimizationHints,MediaRouter,Translate,NetworkTimeServiceQuerying",
    "--disable-search-engine-choice-screen",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--lang=en",
    "--metrics-recording-only",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--proxy-server=direct://",  # not that of the environment
)


class Browser:
    """A browser with one page, what the page's console reported, and what the page asked the network for.

    Args:
        driver: Selenium's driver, for whatever has no method here.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self._errors: list[str] = []
        self._requests: list[str] = []

    def open(self, page: str | Path) -> None:
        """Open a file or an address, as wide as a desktop and light."""
        self.emulate()
        self.driver.get(page.resolve().as_uri() if isinstance(page, Path) else page)

    def close_page(self) -> None:
        """Leave the page and forget what it reported."""
        self.driver.get("about:blank")
        self._read()
        self._errors.clear()
        self._requests.clear()

    def find(self, selector: str) -> Any:
        """The first element of a CSS selector; waits for it to appear."""
        return self.wait(lambda: next(iter(self.all(selector)), None), selector)

    def all(self, selector: str) -> list[Any]:
        """All elements of a CSS selector, now."""
        elements: list[Any] = self.driver.find_elements("css selector", selector)
        return elements

    def texts(self, selector: str) -> list[str]:
        """What a reader sees in the elements of a CSS selector."""
        return [element.text for element in self.all(selector)]

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that JavaScript returns; `arguments[0]` is the first argument."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: Any, what: str = "") -> Any:
        """The first true value of a function without arguments.

        Raises:
            AssertionError: There was none in time; it says what was waited for and what the console reported.
        """
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.wait import WebDriverWait

        try:
            return WebDriverWait(self.driver, SECONDS, poll_frequency=0.05).until(lambda _: condition())
        except TimeoutException:
            raise AssertionError(f"no {what or 'true value'} in {SECONDS} s; console: {self.errors}") from None

    def press(self, *keys: str) -> None:
        """Press keys one after another, such as `"\\ue004"` (Keys.TAB), wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def drop(self, selector: str, *files: Path) -> None:
        """Drop files of this machine onto an element, as a hand with a mouse does."""
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        box = self.run("const b = arguments[0].getBoundingClientRect(); return [b.x, b.y, b.width, b.height]", element)
        data = {"items": [], "files": [str(file.resolve()) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            at = {"x": box[0] + box[2] / 2, "y": box[1] + box[3] / 2}
            self.driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, **at, "data": data})

    def emulate(
        self,
        width: int = WIDTH,
        scheme: Literal["light", "dark"] = "light",
        media: Literal["screen", "print"] = "screen",
    ) -> None:
        """Show the page as on a device: its width in CSS pixels, the colours its owner prefers, or printed."""
        metrics = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        colours = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": colours})

    def screenshot(
        self,
        path: Path,
        width: int = WIDTH,
        scheme: Literal["light", "dark"] = "light",
        media: Literal["screen", "print"] = "screen",
    ) -> Path:
        """Write the whole page as a PNG, as `emulate` shows it; the page stays so."""
        self.emulate(width, scheme, media)
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": min(size["height"], MAX_HEIGHT), "scale": 1}
        options = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        picture = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(picture))
        return path

    @property
    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window: it scrolls sideways if there are any."""
        return int(self.run("const e = document.documentElement; return e.scrollWidth - e.clientWidth"))

    @property
    def errors(self) -> list[str]:
        """Errors and warnings of the console since the page was opened, uncaught exceptions and refusals included."""
        self._read()
        return list(self._errors)

    def take_errors(self) -> list[str]:
        """The errors, which the test expected: the fixture fails for those that nobody took."""
        errors = self.errors
        self._errors.clear()
        return errors

    @property
    def requests(self) -> list[str]:
        """Addresses that the page asked for, `file:` and `data:` included, in their order."""
        self._read()
        return list(self._requests)

    @property
    def foreign_requests(self) -> list[str]:
        """Those of them that are not on this machine."""
        return [url for url in self.requests if not _is_local(url)]

    def _read(self) -> None:
        for entry in self.driver.get_log("browser"):
            if entry["level"] in ("SEVERE", "WARNING"):
                self._errors.append(entry["message"])
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            method, about = message["method"], message["params"]
            if method == "Network.requestWillBeSent" and not about["documentURL"].startswith(BROWSERS_OWN):
                self._requests.append(about["request"]["url"])
            elif method in ("Network.webSocketCreated", "Network.webTransportCreated"):
                self._requests.append(about["url"])


def _is_local(url: str) -> bool:
    address = urlsplit(url)
    return address.scheme in LOCAL_SCHEMES or address.hostname in LOCAL_HOSTS


def programs() -> tuple[str, str] | str:
    """Paths of the browser and of its driver, or why the tests cannot have them."""
    browser = next(filter(None, map(shutil.which, PROGRAMS)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        return "needs Chromium and its driver (apt-get install chromium chromium-driver)"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "needs selenium (pip install selenium)"
    return browser, driver


@contextmanager
def running_browser(switches: Sequence[str] = SWITCHES) -> Iterator[Browser]:
    """A browser with a profile of its own; the test is skipped where there is none, and fails where it must be one."""
    found = programs()
    if isinstance(found, str):
        if os.environ.get("NAS_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{found}; NAS_REQUIRE_BROWSER=1")
        pytest.skip(found)
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    # what a killed test leaves is the system's to clean
    with tempfile.TemporaryDirectory(prefix="cellnas-browser-", ignore_cleanup_errors=True) as home:
        options = ChromeOptions()
        options.binary_location = found[0]
        for switch in (*switches, f"--user-data-dir={home}/profile", f"--crash-dumps-dir={home}"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        folders = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TMPDIR"), home)
        proxies = {name for name in os.environ if name.lower().endswith("_proxy")}
        environment = {name: value for name, value in os.environ.items() if name not in proxies} | folders
        driver = Chrome(options, ChromeService(found[1], env=environment))
        try:
            driver.set_page_load_timeout(SECONDS)
            driver.set_script_timeout(SECONDS)
            browser = Browser(driver)
            browser.close_page()
            yield browser
        finally:
            driver.quit()


def check(browser: Browser) -> None:
    """Fail if the page asked another machine for anything, or reported errors that the test did not take."""
    assert not browser.foreign_requests, f"requests left this machine: {browser.foreign_requests}"
    assert not browser.errors, f"the console has errors: {browser.errors}"
