"""The learning curves of this experiment, and `trials.json` with all that its stores know of the trials.

    python figure.py NASBENCH201.db DARTS.db

Without stores the figure is drawn from `trials.json`.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

HERE = Path(__file__).parent
RUNS = {
    "NAS-Bench-201": (("nb201-darts", "nb201-darts-1b", "nb201-darts-2b"), "nb201-random"),
    "DARTS": (("darts", "darts-1", "darts-2"), "darts-random"),
}
"""Space -> the searches by DARTS with seeds 0 to 2, and the run of random cells."""
INK, GREY = "#1f5c99", "#8a8a8a"


def read(stores: list[str]) -> list[dict[str, Any]]:
    """Every trial of the runs, with its curve and its tests."""
    found = []
    for store in stores:
        connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
        for run, number, text, metrics, seconds, cost in connection.execute(
            "SELECT run, number, text, metrics, seconds, cost FROM trials ORDER BY run, number"
        ):
            curve = connection.execute(
                "SELECT metrics FROM curves WHERE run = ? AND trial = ? ORDER BY epoch", (run, number)
            )
            tests = connection.execute("SELECT metrics FROM retrainings WHERE run = ? AND trial = ?", (run, number))
            found.append(
                {
                    "run": run,
                    "number": number,
                    "arch": text,
                    "metrics": json.loads(metrics),
                    "seconds": round(seconds, 1),
                    "cost": json.loads(cost),
                    "curve": [json.loads(row) for (row,) in curve],
                    "tests": [json.loads(row) for (row,) in tests],
                }
            )
    return found


def curve(trial: dict[str, Any], name: str) -> tuple[list[int], list[float]]:
    """A metric by epochs."""
    points = [(epoch, metrics[name]) for epoch, metrics in enumerate(trial["curve"], start=1) if name in metrics]
    return [epoch for epoch, _ in points], [value for _, value in points]


def draw(trials: list[dict[str, Any]]) -> Figure:
    """Left the searches, right the training of what they found and of random cells; one row a space."""
    figure = Figure(figsize=(9.0, 6.2), dpi=200, layout="constrained")
    axes = figure.subplots(2, 2)
    for (space, (searches, random)), (left, right) in zip(RUNS.items(), axes, strict=True):
        for place, run in enumerate(searches):
            (trial,) = (trial for trial in trials if trial["run"] == run)
            style = ("-", "--", ":")[place]
            left.plot(*curve(trial, "supernet_train_loss"), color=GREY, linestyle=style)
            left.plot(*curve(trial, "supernet_valid_loss"), color=INK, linestyle=style, marker="o", markersize=3)
            right.plot(*curve(trial, "valid_accuracy"), color=INK, linestyle=style, linewidth=1.8, zorder=3)
        for trial in (trial for trial in trials if trial["run"] == random):
            right.plot(*curve(trial, "valid_accuracy"), color=GREY, linewidth=0.9)
        left.set_title(f"{space}: the supernet, seeds 0, 1, 2", fontsize=10, loc="left")
        left.set_ylabel("loss (nats)")
        left.text(0.97, 0.95, "validation", color=INK, transform=left.transAxes, ha="right", va="top")
        left.text(0.97, 0.87, "training", color=GREY, transform=left.transAxes, ha="right", va="top")
        right.set_title(f"{space}: cells trained from scratch", fontsize=10, loc="left")
        right.set_ylabel("validation accuracy")
        right.text(0.97, 0.16, "found by DARTS (seeds 0, 1, 2)", color=INK, transform=right.transAxes, ha="right")
        right.text(0.97, 0.07, "six random cells", color=GREY, transform=right.transAxes, ha="right")
        for side in (left, right):
            side.set_xlabel("epoch")
            side.xaxis.get_major_locator().set_params(integer=True)
            side.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    data = HERE / "trials.json"
    if sys.argv[1:]:
        data.write_text(json.dumps(read(sys.argv[1:]), indent=1) + "\n")
    draw(json.loads(data.read_text())).savefig(HERE / "learning_curves.png", facecolor="white")
