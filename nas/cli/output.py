"""Results on stdout, and progress on stderr."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from nas.formatting import plural
from nas.runtime.streams import is_terminal, results, say

LINE_SECONDS = 60
"""Time between lines of progress if no terminal shows a bar."""
PIPE_WIDTH = 400
"""Widest table in characters if no terminal shows it."""
LONG_COMMAND = 80
"""Longest command in characters whose note is aligned with those of others."""
MAX_REASONS, MAX_NAMED = 5, 5
"""Largest number of reasons, and of the cases of each, that a list of failures names."""
PLAIN = "±…×·äöüßéèµ→"
"""Characters besides ASCII that are as wide as a letter in every terminal."""
MAX_NAME_LENGTH = 200
"""Longest name in bytes; file systems allow 255."""


def print_json(value: Any) -> None:
    """Print one JSON document and nothing else on stdout; numbers that JSON cannot hold become null."""
    print(json.dumps(_strict(value), indent=2, ensure_ascii=False), file=results())


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table as CSV, one line for its header and each row, and nothing else on stdout.

    Args:
        columns: Names of the columns.
        rows: Values of each row, one per column; None is an empty cell, lists and mappings are written as JSON.
    """
    writer = csv.writer(results(), lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([json.dumps(_strict(cell)) if isinstance(cell, list | dict) else cell for cell in row])


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Sequence[str] = (),
    keys: Sequence[str] = (),
) -> None:
    """Print a table as wide as its content.

    Args:
        title: Line above the table.
        columns: Names of the columns.
        rows: Cells of each row, one per column.
        text: Columns of text; the others are numbers and aligned to the right.
        keys: On a terminal that is too narrow, the last column gets a table of its own with these columns before it.
    """
    lines = _lines(columns, rows, text)
    width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else PIPE_WIDTH
    if lines is not None and max(map(len, lines)) < width:
        print("\n".join([title, *lines]))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if is_terminal(sys.stdout) else PIPE_WIDTH, highlight=False, emoji=False, markup=False)

    def table(shown: Sequence[str]) -> Table:
        result = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in shown:
            result.add_column(column, justify="left" if column in text else "right", overflow="fold")
        indices = [columns.index(column) for column in shown]
        for row in rows:
            result.add_row(*(Text(row[index]) for index in indices))
        return result

    tables = [table(columns)]
    if console.measure(tables[0]).maximum >= console.width:
        tables = [table(columns[:-1]), table([*keys, columns[-1]])]
    print(title)
    for part in tables:
        with console.capture() as capture:
            console.print(part)
        print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def print_next(commands: Sequence[tuple[str, str]]) -> None:
    """Print the commands that follow, each with a note."""
    width = max((len(command) for command, _ in commands if len(command) <= LONG_COMMAND), default=0)
    print("Next:")
    for command, note in commands:
        print(f"  {command:{width}}   # {note}")


def print_reasons(noun: str, cases: Iterable[tuple[str, str]], rest: str) -> None:
    """Print why cases failed, one line per reason.

    Args:
        noun: Noun of a case, such as `trial`.
        cases: Name of each case, and what happened to it.
        rest: Where the reasons are that are not printed.
    """
    reasons: dict[str, list[str]] = {}
    for name, reason in cases:
        reasons.setdefault(reason, []).append(name)
    for reason, names in list(reasons.items())[:MAX_REASONS]:
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        print(f"{noun}{'s' if len(names) > 1 else ''} {', '.join(names[:MAX_NAMED])}{more} {reason}")
    if len(reasons) > MAX_REASONS:
        print(f"{plural(len(reasons) - MAX_REASONS, 'more reason')}; {rest}.")


def _lines(columns: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[str]) -> list[str] | None:
    """The lines of a table, as rich would print it, in a fraction of the time; None if that takes rich.

    Rich knows how wide a terminal shows each character, and breaks lines.
    """
    characters = set().union(*(cell for row in (columns, *rows) for cell in row))
    if not all(character in PLAIN or (character.isascii() and character.isprintable()) for character in characters):
        return None
    widths = [max(len(row[index]) for row in (columns, *rows)) for index in range(len(columns))]
    justify = [str.ljust if column in text else str.rjust for column in columns]

    def line(row: Sequence[str]) -> str:
        padded = (just(cell, width) for just, cell, width in zip(justify, row, widths, strict=True))
        return f" {'   '.join(padded)}".rstrip()

    rule = f" {'─' * (sum(widths) + 3 * (len(columns) - 1))}"
    return ["", line(columns), rule, *map(line, rows), ""]


def run_folder(folder: str, run: str) -> Path:
    """Folder of a run's files: the name, with %XX for characters that a path cannot have."""
    name = quote(run, safe=" +=,@()[]~!")
    if len(name) > MAX_NAME_LENGTH:
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
    """Progress of a long job on stderr: a bar on a terminal, one line per minute elsewhere.

    Args:
        shown: Whether anything is printed.
        unit: Noun of what is counted, such as `run`.
    """

    def __init__(self, shown: bool, unit: str) -> None:
        self.shown = shown
        self.unit = unit
        self._bar: tqdm[Any] | None = None
        self._last = time.monotonic()

    def report(self, done: int, total: int) -> None:
        """Show progress; the first call prints how much was done in earlier sessions."""
        if not self.shown:
            return
        terminal = is_terminal(sys.stderr)
        if self._bar is None:
            if done:
                self.say(f"{done:,} of {plural(total, self.unit)} {'is' if done == 1 else 'are'} already done")
            self._bar = tqdm(total=total, initial=done, unit=self.unit, disable=not terminal)
        self._bar.update(done - self._bar.n)
        if not terminal and time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            self.say(f"{time.strftime('%H:%M:%S')} {done:,} of {plural(total, self.unit)}")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.shown:
            say(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
