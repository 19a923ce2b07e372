"""Label images with an exported model.

model= is a folder of `nas export`; nothing in it is run, so it may come from elsewhere. Labels are printed as they are
computed; files that cannot be read are listed on stderr at the end, and the exit code is then 1. What else lies in
a folder is left out and counted there.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.cells import cell_len

from nas.config.settings import make_space
from nas.errors import UsageError
from nas.export.folder import Folder, read
from nas.export.prediction import Prediction, Unreadable, colour, images_of, left_out, predict
from nas.runtime.streams import results
from nas.validation import one_of, whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings


def main(settings: Settings) -> int:
    _check(settings)
    folder = read(Path(settings.get("model")).expanduser())
    places = [images_of(place) for place in _places(settings)]
    files = [file for place in places for file in place.images]
    writer: _Writer
    if settings.get("format") == "json":
        writer = _Json(folder)
    elif settings.get("format") == "csv":
        writer = _Csv(folder)
    else:
        writer = _Table(folder, files, settings.get("top"))
    unreadable: list[Unreadable] = []
    begun = False
    try:
        for one in predict(
            folder, files, partial(make_space, config_dir=settings.config_dir), settings.get("background")
        ):
            if not begun:
                begun = True
                writer.begin()
            if isinstance(one, Unreadable):
                unreadable.append(one)
            else:
                writer.add(one)
    finally:  # also what was computed before an interruption is a whole document
        if begun:
            writer.end()
        results().flush()
        if rest := left_out(places):
            print(f"nas: {rest}", file=sys.stderr)
        for missing in unreadable:
            print(f"nas: {missing.message}", file=sys.stderr)
    return 1 if unreadable else 0


def _check(settings: Settings) -> None:
    style = settings.get("format")
    one_of("format", style, ("table", "csv", "json"))
    whole_number("top", settings.get("top"))
    if style != "table" and any(word.startswith("top=") for word in settings.arguments):
        raise UsageError(f"top= has no effect on format={style}, which has all classes; leave it out")
    if not settings.get("model"):
        raise UsageError("model=null; expected a folder of nas export")
    if not settings.get("images"):
        raise UsageError("images=[]; expected an image, a folder of images, or a list of them")
    colour(settings.get("background"))


def _places(settings: Settings) -> list[Path]:
    """Files and folders that `images=` names.

    A name may hold commas, brackets and quotes of its own, and a shell may have taken the quotes around it away; what
    is there decides.
    """
    given = [word.partition("=")[2] for word in settings.arguments if word.startswith("images=")]
    if given and (whole := Path(given[-1]).expanduser()).exists():
        return [whole]
    rest: Sequence[str] = settings.get("images")
    found = []
    while rest:
        joined = [
            (count, Path(comma.join(rest[:count])).expanduser())
            for count in range(1, len(rest) + 1)
            for comma in (",", ", ")[: 1 if count == 1 else 2]
        ]
        count, place = next(((count, path) for count, path in joined if path.exists()), joined[0])
        found.append(place)
        rest = rest[count:]
    return found


class _Writer(Protocol):
    """Prints predictions one by one."""

    def begin(self) -> None: ...

    def add(self, one: Prediction) -> None: ...

    def end(self) -> None: ...


class _Json:
    """A JSON document: a list with an object for each image."""

    def __init__(self, folder: Folder) -> None:
        self.classes = folder.about["classes"]
        self.count = 0

    def begin(self) -> None:
        print("[", end="", file=results())

    def add(self, one: Prediction) -> None:
        probabilities = dict(zip(self.classes, one.probabilities, strict=True))
        about = {"file": one.file, "label": one.label, "probabilities": probabilities}
        text = json.dumps(about, indent=2, ensure_ascii=False).replace("\n", "\n  ")
        print(f"{',' if self.count else ''}\n  {text}", end="", file=results(), flush=True)
        self.count += 1

    def end(self) -> None:
        print("\n]" if self.count else "]", file=results())


class _Csv:
    """A line for each image, with the probabilities of all classes."""

    def __init__(self, folder: Folder) -> None:
        self.classes = folder.about["classes"]
        self.writer = csv.writer(results(), lineterminator="\n")

    def begin(self) -> None:
        self.writer.writerow(["file", "label", *self.classes])

    def add(self, one: Prediction) -> None:
        self.writer.writerow([one.file, one.label, *(f"{p:.6g}" for p in one.probabilities)])
        results().flush()

    def end(self) -> None: ...


class _Table:
    """Aligned columns, whose widths are known before the first prediction."""

    def __init__(self, folder: Folder, files: Sequence[Path], top: int) -> None:
        self.title, self.classes = folder.about["arch"], folder.about["classes"]
        self.top = min(top, len(self.classes))
        name = max(cell_len(text) for text in self.classes)
        file = max(cell_len(_printable(str(path))) for path in files)
        self.columns = [
            ("file", max(file, 4)),
            ("label", max(name, 5)),
            ("probability", 11),
            *((f"{place}.", name + 7) for place in range(2, self.top + 1)),
        ]

    def begin(self) -> None:
        print(self.title)
        self._print([name for name, _ in self.columns])
        print("─" * (sum(width for _, width in self.columns) + 2 * len(self.columns) - 2), flush=True)

    def add(self, one: Prediction) -> None:
        ranked = sorted(zip(one.probabilities, self.classes, strict=True), reverse=True)[: self.top]
        rest = [f"{name} {probability:.4f}" for probability, name in ranked[1:]]
        self._print([_printable(one.file), one.label, f"{ranked[0][0]:.4f}", *rest])

    def end(self) -> None: ...

    def _print(self, cells: Sequence[str]) -> None:
        padded = []
        for cell, (name, width) in zip(cells, self.columns, strict=True):
            space = " " * (width - cell_len(cell))
            padded.append(space + cell if name == "probability" else cell + space)
        print("  ".join(padded).rstrip(), flush=True)


def _printable(name: str) -> str:
    """A file's name on one line."""
    return name if name.isprintable() else repr(name)[1:-1]
