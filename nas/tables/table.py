"""A benchmark table: one row per architecture, or per class of equal ones.

Read from CSV (plain or gzip), or Parquet with the extra `parquet`. Its YAML in `configs/table/` states the meaning of
the columns, so a table from elsewhere needs no code.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas.core import Architecture
from nas.errors import NOT_IN_TABLE, TrialFailed, UsageError, UserError
from nas.space.base import SearchSpace
from nas.space.notation import parse
from nas.space.tuned import PREFIX, SEPARATOR, TunedSpace
from nas.validation import number_in, one_of, true_or_false

MAX_CHECKED_SIZE = 1_000_000
"""Largest size of a space whose table is checked for completeness."""
MAX_COLUMNS = 30
"""Largest number of columns that a message names."""
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""The first bytes of such text."""
SEPARATORS = {";": "semicolons", "\t": "tabs"}


class Table:
    """The location of a table and the meaning of its columns; `of(space)` reads it.

    Args:
        file: Relative to `root`, else to `NAS_DATA`, else to the current folder; absolute; or `pkg://PACKAGE/FILE` for
            one that is installed.
        space: Option of the space that the rows belong to; for messages, and the default space of a search.
        column: Column that a search may see.
        architecture: Column with the architecture's text in the notation of the space.
        rows: `architecture`, every architecture has a row of its own; `class`, each class of `canonical` has one.
        root: Folder, or None.
        metric: Name of the metric that `column` becomes, such as `valid_accuracy`.
        scale: Factor from `column` to the metric; 0.01 makes a fraction of a percentage.
        cost: Column that a query's simulated cost comes from; None: queries cost nothing.
        cost_scale: Factor from `cost` to seconds.
        reported: Columns joined after the search, the headline first.
        minimized: Columns whose lower values are better.
        labels: Column -> text for the axis of a figure, with the unit; used only for reported columns.
        complete: Whether every architecture (or class) of the space has a row; False: the table is of a sample, and a
            proposal that it lacks is a failed trial.
    """

    def __init__(
        self,
        file: str,
        space: str,
        column: str,
        *,
        architecture: str = "arch",
        rows: Literal["architecture", "class"] = "architecture",
        root: str | None = None,
        metric: str = "valid_accuracy",
        scale: float = 1.0,
        cost: str | None = None,
        cost_scale: float = 1.0,
        reported: Sequence[str] = (),
        minimized: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        complete: bool = True,
    ) -> None:
        one_of("table.rows", rows, ("architecture", "class"))
        number_in("table.scale", scale, -math.inf, math.inf)
        if scale == 0:
            raise UsageError("table.scale must not be 0, which makes all architectures equal")
        number_in("table.cost_scale", cost_scale, 0.0, math.inf, above=True)
        true_or_false("table.complete", complete)
        if column in reported:
            raise UsageError(
                f"table.column and table.reported both name {column!r}; a column that a search sees cannot be reported"
            )
        self.file = file
        self.space = space
        self.column = column
        self.architecture = architecture
        self.rows = rows
        self.root = root
        self.metric = metric
        self.scale = scale
        self.cost = cost
        self.cost_scale = cost_scale
        self.reported = tuple(reported)
        self.minimized = tuple(minimized)
        self.labels = dict(labels or {})
        self.complete = complete

    def of(self, space: SearchSpace) -> Rows:
        """Read the table for a space.

        Raises:
            UsageError: The file is missing, lacks a column, or is of another space.
            UserError: It is damaged: an architecture is missing or listed twice, a value is not a number.
        """
        raw, path = self._raw()
        keys = dict.fromkeys(self.reported, "reported") | ({self.cost: "cost"} if self.cost else {})
        wanted = {self.architecture: "architecture", self.column: "column"} | keys
        # a misspelt one would silently leave the direction of a column wrong
        wanted |= {name: "minimized" for name in self.minimized if name not in wanted}
        named = path.lower().endswith((".parquet", ".pq"))
        columns = (_parquet if named or raw.startswith(b"PAR1") else _csv)(raw, path, wanted)
        texts = columns[self.architecture]
        positions = self._positions(space, texts, path)
        numbers = {name: _numbers(columns[name], name, texts, path) for name in (self.column, *keys)}
        cost = numbers[self.cost] * self.cost_scale if self.cost else None
        if cost is not None and (cost < 0).any():
            raise UserError(f"table {path} has a negative {self.cost} for {texts[int(cost.argmin())]}; see table.cost")
        return Rows(
            digest=hashlib.blake2b(raw, digest_size=8).hexdigest(),
            positions=positions,
            by_class=self.rows == "class",
            space=space,
            values=(numbers[self.column] * self.scale).tolist(),
            costs=None if cost is None else cost.tolist(),
            reported={name: numbers[name] for name in self.reported},
            complete=self.complete,
        )

    def _raw(self) -> tuple[bytes, str]:
        """The file's bytes, and its name for messages."""
        if self.file.startswith("pkg://"):
            package, _, name = self.file[6:].partition("/")
            try:
                return (files(package) / name).read_bytes(), self.file
            except (OSError, ImportError) as error:
                raise UsageError(f"table.file={self.file} is not installed ({error})") from None
        named = (self.root, os.environ.get("NAS_DATA"))
        candidates = [Path(root).expanduser() / self.file for root in named if root] + [Path(self.file).expanduser()]
        for path in candidates:
            if path.is_file():
                try:
                    return path.read_bytes(), str(path)
                except OSError as error:
                    raise UsageError(f"table {path} cannot be read ({error.strerror}); see table.root") from None
        raise UsageError(
            f"table {self.file} was not found in table.root ({self.root or 'not set'}) or NAS_DATA "
            f"({os.environ.get('NAS_DATA') or 'not set'}); set one of them to the folder that holds it"
        )

    def _positions(self, space: SearchSpace, texts: Sequence[str], path: str) -> dict[Architecture | str, int]:
        """Architecture, or canonical key, -> its row."""
        by_class = self.rows == "class"
        positions: dict[Architecture | str, int] = {}
        for row, text in enumerate(texts):
            try:
                architecture = parse(space, text)
            except UsageError as error:
                if isinstance(space, TunedSpace) and SEPARATOR not in text:
                    names = ", ".join(f"{PREFIX}{name}" for name in space.tune.choices)
                    raise UsageError(
                        f"{names} has no effect on table {path}, whose rows are of one recipe; leave it out, or set "
                        "evaluator=training"
                    ) from None
                raise UsageError(
                    f"table {path}, row {row + 1}, is not of space {type(space).__name__} ({error}); "
                    f"the table is of space={self.space}"
                ) from None
            key = space.canonical(architecture) if by_class else architecture
            if key in positions:
                what = f"the class of {text}" if by_class else text
                raise UserError(
                    f"table {path} lists {what} twice, in rows {positions[key] + 1} and {row + 1}; expected it once"
                )
            positions[key] = row
        if self.complete and space.size <= MAX_CHECKED_SIZE and (by_class or len(positions) < space.size):
            # a constraint may leave out any number of the product, and so does equality
            keys = ((space.canonical(other) if by_class else other, other) for other in space.architectures())
            absent = next((other for key, other in keys if key not in positions), None)
            if absent is not None:
                raise UserError(
                    f"table {path} has {len(positions):,} rows and none for {space.to_text(absent)}; "
                    f"expected every {'class' if by_class else 'architecture'} of space={self.space}. If it covers "
                    "only a sample, set complete: false in its YAML (+table.complete=false)"
                )
        return positions


