"""Pictures whose size or shape is unlike that of the others."""

from __future__ import annotations

import numpy as np

from nas.formatting import plural
from nas.inspection.finding import Finding
from nas.inspection.subject import Subject

SIZE_FACTOR = 4
"""A picture is odd if its sides are this many times larger or smaller than the median."""
ASPECT, ASPECT_FACTOR = 2.5, 2
"""A picture is odd if one side is this many times the other, and this many times as much as is usual."""


def find_odd_sizes(subject: Subject) -> list[Finding]:
    positions = subject.readable
    sides = np.array([(subject.facts[i].width, subject.facts[i].height) for i in positions], dtype=float)
    size = np.sqrt(sides.prod(1))
    usual = float(np.median(size))
    factor = np.maximum(size / usual, usual / size)
    findings = []
    if (odd := np.flatnonzero(factor > SIZE_FACTOR)).size:
        worst = odd[np.argsort(-factor[odd], kind="stable")]
        width, height = sides[worst[0]].astype(int)
        findings.append(
            Finding(
                "odd_size",
                "note",
                f"{plural(len(odd), 'picture')} {'is' if len(odd) == 1 else 'are'} more than {SIZE_FACTOR} times "
                f"larger or smaller than usual (about {usual:.0f} pixels a side), the worst of {width} x {height}",
                len(odd),
                subject.files(positions[worst]),
                "Look at them: thumbnails and scans among photos are often mistakes.",
            )
        )
    aspect = sides.max(1) / sides.min(1)
    wide = np.flatnonzero((aspect > ASPECT) & (aspect > ASPECT_FACTOR * np.median(aspect)))
    if wide.size:
        worst = wide[np.argsort(-aspect[wide], kind="stable")]
        width, height = sides[worst[0]].astype(int)
        findings.append(
            Finding(
                "odd_aspect",
                "note",
                f"{plural(len(wide), 'picture')} {'is' if len(wide) == 1 else 'are'} very long or very wide, the worst "
                f"of {width} x {height}; the usual aspect is {np.median(aspect):.2g} to 1",
                len(wide),
                subject.files(positions[worst]),
                "Cut them to the subject: all pictures are resized to squares, which distorts these.",
            )
        )
    return findings
