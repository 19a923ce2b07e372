"""How the files hold their pictures: turned by EXIF, grey among colour, transparent, 16 bit."""

from __future__ import annotations

from collections import Counter

from nas.formatting import plural
from nas.inspection.finding import Finding
from nas.inspection.subject import Subject

KINDS = {
    "1": "grey", "L": "grey",
    "LA": "transparent", "La": "transparent", "RGBA": "transparent", "RGBa": "transparent", "PA": "transparent",
    "P": "palette", "CMYK": "CMYK",
}  # fmt: skip
"""Pillow's mode -> kind; others begin with I or F, 16 bit or more, or are colour."""


def find_encodings(subject: Subject) -> list[Finding]:
    positions = [int(position) for position in subject.readable]
    findings = []
    turned = [position for position in positions if subject.facts[position].orientation != 1]
    if turned:
        findings.append(
            Finding(
                "turned_by_exif",
                "note",
                f"{plural(len(turned), 'picture')} {'is' if len(turned) == 1 else 'are'} turned by EXIF data",
                len(turned),
                subject.files(turned),
                "Nothing to do here: they are read upright. Other programs that ignore EXIF see them turned.",
            )
        )
    kinds = {position: _kind(subject.facts[position].mode) for position in positions}
    counts = Counter(kinds.values())
    if len(counts) > 1:
        usual, _ = counts.most_common(1)[0]
        other = sorted((position for position in positions if kinds[position] != usual), key=lambda i: counts[kinds[i]])
        listed = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
        findings.append(
            Finding(
                "mixed_modes",
                "note",
                f"the pictures are of {len(counts)} kinds: {listed}",
                len(other),
                subject.files(other),
                "Nothing to do if new pictures are as mixed: all are read as one kind, transparent pixels on "
                "data.background.",
            )
        )
    return findings


def _kind(mode: str) -> str:
    return KINDS.get(mode) or ("16 bit" if mode.startswith(("I", "F")) else "colour")
