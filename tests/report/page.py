"""A report as a reader's browser sees it, read from its HTML alone."""

import base64
import json
import zlib
from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br", "link"}
SILENT = {"script", "style", "svg", "title"}
"""Elements whose text is not part of the page's text; the labels of a chart repeat facts."""


class Page(HTMLParser):
    """The facts, the other texts and the data of a page.

    Args:
        text: The HTML.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.facts: dict[str, list[tuple[str | None, str]]] = {}
        self.loose: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._open: list[str] = []
        self._fact: tuple[str, str | None] | None = None
        self.feed(text)
        assert not self._open, f"elements are left open: {self._open}"

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.tags.append((tag, known))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append((known, ""))
        if "data-fact" in known:
            self._fact = known["data-fact"], known.get("value")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> ends another element"
        if tag in ("data", "span"):
            self._fact = None

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            known, text = self.scripts[-1]
            self.scripts[-1] = known, text + data
        elif self._fact is not None:
            path, value = self._fact
            self.facts.setdefault(path, []).append((value, data))
        elif not SILENT & set(self._open):
            self.loose.append(data)

    @property
    def data(self):
        """What the page's script reads."""
        known, text = next((known, text) for known, text in self.scripts if known.get("id") == "report-data")
        if known["type"] == "text/plain":
            text = zlib.decompress(base64.b64decode(text)).decode()
        return json.loads(text)

    def rows(self):
        """Rows of the table: the value of its first column -> name of each column -> value."""
        columns = self.data["table"]["columns"]
        keys = columns[0]["values"]
        return {key: {one["name"]: one["values"][row] for one in columns} for row, key in enumerate(keys)}