class Rows:
    """A table that has been read.

    Args:
        digest: 16 hexadecimal digits over the file.
        positions: Architecture or canonical key -> row.
        by_class: Whether the keys are canonical.
        space: Space of the architectures.
        values: (rows,) the searched metric.
        costs: (rows,) simulated seconds of a query, or None.
        reported: Column -> (rows,) values in the units of the table.
        complete: Whether it is meant to have the whole space.
    """

    def __init__(
        self,
        *,
        digest: str,
        positions: Mapping[Architecture | str, int],
        by_class: bool,
        space: SearchSpace,
        values: Sequence[float],
        costs: Sequence[float] | None,
        reported: Mapping[str, NDArray[np.float64]],
        complete: bool = True,
    ) -> None:
        self.digest = digest
        self.positions = positions
        self.by_class = by_class
        self.space = space
        self.values = values
        self.costs = costs
        self.reported = reported
        self.complete = complete

    def __len__(self) -> int:
        return len(self.values)

    def has(self, architecture: Architecture) -> bool:
        """Whether there is a row of an architecture."""
        return (self.space.canonical(architecture) if self.by_class else architecture) in self.positions

    def position(self, architecture: Architecture) -> int:
        """The row of an architecture.

        Raises:
            TrialFailed: The table is of a sample and has no such row.
            UserError: The table has no such row, although it should be complete.
        """
        key = self.space.canonical(architecture) if self.by_class else architecture
        try:
            return self.positions[key]
        except KeyError:
            text = self.space.to_text(architecture)
            if not self.complete:
                raise TrialFailed(NOT_IN_TABLE, f"{text} is not in the table, a sample of {len(self):,}") from None
            raise UserError(
                f"the table has no row for {text}; if it covers only a sample of its space, set complete: false in its "
                "YAML (+table.complete=false)"
            ) from None

    @cached_property
    def best(self) -> dict[str, tuple[float, float]]:
        """Reported column -> its lowest and highest value over all rows."""
        return {name: (float(values.min()), float(values.max())) for name, values in self.reported.items()}


