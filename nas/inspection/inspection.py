"""All that is found of a data set before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.formatting import plural
from nas.inspection.appearance import find_faint_pictures
from nas.inspection.broken_files import find_broken_files
from nas.inspection.classes import find_class_faults
from nas.inspection.duplicates import find_duplicates
from nas.inspection.encodings import find_encodings
from nas.inspection.features import Features
from nas.inspection.finding import Finding
from nas.inspection.leaks import find_leaks
from nas.inspection.sizes import find_odd_sizes
from nas.inspection.subject import Subject, subject_of

if TYPE_CHECKING:
    from nas.data.base import DataSet

FINDERS: tuple[Callable[[Subject], list[Finding]], ...] = (
    find_class_faults,
    find_leaks,
    find_duplicates,
    find_broken_files,
    find_faint_pictures,
    find_odd_sizes,
    find_encodings,
)
"""In the order in which findings of one severity are shown, the worst first."""
PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class ClassCount:
    """Readable pictures of a class: all of them, and those in each part."""

    name: str
    count: int
    train: int
    valid: int
    test: int


@dataclass(frozen=True)
class Inspection:
    """What a data set is, and what is wrong with it.

    Args:
        pictures: Number of pictures.
        readable: Number of those that can be read.
        total: Number of pictures of the data set, of which only the first were inspected if it is higher.
        classes: Their names and counts.
        channels, side: Of the images that a network sees.
        findings: Problems first.
        seconds: Wall time.
    """

    pictures: int
    readable: int
    total: int
    classes: tuple[ClassCount, ...]
    channels: int
    side: int
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def problems(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "problem")

    @property
    def summary(self) -> str:
        """One sentence."""
        notes = len(self.findings) - len(self.problems)
        found = (
            f"{plural(len(self.problems), 'problem')} and {plural(notes, 'note')}" if self.findings else "no problem"
        )
        of = f" of {self.total:,}" if self.total > self.pictures else ""
        return f"{plural(self.pictures, 'picture')}{of} in {_classes(len(self.classes))}: {found}"

    def to_json(self) -> dict[str, Any]:
        return {
            "pictures": self.pictures,
            "readable": self.readable,
            "total": self.total,
            "classes": [vars(one) for one in self.classes],
            "channels": self.channels,
            "side": self.side,
            "findings": [finding.to_json() for finding in self.findings],
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Inspection:
        classes = tuple(ClassCount(**one) for one in stored["classes"])
        findings = tuple(Finding.from_json(one) for one in stored["findings"])
        return cls(**{**stored, "classes": classes, "findings": findings})


def inspect(data: DataSet | Subject, features: Features | None = None) -> Inspection:
    """Inspect a data set.

    Args:
        data: Data set, or what `subject_of` made of it. Test images of a data set without files stay locked.
        features: Features of its pictures, with which doubtful labels are found too; None: they are not looked for.

    Raises:
        UserError: The pictures cannot be read at all.
    """
    from nas.inspection.labels import find_doubtful_labels

    start = time.monotonic()
    subject = data if isinstance(data, Subject) else subject_of(data)
    findings: list[Finding] = []
    for find in FINDERS:
        findings += find(subject)
    if features is not None:
        findings += find_doubtful_labels(subject, features)
    if subject.refusal is not None and not any(one.kind in ("one_class", "few_pictures") for one in findings):
        findings.insert(0, _refused(subject.refusal))
    counts = [subject.counts(), *(subject.counts(part) for part in PARTS)]
    return Inspection(
        pictures=len(subject.names),
        readable=len(subject.readable),
        total=subject.total,
        classes=tuple(
            ClassCount(name, *(int(count[label]) for count in counts)) for label, name in enumerate(subject.class_names)
        ),
        channels=int(subject.pixels.shape[1]),
        side=int(subject.pixels.shape[-1]),
        findings=_worst_first(findings),
        seconds=time.monotonic() - start,
    )


def _worst_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: finding.severity != "problem"))


def _refused(reason: str) -> Finding:
    return Finding(
        "cannot_be_divided",
        "problem",
        reason,
        1,
        (),
        "Do what it says: nothing can be trained before.",
    )


def _classes(number: int) -> str:
    return "1 class" if number == 1 else f"{number:,} classes"
