"""Files that cannot be read: empty ones, those cut off, and those that are no pictures."""

from __future__ import annotations

from nas.formatting import plural
from nas.inspection.finding import Finding
from nas.inspection.subject import Subject

CUT_OFF = ("truncated", "premature", "broken data stream", "unexpected end", "eof", "not enough image data")
"""What decoders say, in lower case, of a file whose end is missing."""


def find_broken_files(subject: Subject) -> list[Finding]:
    empty, cut, unreadable = [], [], []
    for position, one in enumerate(subject.facts):
        if one.error is None:
            continue
        if one.bytes == 0:
            empty.append(position)
        elif any(sign in one.error.lower() for sign in CUT_OFF):
            cut.append(position)
        else:
            unreadable.append(position)
    findings = []
    if unreadable:
        reason = subject.facts[unreadable[0]].error or ""
        findings.append(
            Finding(
                "unreadable_file",
                "problem",
                f"{_files(unreadable)} cannot be read as a picture, the first: {reason}",
                len(unreadable),
                subject.files(unreadable),
                "Replace or remove them; they are left out of training.",
            )
        )
    if cut:
        findings.append(
            Finding(
                "truncated_file",
                "problem",
                f"{_files(cut)} {'is' if len(cut) == 1 else 'are'} cut off: the end is missing",
                len(cut),
                subject.files(cut),
                "Copy them again from where they came from; they are left out of training.",
            )
        )
    if empty:
        findings.append(
            Finding(
                "empty_file",
                "problem",
                f"{_files(empty)} {'is' if len(empty) == 1 else 'are'} empty (0 bytes)",
                len(empty),
                subject.files(empty),
                "Copy them again from where they came from, or remove them; they are left out of training.",
            )
        )
    return findings


def _files(positions: list[int]) -> str:
    return plural(len(positions), "file")
