"""What every benchmark prints: one JSON object a line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One measured comparison.

    Args:
        name: what was timed.
        ours, yardstick: the two figures; a goal that is an absolute figure is its own yardstick.
        unit: of both.
        target: the least that `ratio` must be.
        more_is_better: whether a larger figure is the better one (rates) or the worse (times).
        device: where it ran.
        note: how it was measured.
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
        """How many times better ours is."""
        return self.ours / self.yardstick if self.more_is_better else self.yardstick / self.ours

    def show(self) -> None:
        row = asdict(self) | {"ratio": round(self.ratio, 3), "ours": round(self.ours, 4)}
        del row["more_is_better"]
        print(json.dumps(row), flush=True)
