"""A store as JSON lines: one for the file, each run, each trial with its curve, and each retraining.

    {"cellnas": "store", "schema": 4}
    {"run": {"name": …, "config": …}, "session": {…}}
    {"trial": {"run": …, "number": 0, "metrics": …}, "curve": [{…}]}
    {"retraining": {…}}
    {"end": {"runs": 1, "trials": 1, "retrainings": 1}}

Numbers that JSON lacks (NaN, infinity) are written as `nas.store.rows.to_json` writes them, so that every program can
read a line. The last line tells a whole file from one that was cut off.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from nas.errors import UsageError
from nas.store import schema
from nas.store.rows import from_json, to_json
from nas.store.transfer import Row, Source

KIND = "store"
KINDS: Mapping[Any, Any] = {sa.Integer: int, sa.Float: int | float, sa.String: str, sa.Text: str, sa.JSON: dict | list}
"""Types of columns -> types of their values."""
TABLES: Mapping[str, Any] = {
    "run": schema.runs, "trial": schema.trials, "retraining": schema.retrainings
}  # fmt: skip


def export(source: Source, path: Path, *, compressed: bool) -> dict[str, int]:
    """Write a store as JSON lines.

    Args:
        source: The store.
        path: File to write.
        compressed: Whether to compress it by gzip.

    Returns:
        Numbers of runs, trials and retrainings.
    """
    with ExitStack() as stack:
        binary: Any = stack.enter_context(path.open("wb"))
        if compressed:
            binary = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=binary, mtime=0))
        file = stack.enter_context(io.TextIOWrapper(binary, encoding="utf-8"))
        counts = {"runs": 0, "trials": 0, "retrainings": 0}
        for line in _lines(source, counts):
            file.write(to_json(line) + "\n")
    return counts


def _lines(source: Source, counts: dict[str, int]) -> Iterator[Mapping[str, Any]]:
    """The lines of a store, which are counted on the way."""
    yield {"cellnas": KIND, "schema": schema.VERSION}
    for run, session in source.runs():
        yield {"run": run, "session": session}
        counts["runs"] += 1
        for trial, curve in source.trials(run["name"]):
            yield {"trial": trial, "curve": [point["metrics"] for point in curve]}
            counts["trials"] += 1
    for retraining in source.retrainings():
        yield {"retraining": retraining}
        counts["retrainings"] += 1
    yield {"end": counts}


class JSONLines:
    """A file of JSON lines, checked as a whole before anything of it is used.

    Args:
        path: File, compressed by gzip or not.

    Raises:
        UsageError: It cannot be read, is not such a file, or a line of it is damaged; names the line.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (as long as this object)
        self._runs: list[tuple[Row, Row | None]] = []
        self._starts: dict[str, int] = {}
        self._retrainings = 0
        self._copy(path)
        self._check()

    def close(self) -> None:
        """Remove the temporary copy."""
        self._file.close()

    def runs(self) -> Sequence[tuple[Row, Row | None]]:
        return self._runs

    def trials(self, run: str) -> Iterator[tuple[Row, Sequence[Row]]]:
        position = self._starts[run]
        while True:
            self._file.seek(position)
            line = from_json(self._file.readline())
            position = self._file.tell()
            if "trial" not in line:
                return
            trial = line["trial"]
            key = {"run": trial["run"], "trial": trial["number"]}
            yield trial, [{**key, "epoch": epoch, "metrics": metrics} for epoch, metrics in enumerate(line["curve"], 1)]

    def retrainings(self) -> Iterator[Row]:
        self._file.seek(self._retrainings)
        for text in self._file:
            line = from_json(text)
            if "retraining" in line:
                yield line["retraining"]

    def _copy(self, path: Path) -> None:
        """Copy the text to a temporary file, where every line can be read again."""
        try:
            with path.open("rb") as file:
                compressed = file.read(2) == b"\x1f\x8b"
                file.seek(0)
                shutil.copyfileobj(gzip.GzipFile(fileobj=file) if compressed else file, self._file, 2**20)
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"from={path} cannot be read ({reason}); nothing was imported") from None
        self._file.seek(0)

    def _check(self) -> None:
        counts = {"runs": 0, "trials": 0, "retrainings": 0}
        run, last, number, ended = None, -1, 0, False
        for number, text in enumerate(iter(self._file.readline, b""), start=1):
            line = self._line(number, text)
            if ended:
                raise self._damaged(number, "it follows the end")
            if number == 1:
                self._check_head(line)
            elif "run" in line:
                run, last = self._row(number, line, "run")["name"], -1
                if run in self._starts:
                    raise self._damaged(number, f"run {run!r} is there twice")
                self._runs.append((line["run"], line.get("session")))
                self._starts[run] = self._file.tell()
                counts["runs"] += 1
            elif "trial" in line:
                trial = self._row(number, line, "trial")
                in_order = type(trial["number"]) is int and trial["number"] > last
                if trial["run"] != run or not in_order or not isinstance(line.get("curve"), list):
                    raise self._damaged(number, f"it is not the next trial of run {run!r}")
                last = trial["number"]
                counts["trials"] += 1
            elif "retraining" in line:
                self._row(number, line, "retraining")
                self._retrainings = self._retrainings or self._file.tell() - len(text)
                run = None
                counts["retrainings"] += 1
            elif line.get("end") == counts:
                ended = True
                self._retrainings = self._retrainings or self._file.tell() - len(text)
            else:
                raise self._damaged(number, "it is neither a run, a trial, a retraining nor the end")
        if not ended:
            raise UsageError(
                f"from={self.name} is cut off after line {number}: {_counted(counts)} are there, and no end; nothing "
                "was imported"
            )

    def _line(self, number: int, text: bytes) -> dict[str, Any]:
        try:
            line = from_json(text)
        except (ValueError, RecursionError) as error:
            if number == 1:
                raise self._other_file() from None
            raise self._damaged(number, " ".join(str(error).split())) from None
        if not isinstance(line, dict):
            raise self._other_file() if number == 1 else self._damaged(number, "it is not an object")
        return line

    def _check_head(self, line: Mapping[str, Any]) -> None:
        if line.get("cellnas") != KIND or type(line.get("schema")) is not int:
            raise self._other_file()
        if line["schema"] > schema.VERSION:
            raise UsageError(
                f"from={self.name} was written by a newer version of cellnas (schema {line['schema']}, this one reads "
                f"up to {schema.VERSION}); upgrade cellnas, nothing was imported"
            )

    def _row(self, number: int, line: Mapping[str, Any], kind: str) -> Row:
        row, columns = line[kind], {column.name for column in TABLES[kind].columns} - {"id"}
        if not isinstance(row, dict) or row.keys() != columns:
            lacking = sorted(columns - set(row)) if isinstance(row, dict) else sorted(columns)
            raise self._damaged(number, f"its {kind} lacks {', '.join(lacking) or 'nothing, but has other values'}")
        for column in TABLES[kind].columns:
            value, expected = row.get(column.name), KINDS.get(type(column.type), object)
            missing = value is None and not column.nullable and column.name != "id"
            if missing or (value is not None and (not isinstance(value, expected) or isinstance(value, bool))):
                raise self._damaged(number, f"{column.name} of its {kind} cannot be {value!r}")
        return row

    def _damaged(self, number: int, reason: str) -> UsageError:
        return UsageError(f"from={self.name}: line {number} is damaged: {reason}; nothing was imported")

    def _other_file(self) -> UsageError:
        return UsageError(
            f"from={self.name} is not a file of nas store export (its first line is not the head of one); nothing was "
            "imported"
        )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items())
