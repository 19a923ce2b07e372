"""A cleaned copy of a folder of pictures; the originals are never changed.

Files are copied, not linked: whoever edits the copy would change the originals otherwise. Left out are files that
cannot be read, blank pictures, exact copies, pictures under two labels (nobody knows which is right), and training
pictures that are in another part too. All else needs a person, and is left as it is.
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from nas.errors import UserError
from nas.files import atomic_folder, check_folder
from nas.inspection.appearance import BLANK
from nas.inspection.subject import Subject
from nas.pictures.listing import Listing

LEFT_OUT_FILE, LABELS_FILE = "left_out.csv", "labels.csv"
SHARED = ("valid", "test")
"""Parts of which a copy of a training picture stays."""


@dataclass(frozen=True)
class Cleaned:
    """A cleaned copy.

    Args:
        folder: Its folder.
        kept: Number of pictures in it.
        left_out: File relative to the originals -> reason.
    """

    folder: Path
    kept: int
    left_out: dict[str, str]

    @property
    def reasons(self) -> dict[str, int]:
        """Reason -> number of files, the most frequent first."""
        return dict(Counter(self.left_out.values()).most_common())


def check_target(subject: Subject, target: Path) -> None:
    """Check, before long work, that a cleaned copy can be written.

    Raises:
        UserError: The pictures are not files, or the folder lies inside of them, is not empty, or cannot be written.
    """
    if subject.listing is None:
        raise UserError("fix= copies files, and this data set has none; use it with data=image_folder")
    root = subject.listing.root.resolve()
    if root == target.resolve() or root in target.resolve().parents:
        raise UserError(f"fix={target} lies inside of the pictures of {root}; choose a folder outside of it")
    check_folder(target, key="fix")


def write_cleaned(subject: Subject, target: Path) -> Cleaned:
    """Write a copy without the files that only do harm, with `left_out.csv`, which says what is missing and why.

    Args:
        subject: Pictures of a folder.
        target: Folder to create; it appears when it is complete.

    Raises:
        UserError: See `check_target`; or a file has vanished.
    """
    check_target(subject, target)
    assert subject.listing is not None
    listing = subject.listing
    reasons = left_out(subject)
    kept = [position for position in range(len(subject.names)) if position not in reasons]
    if not kept:
        raise UserError(f"fix={target}: all {len(subject.names):,} pictures would be left out; nothing was written")
    names = {subject.names[position]: reason for position, reason in sorted(reasons.items())}
    with atomic_folder(target, key="fix") as folder:
        for position in kept:
            file = _inside(subject.names[position])
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            _copy(listing.root / subject.names[position], folder / file)
        _write_csv(folder / LEFT_OUT_FILE, ["file", "reason"], list(map(list, names.items())))
        if subject.has_label_table:
            _write_labels(folder / LABELS_FILE, listing, kept)
    return Cleaned(target, len(kept), names)


def left_out(subject: Subject) -> dict[int, str]:
    """Position of each picture that a cleaned copy leaves out -> reason."""
    reasons: dict[int, str] = {}
    for position, one in enumerate(subject.facts):
        if one.error is not None:
            reasons[position] = "empty" if one.bytes == 0 else "cannot be read"
        elif one.contrast < BLANK:
            reasons[position] = "blank"
    for cluster in subject.exact:
        _leave_copies(subject, [position for position in cluster if position not in reasons], reasons)
    if subject.parts_are_stated:
        for pair in subject.near:
            parts = [str(subject.stated[position]) for position in pair]
            for position, part, other in zip(pair, parts, reversed(parts), strict=True):
                if part == "train" and other in SHARED and position not in reasons:
                    reasons[position] = f"nearly the same picture is in {other}"
    return reasons


def _leave_copies(subject: Subject, cluster: list[int], reasons: dict[int, str]) -> None:
    if len(set(subject.labels[cluster].tolist())) > 1:
        reasons.update(dict.fromkeys(cluster, "the same picture is under another label too"))
        return
    # a copy in a later part stays, since the training part can spare it
    order = sorted(cluster, key=lambda position: -_part(subject, position))
    reasons.update(dict.fromkeys(order[1:], f"copy of {subject.names[order[0]]}" if order else ""))


def _part(subject: Subject, position: int) -> int:
    """0 for the training part, and for pictures whose part is drawn."""
    return ("", "train", *SHARED).index(str(subject.stated[position]))


def _inside(name: str) -> Path:
    """Path of a copied file; a file outside of the root, which a CSV file may name, is put inside."""
    parts = [part for part in Path(name).parts if part not in ("..", "/")]
    return Path(*parts) if parts else Path("picture")


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copy2(source, target)
    except FileNotFoundError:
        raise UserError(
            f"{source} has vanished since it was read; nothing was written: run the command again"
        ) from None


def _write_labels(path: Path, listing: Listing, kept: list[int]) -> None:
    """The table of labels, with what it said of parts and groups."""
    pictures = [listing.pictures[position] for position in kept]
    rows = [
        [_inside(one.file).as_posix(), listing.class_names[one.label], one.part or "", one.group or ""]
        for one in pictures
    ]
    columns = ["file", "label", "part", "group"]
    used = [index for index in range(len(columns)) if index < 2 or any(row[index] for row in rows)]
    _write_csv(path, [columns[index] for index in used], [[row[index] for index in used] for row in rows])


def _write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
