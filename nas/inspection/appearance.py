"""Pictures with nothing to see on them: blank, dark, blurred."""

from __future__ import annotations

import numpy as np

from nas.formatting import plural
from nas.inspection.finding import Finding
from nas.inspection.subject import Subject

BLANK = 0.004
"""Standard deviation of grey, 0-1, below which a picture is of one colour."""
DARK, LIT = 0.15, 0.3
"""Brightness two standard deviations above the mean, 0-1: that of a dark picture, and the least that is usual."""
BLURRED = 6.0
"""Median absolute deviations of the logarithm of the sharpness, divided by its scatter, below the median."""
LEAST_FACTOR = 30
"""A blurred picture is at least this many times less sharp than the median."""


def find_faint_pictures(subject: Subject) -> list[Finding]:
    positions = subject.readable
    facts = [subject.facts[position] for position in positions]
    brightness, contrast, sharpness = (
        np.array([getattr(one, name) for one in facts]) for name in ("brightness", "contrast", "sharpness")
    )
    blank = contrast < BLANK
    lightest = brightness + 2 * contrast
    dark = ~blank & (lightest < DARK) if np.median(lightest) > LIT else np.zeros_like(blank)
    # relative to contrast: a pale picture is not a blurred one
    edges = np.log(np.maximum(sharpness, 1e-3)) - 2 * np.log(np.maximum(contrast, 1e-3))
    middle = np.median(edges)
    scatter = max(1.4826 * float(np.median(np.abs(edges - middle))), 1e-3)
    blurred = ~blank & ~dark & (edges < middle - max(BLURRED * scatter, np.log(LEAST_FACTOR)))
    findings = []
    for kind, chosen, order, text, advice in (
        ("blank", blank, contrast, "of one colour", "Remove them: there is nothing to learn from them."),
        ("dark", dark, lightest, "nearly black", "Look at them, and remove those on which nothing can be seen."),
        (
            "blurred",
            blurred,
            edges,
            "much less sharp than the others",
            "Look at them, and remove those that are blurred.",
        ),
    ):
        members = np.flatnonzero(chosen)
        if members.size:
            findings.append(
                Finding(
                    kind,
                    "problem" if kind == "blank" else "note",
                    f"{plural(len(members), 'picture')} {'is' if len(members) == 1 else 'are'} {text}",
                    len(members),
                    subject.files(positions[members[np.argsort(order[members], kind="stable")]]),
                    advice,
                )
            )
    return findings
