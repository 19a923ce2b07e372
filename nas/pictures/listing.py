"""The pictures of a folder with their labels: a folder a class, folders of parts, or a CSV file.

A folder is read once, entry by entry, without opening a picture: 100,000 files take a second.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from nas.errors import UsageError, UserError
from nas.formatting import plural
from nas.pictures.csv_labels import PART_NAMES, LabelledFile, read_labels
from nas.pictures.decoding import printable
from nas.pictures.walking import Entries, check_root, entries_of, walk
from nas.validation import is_class_name

Part: TypeAlias = Literal["train", "valid", "test"]
LABELS_FILE = "labels.csv"
ARRANGE = (
    "put the pictures of each class into a folder with the name of the class, or list them in labels.csv with the "
    "columns file and label"
)
"""What to do with pictures that have no labels."""
NAMED = 3
"""Names that a message lists."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One file of a listing.

    Args:
        file: Path relative to the root, with "/".
        label: Position of its class in the class names.
        part: Part that its folder or its row states; None: it is still to be split.
        group: Value of the group column; pictures of one group stay in one part. None: it has no group.
    """

    file: str
    label: int
    part: Part | None = None
    group: str | None = None


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder.

    Args:
        root: Folder.
        pictures: Sorted by their files, the same on every machine.
        class_names: Sorted as text, or as numbers if all are whole numbers.
        others: Number of files that are not pictures by their suffix, or have no class.
    """

    root: Path
    pictures: tuple[Picture, ...]
    class_names: tuple[str, ...]
    others: int


def find_pictures(
    root: Path, labels: str | None = None, group: str | None = None, *, least_classes: int = 2
) -> Listing:
    """List the pictures of a folder.

    Args:
        root: Folder that holds a folder for each class, or `train`, `valid` and `test` with these, or `labels.csv`.
        labels: CSV file with columns `file` and `label`, relative to the root or to the current folder; None:
            `labels.csv` of the root if there is one.
        group: Column of that file whose values are kept in one part.
        least_classes: Number of classes that there must be: 1 to inspect pictures that nothing can be trained on.

    Raises:
        UserError: There are no pictures of this many classes, or they cannot be listed.
    """
    root = Path(root)
    check_root(root)
    listing = _listed(root, labels, group)
    if len(listing.class_names) < least_classes:
        raise UserError(_too_few_classes(listing))
    return listing


def _listed(root: Path, labels: str | None, group: str | None) -> Listing:
    found = entries_of(root)
    file = _labels_file(root, found, labels)
    if file is not None:
        rows = read_labels(root, file, group)
        return _listing(root, rows, others=0)
    if group is not None:
        raise UsageError(
            f"data.group={group} names a column of a CSV file, and {root} has no {LABELS_FILE}; add one with the "
            "columns file and label, or name one by data.labels"
        )
    parts = [name.lower() for name in found.folders if name.lower() in PART_NAMES]
    if len(parts) > 1 or any(PART_NAMES[name] == "train" for name in parts):
        folders = {name: entries_of(root / name) for name in found.folders}
        if _are_parts(root, folders):
            return _of_parts(root, found, folders)
    return _of_classes(root, found)


def has_labels_file(root: Path) -> bool:
    """Whether the labels are in `labels.csv` of a folder, whatever folders it has."""
    return _labels_file(root, entries_of(root), None) is not None


def _labels_file(root: Path, found: Entries, labels: str | None) -> Path | None:
    """The CSV file to read, or None."""
    if labels is None:
        return next((root / name for name in found.others if name.lower() == LABELS_FILE), None)
    given = Path(labels).expanduser()
    file = next((path for path in (root / given, given) if path.is_file()), None)
    if file is None:
        where = f"{root} or in the current folder" if not given.is_absolute() else "this place"
        raise UsageError(f"data.labels={labels} was not found in {where}; expected a CSV file with file and label")
    return file


def _are_parts(root: Path, folders: Mapping[str, Entries]) -> bool:
    """Whether the folders of a root are parts rather than classes.

    Raises:
        UserError: They look like both.
    """
    parts = [name for name in folders if name.lower() in PART_NAMES]
    rest = [name for name in folders if name not in parts and folders[name].holds_any]
    if rest and len(parts) > 1:
        raise UserError(
            f"data.root={root} holds the parts {_names(parts)} and also {_names(rest)}; expected either folders of "
            f"parts or folders of classes: move {_names(rest)} elsewhere, or into the parts"
        )
    return not rest  # beside others, a folder `train` holds pictures of trains


