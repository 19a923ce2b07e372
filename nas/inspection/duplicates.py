"""The same picture twice: exactly or nearly, under two labels, or on both sides of the split.

cleanvision 0.3.7 and imagehash 4.3.2 find duplicates too. They are not used: the hashes are made when the pictures are
decoded, imagehash adds PyWavelets for hashes that are not needed, and cleanvision adds pandas, fsspec and imagehash,
knows no labels and no parts, and reads every file a second time.
"""

from __future__ import annotations

import numpy as np

from nas.formatting import plural
from nas.inspection.finding import Finding
from nas.inspection.subject import Subject
from nas.pictures.splitting import units_of


def find_duplicates(subject: Subject) -> list[Finding]:
    exact = [np.array(cluster) for cluster in subject.exact]
    two_labels = [cluster for cluster in exact if len(set(subject.labels[cluster].tolist())) > 1]
    one_label = [cluster for cluster in exact if len(set(subject.labels[cluster].tolist())) == 1]
    findings = []
    if two_labels:
        findings.append(
            Finding(
                "duplicate_under_two_labels",
                "problem",
                f"{_pictures(len(two_labels))} under more than one label: {_labels(subject, two_labels[0])}",
                len(two_labels),
                _files(subject, two_labels),
                "Keep each under its right label only; a network cannot learn both.",
            )
        )
    findings += _across_parts(subject, exact)
    if one_label:
        copies = sum(len(cluster) - 1 for cluster in one_label)
        findings.append(
            Finding(
                "duplicate",
                "note",
                f"{plural(copies, 'file')} {'is an exact copy' if copies == 1 else 'are exact copies'} of another one",
                copies,
                _files(subject, one_label),
                "Remove the copies: they count twice and add nothing.",
            )
        )
    findings += _near(subject)
    return findings


def _across_parts(subject: Subject, exact: list[np.ndarray]) -> list[Finding]:
    """Duplicates on both sides of a split. Those of a split that is drawn of a folder's pictures are kept together."""
    sides = _sides(subject)
    pairs = [*(cluster.tolist() for cluster in exact), *map(list, subject.near)]
    units = units_of(len(subject.names), pairs)
    crossing = []
    for cluster in _clusters(units, {position for pair in pairs for position in pair}):
        parts = set(sides[cluster].tolist()) - {""}
        if len(parts) > 1:
            crossing.append(cluster)
    if not crossing:
        return []
    where = sorted({str(part) for cluster in crossing for part in sides[cluster]}, key="train valid test".find)
    return [
        Finding(
            "near_duplicate_across_parts",
            "problem" if subject.parts_are_stated else "note",
            f"{_pictures(len(crossing))}, or nearly the same, in more than one of the parts {', '.join(where)}",
            len(crossing),
            _files(subject, crossing),
            "Keep each in one part only: a network that was trained on a picture is tested on it, and its accuracy "
            "looks better than it is.",
        )
    ]


def _near(subject: Subject) -> list[Finding]:
    """Near duplicates on one side."""
    sides = _sides(subject)
    inner = [(a, b) for a, b in subject.near if sides[a] == sides[b]]
    findings = []
    for kind, pairs in (
        ("near_duplicate_under_two_labels", [p for p in inner if subject.labels[p[0]] != subject.labels[p[1]]]),
        ("near_duplicate", [p for p in inner if subject.labels[p[0]] == subject.labels[p[1]]]),
    ):
        if not pairs:
            continue
        clusters = _clusters(
            units_of(len(subject.names), [list(pair) for pair in pairs]), {i for p in pairs for i in p}
        )
        two = kind != "near_duplicate"
        more = f" under more than one label: {_labels(subject, clusters[0])}" if two else ""
        findings.append(
            Finding(
                kind,
                "note",
                f"{plural(len(clusters), 'picture')} {'is' if len(clusters) == 1 else 'are'} there more than once, "
                f"nearly unchanged (saved again, resized, or a moment later){more}",
                len(clusters),
                _files(subject, clusters),
                "Check which label is right." if two else "Keep one of each if you can: they count twice.",
            )
        )
    return findings


def _sides(subject: Subject) -> np.ndarray:
    """(N,) part of each picture, as the folder states it if it does."""
    return subject.stated if subject.parts_are_stated else subject.parts


def _clusters(units: np.ndarray, members: set[int]) -> list[np.ndarray]:
    positions = np.array(sorted(members), dtype=np.int64)
    of = units[positions] if len(positions) else positions
    order = np.argsort(of, kind="stable")
    cuts = np.flatnonzero(np.diff(of[order])) + 1
    return [positions[one] for one in np.split(order, cuts) if len(one) > 1]


def _pictures(number: int) -> str:
    return f"{plural(number, 'picture')} {'is' if number == 1 else 'are'} there more than once"


def _labels(subject: Subject, cluster: np.ndarray) -> str:
    names = [subject.class_names[label] for label in sorted(set(subject.labels[cluster].tolist()))]
    return " and ".join(map(repr, names))


def _files(subject: Subject, clusters: list[np.ndarray]) -> tuple[str, ...]:
    return tuple(name for cluster in clusters for name in subject.files(cluster))
