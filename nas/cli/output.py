"""How results are written to stdout, and progress to stderr."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from nas.formatting import plural
from nas.runtime.streams import is_terminal, results, say

LINE_SECONDS = 60


def print_json(value: Any) -> None:
    """One JSON document, alone on stdout; numbers that JSON does not know become null."""
    print(json.dumps(_strict(value), indent=2, ensure_ascii=False), file=results())


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Sequence[str] = (),
    keys: Sequence[str] = (),
) -> None:
    """A table as wide as its content.

    Args:
        text: the columns of text; the others are numbers and stand to the right.
        keys: on a terminal that is too narrow, the last column gets a table of its own with these columns before it.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = is_terminal(sys.stdout)
    console = Console(width=None if terminal else 400, highlight=False, emoji=False, markup=False)

    def table(shown: Sequence[str]) -> Table:
        made = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in shown:
            made.add_column(column, justify="left" if column in text else "right", overflow="fold")
        places = [columns.index(column) for column in shown]
        for row in rows:
            made.add_row(*(Text(row[place]) for place in places))
        return made

    tables = [table(columns)]
    if console.measure(tables[0]).maximum >= console.width:
        tables = [table(columns[:-1]), table([*keys, columns[-1]])]
    print(title)
    for made in tables:
        with console.capture() as capture:
            console.print(made)
        print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def run_folder(folder: str, run: str) -> Path:
    """Where a run's files go; its name with the signs that a path cannot hold written as %XX."""
    name = quote(run, safe=" +=,@()[]~!")
    if len(name) > 200:  # a file system takes 255
        name = f"{name[:180]}-{hashlib.blake2b(run.encode(), digest_size=4).hexdigest()}"
    return Path(folder).expanduser() / (name if name.strip(".") else name.replace(".", "%2E"))


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    return value


class Bar:
    """Progress of a long job on stderr: a bar on a terminal, a line a minute elsewhere.

    Args:
        shown: False keeps silent.
        unit: what is counted, such as `run`.
    """

    def __init__(self, shown: bool, unit: str) -> None:
        self.shown = shown
        self.unit = unit
        self._bar: tqdm[Any] | None = None
        self._last = time.monotonic()

    def report(self, done: int, total: int) -> None:
        """The first call says how much was done before."""
        if not self.shown:
            return
        terminal = is_terminal(sys.stderr)
        if self._bar is None:
            if done:
                self.say(f"{done:,} of {plural(total, self.unit)} are kept from before")
            self._bar = tqdm(total=total, initial=done, unit=self.unit, disable=not terminal)
        self._bar.update(done - self._bar.n)
        if not terminal and time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            self.say(f"{time.strftime('%H:%M:%S')} {done:,} of {plural(total, self.unit)}")

    def say(self, text: str) -> None:
        if self.shown:
            say(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
