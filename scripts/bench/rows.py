"""The output of every benchmark: one JSON object per line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One measured comparison.

    Args:
        name: Name of the measurement.
        ours, yardstick: The two figures; an absolute goal is its own yardstick.
        unit: Unit of both.
        target: Smallest allowed `ratio`.
        more_is_better: Whether a larger figure is better (rates) or worse (times).
        device: Device that it ran on.
        note: How it was measured.
    """

    name: str
    ours: float
    yardstick: float
    unit: str
    target: float
    more_is_better: bool = True
    device: str = "cpu"
    note: str = ""

    @property
    def ratio(self) -> float:
        """By which factor ours is better."""
        return self.ours / self.yardstick if self.more_is_better else self.yardstick / self.ours

    def show(self) -> None:
        row = asdict(self) | {"ratio": round(self.ratio, 3), "ours": round(self.ours, 4)}
        del row["more_is_better"]
        print(json.dumps(row), flush=True)