def _of_parts(root: Path, found: Entries, folders: Mapping[str, Entries]) -> Listing:
    """Listing of `train`, `valid` and `test`, each with a folder a class."""
    rows: list[LabelledFile] = []
    others = len(found.others)
    classes: dict[str, set[str]] = {}
    for name in sorted(folders):
        if name.lower() not in PART_NAMES:
            continue
        part, inner = PART_NAMES[name.lower()], folders[name]
        if inner.pictures and not inner.folders:
            raise UserError(
                f"data.root={root}: {name}/ holds {plural(len(inner.pictures), 'picture')} and no folder of a class; "
                f"expected a folder with the pictures of each class in it, or move {name}/ elsewhere"
            )
        if any(row.part == part for row in rows):
            twice = ", ".join(f"{other}/" for other in sorted(folders) if PART_NAMES.get(other.lower()) == part)
            raise UserError(f"data.root={root} holds {twice}, which mean the same part; keep one of them")
        found_here, skipped = _classes_below(root, name, inner)
        others += skipped
        classes[name] = {_normal(row.label) for row in found_here}
        rows += [LabelledFile(row.file, row.label, part) for row in found_here]
    _check_equal_classes(root, {name: there for name, there in classes.items() if there})
    return _listing(root, rows, others)


def _of_classes(root: Path, found: Entries) -> Listing:
    """Listing of a folder a class."""
    rows, others = _classes_below(root, "", found)
    if not rows and found.pictures:
        raise UserError(
            f"data.root={root} holds {plural(len(found.pictures), 'picture')} without labels, such as "
            f"{printable(min(found.pictures))}; {ARRANGE}"
        )
    return _listing(root, rows, others)


def _classes_below(root: Path, inside: str, found: Entries) -> tuple[list[LabelledFile], int]:
    """The pictures of a folder of classes, and the number of other files; all that is below a class belongs to it."""
    rows: list[LabelledFile] = []
    others, empty = len(found.others) + len(found.pictures), []
    for name in sorted(found.folders):
        label = _class_name(root, name)
        start = f"{inside}/{name}" if inside else name
        files, skipped = walk(root, start)
        others += skipped
        if not files:
            empty.append(start)
        rows += [LabelledFile(file, label) for file in files]
    if empty and rows:
        hold = "holds" if len(empty) == 1 else "hold"
        warnings.warn(
            f"{_names(empty)} of data.root={root} {hold} no pictures and {_was(len(empty))} left out", stacklevel=2
        )
    if found.pictures and rows:
        place = f"{root}/{inside}" if inside else str(root)
        warnings.warn(
            f"{plural(len(found.pictures), 'picture')} of {place} itself, outside of the folders of classes, "
            f"{_was(len(found.pictures))} left out",
            stacklevel=2,
        )
    return rows, others


def _check_equal_classes(root: Path, classes: Mapping[str, set[str]]) -> None:
    everything = set().union(*classes.values()) if classes else set()
    for name, there in classes.items():
        if missing := sorted(everything - there):
            other = next(one for one, its in classes.items() if missing[0] in its)
            raise UserError(
                f"data.root={root}: {name}/ has no pictures of {_names(missing)}, which {other}/ has; expected the "
                "same classes in every part: add pictures, or remove the folder from the other parts"
            )


def _listing(root: Path, rows: Sequence[LabelledFile], others: int) -> Listing:
    """A listing of labelled files, sorted.

    Raises:
        UserError: There are none.
    """
    names = _sorted_names({_normal(row.label) for row in rows})
    if not rows:
        more = f"; {plural(others, 'other file')} {'is' if others == 1 else 'are'} there" if others else ""
        raise UserError(f"data.root={root} holds no pictures{more}: {ARRANGE}")
    position = {name: number for number, name in enumerate(names)}
    labels = {row.label: position[_normal(row.label)] for row in rows}
    pictures = [Picture(row.file, labels[row.label], row.part, row.group) for row in rows]
    pictures.sort(key=lambda picture: picture.file)
    return Listing(root, tuple(pictures), tuple(names), others)


def _too_few_classes(listing: Listing) -> str:
    """What is wrong with pictures of one class; classes one level further down may be meant."""
    root, name = listing.root, listing.class_names[0]
    files = [picture.file for picture in listing.pictures]
    inner = sorted({file.split("/")[1] for file in files if file.count("/") > 1})
    nested = len(inner) > 1 and (root / name).is_dir()
    hint = f"; did you mean data.root={root / name} ({_names(inner)})?" if nested else ""
    return (
        f"data.root={root} has one class only, {printable(name)!r} with {plural(len(files), 'picture')}; "
        f"expected two at least{hint or ': ' + ARRANGE}"
    )


def _sorted_names(names: Iterable[str]) -> list[str]:
    """Names as numbers if all are whole numbers, otherwise as text."""
    listed = sorted(names)
    if all(name.isascii() and name.isdigit() for name in listed):
        listed.sort(key=int)
    return listed


def _class_name(root: Path, name: str) -> str:
    if not is_class_name(name):
        raise UserError(
            f"data.root={root}: the folder {name!a} names a class, and a class is labelled by one line of text; "
            "rename it"
        )
    return name


def _normal(label: str) -> str:
    """A label with letters as one code each: macOS stores `é` as two."""
    return unicodedata.normalize("NFC", label)


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:NAMED])
    return f"{shown} and {len(names) - NAMED:,} more" if len(names) > NAMED else shown


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def counts(listing: Listing) -> dict[str, int]:
    """Class -> number of its pictures."""
    numbers = Counter(picture.label for picture in listing.pictures)
    return {name: numbers[position] for position, name in enumerate(listing.class_names)}
