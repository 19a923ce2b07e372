"""Label images with an exported model.

model= is a folder that nas export wrote; no code in it is executed, so it may come from elsewhere. Labels are printed
as they are computed; images that cannot be read are listed on stderr at the end, and the exit code is then 1. Other
files of a folder are skipped and counted there. An image whose likeliest class is below the threshold is labelled "none
of these".
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nas.cli.options import CommandOptions
from nas.config.settings import make_space
from nas.errors import UsageError
from nas.export.threshold import NONE_LABEL
from nas.runtime.streams import results
from nas.validation import number_in, one_of, whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings
    from nas.export.prediction import Prediction, Predictor, Unreadable


@dataclass(frozen=True)
class PredictOptions(CommandOptions):
    """Settings of `nas predict`; `configs/predict.yaml` describes them."""

    model: str | None
    images: list[str]
    background: str | None
    threshold: float | None
    top: int
    format: str

    def __post_init__(self) -> None:
        from nas.pictures.decoding import parse_colour

        one_of("format", self.format, ("table", "csv", "json"))
        whole_number("top", self.top)
        number_in("threshold", self.threshold, 0, 1, null=True)
        if not self.model:
            raise UsageError("model=null; expected a folder of nas export")
        if not self.images:
            raise UsageError("images=[]; expected an image, a folder of images, or a list of them")
        if self.background is not None:
            parse_colour(self.background)


def main(settings: Settings) -> int:
    from nas.export.folder import read
    from nas.export.image_files import find_images, skipped_text
    from nas.export.prediction import Predictor, Unreadable

    options = PredictOptions.of(settings)
    if options.format != "table" and any(argument.startswith("top=") for argument in settings.arguments):
        raise UsageError(f"top= has no effect on format={options.format}, which has all classes; leave it out")
    assert options.model is not None
    folder = read(Path(options.model).expanduser())
    searched = [find_images(path) for path in _paths(settings, options.images)]
    files = [file for listing in searched for file in listing.images]
    space = partial(make_space, config_dir=settings.config_dir)
    predictor = Predictor(folder, space, options.background, options.threshold)
    writer = _writer(options, predictor, files)
    unreadable: list[Unreadable] = []
    started = False
    try:
        for one in predictor.predict(files):
            if not started:
                started = True
                writer.start()
            if isinstance(one, Unreadable):
                unreadable.append(one)
            else:
                writer.add(one)
    finally:  # what was computed before an interruption is a complete document too
        if started:
            writer.end()
        results().flush()
        if skipped := skipped_text(searched):
            print(f"nas: {skipped}", file=sys.stderr)
        for missing in unreadable:
            print(f"nas: {missing.message}", file=sys.stderr)
    return 1 if unreadable else 0


def _paths(settings: Settings, items: Sequence[str]) -> list[Path]:
    """Files and folders that `images=` names.

    A name may contain commas, brackets and quotes, and a shell may have removed the quotes around it; what exists
    decides.
    """
    given = [argument.partition("=")[2] for argument in settings.arguments if argument.startswith("images=")]
    if given and (whole := Path(given[-1]).expanduser()).exists():
        return [whole]
    paths = []
    while items:
        joined = [
            (count, Path(comma.join(items[:count])).expanduser())
            for count in range(1, len(items) + 1)
            for comma in (",", ", ")[: 1 if count == 1 else 2]
        ]
        count, path = next(((count, path) for count, path in joined if path.exists()), joined[0])
        paths.append(path)
        items = items[count:]
    return paths


def _writer(options: PredictOptions, predictor: Predictor, files: Sequence[Path]) -> _Writer:
    if options.format == "json":
        return _Json(predictor)
    return _Csv(predictor) if options.format == "csv" else _Table(predictor, files, options.top)


class _Writer(Protocol):
    """Prints predictions one by one."""

    def start(self) -> None: ...

    def add(self, one: Prediction) -> None: ...

    def end(self) -> None: ...


class _Json:
    """A JSON document: a list with an object for each image, with the likeliest class if there is a threshold."""

    def __init__(self, predictor: Predictor) -> None:
        self.classes = predictor.classes
        self.has_threshold = predictor.threshold > 0
        self.count = 0

    def start(self) -> None:
        print("[", end="", file=results())

    def add(self, one: Prediction) -> None:
        probabilities = dict(zip(self.classes, one.probabilities, strict=True))
        likeliest = {"likeliest": one.likeliest} if self.has_threshold else {}
        about = {"file": one.file, "label": one.label, **likeliest, "probabilities": probabilities}
        text = json.dumps(about, indent=2, ensure_ascii=False).replace("\n", "\n  ")
        print(f"{',' if self.count else ''}\n  {text}", end="", file=results(), flush=True)
        self.count += 1

    def end(self) -> None:
        print("\n]" if self.count else "]", file=results())


class _Csv:
    """A line for each image, with the probabilities of all classes."""

    def __init__(self, predictor: Predictor) -> None:
        self.classes = predictor.classes
        self.writer = csv.writer(results(), lineterminator="\n")

    def start(self) -> None:
        self.writer.writerow(["file", "label", *self.classes])

    def add(self, one: Prediction) -> None:
        self.writer.writerow([one.file, one.label, *(f"{p:.6g}" for p in one.probabilities)])
        results().flush()

    def end(self) -> None: ...


class _Table:
    """Aligned columns, whose widths are known before the first prediction."""

    def __init__(self, predictor: Predictor, files: Sequence[Path], top: int) -> None:
        self.title, self.classes = predictor.folder.about["arch"], predictor.classes
        self.threshold = predictor.threshold
        self.top = min(top, len(self.classes))
        from rich.cells import cell_len

        name = max(cell_len(text) for text in self.classes)
        label = name + cell_len(_of_none("")) if self.threshold > 0 else name
        file = max(cell_len(_printable(str(path))) for path in files)
        self.columns = [
            ("file", max(file, 4)),
            ("label", max(label, 5)),
            ("probability", 11),
            *((f"{rank}.", name + 7) for rank in range(2, self.top + 1)),
        ]

    def start(self) -> None:
        print(self.title)
        if self.threshold > 0:
            print(f"{NONE_LABEL}: the likeliest class, in brackets, has a probability below {self.threshold:g}")
        self._print([name for name, _ in self.columns])
        print("─" * (sum(width for _, width in self.columns) + 2 * len(self.columns) - 2), flush=True)

    def add(self, one: Prediction) -> None:
        ranked = sorted(zip(one.probabilities, self.classes, strict=True), reverse=True)[: self.top]
        rest = [f"{name} {probability:.4f}" for probability, name in ranked[1:]]
        label = _of_none(one.likeliest) if one.is_none else one.label
        self._print([_printable(one.file), label, f"{ranked[0][0]:.4f}", *rest])

    def end(self) -> None: ...

    def _print(self, cells: Sequence[str]) -> None:
        from rich.cells import cell_len

        padded = []
        for cell, (name, width) in zip(cells, self.columns, strict=True):
            space = " " * (width - cell_len(cell))
            padded.append(space + cell if name == "probability" else cell + space)
        print("  ".join(padded).rstrip(), flush=True)


def _of_none(likeliest: str) -> str:
    return f"{NONE_LABEL} ({likeliest})"


def _printable(name: str) -> str:
    """A file's name on one line."""
    return name if name.isprintable() else repr(name)[1:-1]