def _csv(raw: bytes, path: str, wanted: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """The wanted columns as text."""
    rows: list[list[str]] = []
    try:
        lines = csv.reader(io.StringIO(_text(raw, path), newline=""))
        head = next(lines, [])
        _check_separator(head, wanted, path)
        _check_columns(head, wanted, path)
        candidates = [head.index(name) for name in wanted]
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            if len(line) != len(head):
                raise UserError(f"table {path}, row {number}, has {len(line)} values; expected {len(head)}")
            rows.append([line[index] for index in candidates])
    except csv.Error as error:
        raise UserError(
            f"table {path}, after row {len(rows)}, is not CSV ({error}); is a quotation mark missing?"
        ) from None
    if not rows:
        raise UserError(f"table {path} has no rows")
    return dict(zip(wanted, zip(*rows, strict=True), strict=True))


def _text(raw: bytes, path: str) -> str:
    """The text of a file, plain or gzip."""
    if raw.startswith(b"PK\x03\x04"):
        raise UserError(f"table {path} is a zip archive; expected CSV (plain or gzip) or Parquet")
    try:
        raw = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"table {path} is damaged ({error}); restore it") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeError as error:
        kind = "is UTF-16 and not UTF-8 text" if raw[:2] in UTF_16 else f"is not UTF-8 text ({error})"
        raise UserError(f"table {path} {kind}; save it as UTF-8") from None


def _check_separator(head: Sequence[str], wanted: Mapping[str, str], path: str) -> None:
    for sign, name in SEPARATORS.items():
        if len(head) == 1 and any(column in head[0].split(sign) for column in wanted):
            raise UserError(f"table {path} is separated by {name} where commas are expected; save it with commas")


def _parquet(raw: bytes, path: str, wanted: Mapping[str, str]) -> dict[str, Sequence[str]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UsageError(f"table {path} is Parquet, which needs: pip install 'cellnas[parquet]'") from None
    import pyarrow

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(raw))
        _check_columns(file.schema_arrow.names, wanted, path)
        read = file.read(columns=list(wanted))
    except (ArrowException, OSError) as error:
        raise UserError(f"table {path} is damaged ({' '.join(str(error).split())}); restore it") from None
    if not read.num_rows:
        raise UserError(f"table {path} has no rows")
    return {name: [_shown(value, name, path) for value in read.column(name).to_pylist()] for name in wanted}


def _shown(value: object, name: str, path: str) -> str:
    """A value of a Parquet file as text, as a CSV would have it."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeError:
            raise UserError(f"table {path} has bytes in {name} that are not UTF-8 text") from None
    return "" if value is None else str(value)


def _check_columns(columns: Sequence[str], wanted: Mapping[str, str], path: str) -> None:
    """`wanted`: column -> the setting that names it."""
    for name, key in wanted.items():
        if name not in columns:
            numbers = [other for other in columns if key == "architecture" or wanted.get(other) != "architecture"]
            close = get_close_matches(name, numbers, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            some = ", ".join(columns[:MAX_COLUMNS]) or "none"
            more = f" and {len(columns) - MAX_COLUMNS} more" if len(columns) > MAX_COLUMNS else ""
            raise UsageError(f"table {path} has no column {name!r}{hint}; it has {some}{more}. See table.{key}")
        if list(columns).count(name) > 1:
            raise UserError(f"table {path} has column {name!r} twice; expected it once")


def _numbers(column: Sequence[str], name: str, texts: Sequence[str], path: str) -> NDArray[np.float64]:
    """A column as finite numbers."""
    try:
        values = np.array(column, dtype=np.float64)
        if any("_" in text for text in column):  # Python takes 1_0 for 10, and nothing that writes tables does
            raise ValueError
    except ValueError:
        values = np.array([math.nan if "_" in text else _number(text) for text in column])
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise UserError(
            f"table {path} has {column[bad[0]]!r} as {name} of {texts[bad[0]]}; expected a finite number "
            f"({len(bad)} such {'row' if len(bad) == 1 else 'rows'})"
        )
    return values


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
