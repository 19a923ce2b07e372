"""What an inspection finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Severity: TypeAlias = Literal["problem", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know about the pictures.

    Args:
        kind: What it is, in snake_case, such as `duplicate_under_two_labels`.
        severity: `problem`: it makes results worse or wrong; `note`: a fact to look at, and it may be fine.
        title: One sentence with its number.
        number: The number: of files, a ratio, or an accuracy.
        files: Files that it concerns, worst first; those of one cluster stand side by side.
        advice: One sentence: what to do.
    """

    kind: str
    severity: Severity
    title: str
    number: float
    files: tuple[str, ...]
    advice: str

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "files": list(self.files)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Finding:
        return cls(**{**stored, "files": tuple(stored["files"])})


def percent(share: float) -> str:
    """A share as a person reads it: `0.3 %`, `12 %`."""
    return f"{share:.1%}".replace("%", " %") if 0 < share < 0.01 else f"{share:.0%}".replace("%", " %")
