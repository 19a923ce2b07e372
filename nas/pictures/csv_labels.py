"""Labels of pictures from a CSV file with the columns `file` and `label`."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nas.errors import UserError
from nas.formatting import did_you_mean, plural
from nas.pictures.decoding import printable
from nas.validation import is_class_name

COLUMNS = {
    "file": ("file", "filename", "file_name", "image", "path"),
    "label": ("label", "class", "category"),
    "part": ("part", "split"),
}
"""Column -> names that it may have, in lower case."""
PART_NAMES: dict[str, Literal["train", "valid", "test"]] = {
    "train": "train", "training": "train",
    "valid": "valid", "val": "valid", "validation": "valid", "dev": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Name of a part, in a file or of a folder, in lower case -> part."""


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """A file and its label.

    Args:
        file: Path relative to the root, with "/".
        label: Label as text.
        part: Part that it is in, or None.
        group: Value of the group column, or None.
    """

    file: str
    label: str
    part: Literal["train", "valid", "test"] | None = None
    group: str | None = None


def read_labels(root: Path, table: Path, group: str | None) -> list[LabelledFile]:
    """The rows of a CSV file. Its files are relative to its own folder.

    Args:
        root: Root of the data set.
        table: CSV file with a header; separated by commas, semicolons or tabs.
        group: Column to read as the group, or None.

    Raises:
        UserError: It cannot be read, a column is missing, or a row is wrong.
    """
    header, lines = _read(table)
    columns = _columns(table, header, group)
    folder = table.parent
    result: dict[str, LabelledFile] = {}
    missing: list[str] = []
    for number, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{table}, line {number:,}"
        if len(cells) <= max(columns.values()):
            raise UserError(f"{where} has {plural(len(cells), 'value')}; expected {len(header)}, as its header has")
        row = _row(root, folder, where, {name: cells[place].strip() for name, place in columns.items()}, missing)
        before = result.setdefault(row.file, row)
        if before.label != row.label:
            raise UserError(
                f"{where} gives {printable(row.file)} the label {row.label!r}, and an earlier line {before.label!r}; "
                "keep one of the lines"
            )
        if (before.part, before.group) != (row.part, row.group):
            raise UserError(
                f"{where} lists {printable(row.file)} again with another part or group; keep one of the lines"
            )
    if missing:
        raise UserError(
            f"{table} lists {plural(len(missing), 'file')} that {'does' if len(missing) == 1 else 'do'} not exist, the "
            f"first is {printable(missing[0])}; expected paths relative to {folder}: correct the lines or remove them"
        )
    return list(result.values())


def _read(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header and the other rows with their line numbers."""
    expected = "expected a CSV file in UTF-8 with the columns file and label"
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{table} cannot be read ({error.strerror or error}); {expected}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{table} is not text in UTF-8 (byte {error.start:,}); save it as CSV in UTF-8") from None
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        reader = csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True)
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserError(f"{table} is not CSV ({error}); {expected}") from None
    if not rows:
        raise UserError(f"{table} is empty; {expected}")
    return [cell.strip() for cell in rows[0][1]], rows[1:]


def _columns(table: Path, header: Sequence[str], group: str | None) -> dict[str, int]:
    """Column -> its position; those of file and label are there."""
    lower = [name.lower() for name in header]
    columns = {
        column: lower.index(name) for column, names in COLUMNS.items() for name in reversed(names) if name in lower
    }
    for column in ("file", "label"):
        if column not in columns:
            raise UserError(
                f"{table} has no column {column!r}; its first line is {', '.join(map(repr, header[:8]))}: write a "
                "header with file and label, or rename the file if it holds something else"
            )
    if group is not None:
        if group.lower() not in lower:
            raise UserError(
                f"data.group={group} is not a column of {table}{did_you_mean(group, header)}; it has "
                f"{', '.join(map(repr, header[:8]))}"
            )
        columns["group"] = lower.index(group.lower())
    return columns


def _row(root: Path, folder: Path, where: str, cells: dict[str, str], missing: list[str]) -> LabelledFile:
    """One checked row; a file that does not exist is added to `missing`."""
    file, label, part = cells["file"], cells["label"], cells.get("part", "").lower()
    if not file:
        raise UserError(f"{where} names no file; correct the line or remove it")
    if not is_class_name(label):
        raise UserError(
            f"{where} gives {printable(file)} the label {label!r}; expected one line of text: correct the line or "
            "remove it"
        )
    if part and part not in PART_NAMES:
        raise UserError(f"{where} has the part {part!r}; expected train, valid, test or nothing")
    path = _existing(folder, file)
    if path is None:
        missing.append(file)
        path = folder / file
    relative = os.path.relpath(path, root) if not Path(file).is_absolute() else file
    return LabelledFile(
        Path(relative).as_posix(), label, PART_NAMES[part] if part else None, cells.get("group") or None
    )


def _existing(folder: Path, file: str) -> Path | None:
    """The path of a file, whichever way its letters are coded and its folders are separated; None if there is none."""
    spellings = (file, unicodedata.normalize("NFC", file), unicodedata.normalize("NFD", file), file.replace("\\", "/"))
    for name in dict.fromkeys(spellings):
        try:
            if (folder / name).is_file():
                return folder / name
        except (OSError, ValueError):  # too long a name, or one with a null byte
            continue
    return None
