"""A report as one HTML file that needs nothing else.

The templates escape everything, charts and facts are built from escaped elements, and the data for the page's script is
JSON without `<`, so no text of a store or a file can become markup. The file forbids itself all connections.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nas.errors import UserError
from nas.files import atomic_write
from nas.report import charts
from nas.report.document import Document, Style, Table, at, plain
from nas.report.elements import element
from nas.report.wording import shown

MAX_BYTES = 1_000_000
"""Largest file."""
COMPRESSED_FROM = 60_000
"""Bytes of data from which it is compressed."""
DIGITS = 6
"""Significant digits of the numbers of a table that are not whole."""


def write_report(out: Path, document: Document) -> int:
    """Write a report, atomically.

    Args:
        out: The file; its folder exists.
        document: What it says.

    Returns:
        Its size in bytes.

    Raises:
        UserError: It cannot be written.
    """
    content = html(document).encode()
    try:
        with atomic_write(out) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"out={out} cannot be written ({error.strerror}); set out= to another file") from None
    return len(content)


def html(document: Document) -> str:
    """The page of a report, of at most `MAX_BYTES`: a table that is too large keeps its best rows."""
    table = document.table
    while True:
        page = _render(document, table)
        excess = len(page.encode()) - MAX_BYTES
        if excess <= 0 or table is None or len(table) < 100:
            return page
        table = _best_rows(table, len(table) * 3 // 4)


def _render(document: Document, table: Table | None) -> str:
    style, script = _asset("report.css"), _asset("report.js")
    data = {"table": None if table is None else _columns(table), "scores": document.scores}
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )

    def fact(path: str, how: Style = "text") -> Markup:
        value = at(document.facts, path)
        if isinstance(value, str):
            return element("span", value, data_fact=path)
        return element("data", shown(value, how), data_fact=path, value="" if value is None else json.dumps(value))

    def picture(name: str, css: str = "thumbnail") -> Markup:
        one = document.pictures[name]
        return Markup('<img src="{}" alt="{}" width="{}" height="{}" class="{}">').format(
            one.uri, one.alt, one.width, one.height, css
        )

    return _environment().get_template("report.html").render(
        document=document,
        facts=document.facts,
        table=table,
        fact=fact,
        picture=picture,
        chart=charts.chart,
        intervals=charts.intervals,
        bar=charts.bar,
        shown=shown,
        policy=policy,
        style=style,
        script=script,
        packed=_packed(plain(data)),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("nas.report"),
        autoescape=True,
        undefined=StrictUndefined,
    )


@lru_cache(maxsize=4)
def _asset(name: str) -> Markup:
    """A file of ours, the only text that is not escaped; the digest of the policy covers every byte of it."""
    text = files("nas.report").joinpath(name).read_text(encoding="utf-8")
    if "</" in text:
        raise ValueError(f"{name} has '</', which would end its element")
    return Markup(text)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _columns(table: Table) -> dict[str, Any]:
    return {
        "noun": table.noun,
        "of": table.of,
        "sort": table.sort,
        "descending": table.descending,
        "columns": [
            {
                "name": one.name,
                "label": one.label,
                "style": one.style,
                "values": [_short(value) for value in one.values],
            }
            for one in table.columns
        ],
    }


def _short(value: Any) -> Any:
    """A number with few digits, as the page shows fewer still."""
    if isinstance(value, float):
        value = float(f"{value:.{DIGITS}g}")
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    return value


def _packed(data: Any) -> Markup:
    """Data within the page: JSON, or compressed JSON if it is long; no character of it can end its element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    kind = "application/json"
    if len(text) > COMPRESSED_FROM:
        text, kind = base64.b64encode(zlib.compress(text.encode(), 9)).decode(), "text/plain"
    safe = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return Markup('<script id="report-data" type="{}">{}</script>').format(kind, Markup(safe))


def _best_rows(table: Table, count: int) -> Table:
    """The best rows of a table, in the order that they have."""
    by = next((one.values for one in table.columns if one.name == table.sort), table.columns[0].values)
    sign = -1.0 if table.descending else 1.0
    order = sorted(range(len(table)), key=lambda index: float("inf") if by[index] is None else sign * by[index])
    kept = sorted(order[:count])
    columns = [
        type(one)(one.name, one.label, one.style, [one.values[index] for index in kept]) for one in table.columns
    ]
    return Table(table.noun, columns, table.of, table.sort, table.descending)
