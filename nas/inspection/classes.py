"""How many pictures each class has."""

from __future__ import annotations

import numpy as np

from nas.formatting import plural
from nas.inspection.finding import Finding
from nas.inspection.subject import Subject

FEW = 10
"""A class with fewer pictures can hardly be learned, and its accuracy cannot be measured at all."""
UNEVEN, VERY_UNEVEN = 10, 100
"""Ratios of the largest class to the smallest one, for a note and for a problem."""


def find_class_faults(subject: Subject) -> list[Finding]:
    counts = subject.counts()
    there = np.flatnonzero(counts)
    if len(there) < 2:
        return [_one_class(subject, there)]
    findings = []
    few = [label for label in np.argsort(counts, kind="stable") if counts[label] < FEW]
    if few:
        named = ", ".join(f"{subject.class_names[label]!r} {counts[label]:,}" for label in few[:5])
        more = f" and {len(few) - 5:,} more" if len(few) > 5 else ""
        findings.append(
            Finding(
                "few_pictures",
                "problem",
                f"{plural(len(few), 'class').replace('classs', 'classes')} "
                f"{'has' if len(few) == 1 else 'have'} fewer than {FEW} pictures: {named}{more}",
                len(few),
                _of_classes(subject, few),
                "Add pictures, or leave the class out.",
            )
        )
    largest, smallest = int(counts.argmax()), int(there[counts[there].argmin()])
    ratio = counts[largest] / counts[smallest]
    if ratio >= UNEVEN:
        findings.append(
            Finding(
                "imbalance",
                "problem" if ratio >= VERY_UNEVEN else "note",
                f"class {subject.class_names[largest]!r} has {ratio:,.0f} times as many pictures as class "
                f"{subject.class_names[smallest]!r} ({counts[largest]:,} and {counts[smallest]:,})",
                float(ratio),
                _of_classes(subject, [smallest]),
                "Add pictures of the small classes; always answering the large one would be right in "
                f"{100 * counts[largest] / counts.sum():.0f} % of the pictures.",
            )
        )
    return findings


def _one_class(subject: Subject, there: np.ndarray) -> Finding:
    name = subject.class_names[int(there[0])] if len(there) else ""
    total = int(subject.counts().sum())
    _, hinted, hint = (subject.refusal or "").partition("did you mean ")
    return Finding(
        "one_class",
        "problem",
        f"all {total:,} readable pictures are of one class, {name!r}, so that there is nothing to tell apart",
        1,
        subject.files(subject.readable),
        f"Did you mean {hint}" if hinted else "Add a folder with the pictures of at least one other class.",
    )


def _of_classes(subject: Subject, labels: list[int]) -> tuple[str, ...]:
    """The readable pictures of classes, class by class."""
    return tuple(
        name for label in labels for name in subject.files(subject.readable[subject.labels[subject.readable] == label])
    )
