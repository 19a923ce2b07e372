"""Find what is wrong with your pictures, and whether they hold any signal, before you train on them.

Problems make results worse or wrong; notes are facts to look at. Each has its number, the files, and what to do. fix=
writes a cleaned copy into a new folder, with left_out.csv, which says what was left out and why; the originals are
never changed. The exit code is 0 whatever is found, and 1 if the pictures cannot be read at all.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.options import RESULT_FORMATS, CommandOptions
from nas.cli.output import Bar, print_json, print_next
from nas.formatting import plural
from nas.validation import number_in, one_of, true_or_false

if TYPE_CHECKING:
    from nas.backbones.base import Backbone
    from nas.config.settings import Settings
    from nas.inspection.finding import Finding
    from nas.inspection.fixing import Cleaned
    from nas.inspection.inspection import Inspection

MAX_FILES = 5
"""Files of a finding that are listed."""
MAX_CLASSES = 12
"""Classes whose counts are listed."""
FIXABLE = ("duplicate", "blank", "empty_file", "unreadable_file", "truncated_file", "near_duplicate_across_parts")
"""Beginnings of the kinds of which a cleaned copy leaves files out."""
FLATTERING = ("label_told_by",)
"""Beginnings of the kinds that let a head know labels without seeing what is shown."""

HOPELESS = ("one_class", "cannot_be_divided")
"""Kinds with which nothing can be trained."""


@dataclass(frozen=True)
class InspectOptions(CommandOptions):
    """Settings of `nas inspect`; `configs/inspect.yaml` describes them."""

    backbone: str | None
    download: bool
    seconds: float
    device: str
    fix: str | None
    all: bool
    format: str

    def __post_init__(self) -> None:
        one_of("format", self.format, RESULT_FORMATS)
        number_in("seconds", self.seconds, 0.0, 86_400.0)
        true_or_false("download", self.download)
        true_or_false("all", self.all)


def main(settings: Settings) -> int:
    from nas.inspection.features import make_features
    from nas.inspection.fixing import check_target, write_cleaned
    from nas.inspection.inspection import inspect
    from nas.inspection.signal import measure_signal
    from nas.inspection.subject import subject_of
    from nas.training.device import resolve_device

    options = InspectOptions.of(settings)
    device = resolve_device(options.device)
    backbone = _backbone(settings, options)
    subject = subject_of(settings.make("data"))
    target = Path(options.fix).expanduser() if options.fix else None
    if target is not None:
        check_target(subject, target)
    bar = Bar(options.format == "table", "picture")
    try:
        features = make_features(subject, backbone, options.seconds, device, report=bar.report)
    finally:
        bar.close()
    inspection = inspect(subject, features)
    signal = measure_signal(subject, features)
    cleaned = write_cleaned(subject, target) if target is not None else None
    if options.format == "json":
        fixed = {**asdict(cleaned), "folder": str(cleaned.folder)} if cleaned else None
        print_json({**inspection.to_json(), "signal": signal.to_json() if signal else None, "fixed": fixed})
        return 0
    _print_inspection(inspection, options)
    print("\nSignal")
    print(f"  {signal.sentence if signal else 'It cannot be measured: there are not two pictures of two classes.'}")
    if signal and signal.verdict != "none" and any(one.kind.startswith(FLATTERING) for one in inspection.problems):
        print("  The problems above can make it look better than it is: solve them, and inspect the pictures again.")
    print("")
    if cleaned is not None:
        _print_cleaned(cleaned)
    if commands := _next(settings, inspection, cleaned):
        print_next(commands)
    return 0


def _backbone(settings: Settings, options: InspectOptions) -> Backbone | None:
    """The pretrained network; None if there is none, and the user has not asked for it."""
    from nas.backbones import make_backbone
    from nas.errors import UsageError

    if options.backbone is None:
        return None
    try:
        return make_backbone(options.backbone, download=options.download)
    except UsageError:
        if any(argument.startswith("backbone=") for argument in settings.arguments):
            raise
        print(
            "nas: simple features are used, since no pretrained network is installed; pip install 'cellnas[fit]' makes "
            "the signal and doubtful labels much more certain",
            file=sys.stderr,
        )
        return None


def _print_inspection(inspection: Inspection, options: InspectOptions) -> None:
    from nas.pictures.decoding import printable

    print(f"{inspection.summary}.")
    classes = [f"{printable(one.name)} {one.count:,}" for one in inspection.classes]
    more = f" and {len(classes) - MAX_CLASSES:,} more" if len(classes) > MAX_CLASSES else ""
    print(f"Classes: {', '.join(classes[:MAX_CLASSES])}{more}.")
    print(f"A network sees them as {inspection.channels} x {inspection.side} x {inspection.side} pixels.")
    notes = [finding for finding in inspection.findings if finding.severity == "note"]
    for title, findings in (("Problems", inspection.problems), ("Notes", notes)):
        if findings:
            print(f"\n{title}")
        for finding in findings:
            _print_finding(finding, len(finding.files) if options.all else MAX_FILES)


def _print_finding(finding: Finding, most: int) -> None:
    from nas.pictures.decoding import printable

    print(f"  - {printable(finding.title)}")
    if finding.files:
        shown = ", ".join(map(printable, finding.files[:most]))
        more = f", and {len(finding.files) - most:,} more" if len(finding.files) > most else ""
        print(f"    {shown}{more}")
    print(f"    → {finding.advice}")


def _print_cleaned(cleaned: Cleaned) -> None:
    left = sum(cleaned.reasons.values())
    rest = f"{left:,} left out, see left_out.csv" if left else "there was nothing to leave out"
    print(f"Wrote {cleaned.folder} with {plural(cleaned.kept, 'picture')}; {rest}.")


def _next(settings: Settings, inspection: Inspection, cleaned: Cleaned | None) -> Sequence[tuple[str, str]]:
    words = [argument for argument in settings.arguments if argument.startswith(("data=", "data."))]
    commands = []
    if cleaned is not None:
        words = [f"data.root={cleaned.folder}"]
    elif settings.choices["data"] == "image_folder" and any(
        finding.kind.startswith(FIXABLE) for finding in inspection.findings
    ):
        commands.append((["nas", "inspect", *words, "fix=cleaned"], "a copy without the broken and doubled files"))
    if any(len(finding.files) > MAX_FILES for finding in inspection.findings):
        commands.append((["nas", "inspect", *words, "all=true"], "all files of each finding"))
    if not any(finding.kind in HOPELESS for finding in inspection.findings):
        commands.append((["nas", "fit", *words], "train and explain a model"))
    return [(shlex.join(command), note) for command, note in commands]
