"""Writing a table from the trainings of `nas tabulate`: one row per class, and a YAML that describes it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.core import uncounted
from nas.errors import UserError
from nas.files import atomic_write

COLUMN_DIGITS = {
    "valid_accuracy": 6,
    "valid_loss": 4,
    "test_accuracy": 6,
    "test_loss": 4,
    "train_loss": 4,
    "seconds": 3,
}
"""Column -> digits after the point; means over the seeds of a class."""
SEED_COLUMNS = ("valid_accuracy", "test_accuracy")
"""Columns that are given for every seed as well."""
COUNT_COLUMNS = ("parameters", "flops")


def rows(trainings: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table, sorted by the architecture's text.

    Args:
        trainings: One per class and repeat, as `nas.studies.tabulation` stores them.
    """
    classes: dict[str, list[Mapping[str, Any]]] = {}
    for training in sorted(trainings, key=lambda line: (line["arch"], line["repeat"])):
        classes.setdefault(training["canonical"], []).append(training)
    seeds = max(map(len, classes.values()))
    head = [
        "arch",
        "seeds",
        *COLUMN_DIGITS,
        *(f"{name}_{n}" for name in SEED_COLUMNS for n in range(seeds)),
        *COUNT_COLUMNS,
    ]
    body = []
    for members in sorted(classes.values(), key=lambda members: members[0]["arch"]):
        row = [members[0]["arch"], str(len(members))]
        row += [_number(statistics.fmean(m[name] for m in members), digits) for name, digits in COLUMN_DIGITS.items()]
        for name in SEED_COLUMNS:
            row += [_number(m[name], COLUMN_DIGITS[name]) for m in members] + [""] * (seeds - len(members))
        row += [_number(members[0][name], 0) for name in COUNT_COLUMNS]
        body.append(row)
    return head, body


def stem(out: Path) -> str:
    """The name of a table without .csv or .csv.gz."""
    return out.name.removesuffix(".gz").removesuffix(".csv")


def description(out: Path) -> Path:
    """The YAML beside a table."""
    return out.with_name(f"{stem(out)}.yaml")


def write_table(tabulation: Mapping[str, Any], out: Path, data: str, data_settings: Mapping[str, Any]) -> Path:
    """Write the table and the YAML beside it; each is written atomically.

    Args:
        tabulation: Result of `nas.studies.tabulation.tabulate`.
        out: `.csv` or `.csv.gz`.
        data, data_settings: Option of the data set and its settings, for later work on a winner.

    Returns:
        The path of the YAML.

    Raises:
        UserError: Something cannot be written.
    """
    head, body = rows(tabulation["trainings"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(body)
    raw = text.getvalue().encode()
    # without name and time, equal tables are equal files
    whole = gzip.compress(raw, 9, mtime=0) if out.name.endswith(".gz") else raw
    yaml = description(out)
    _write(out, whole)
    _write(yaml, _yaml(tabulation, out, len(body), data, data_settings).encode())
    return yaml


def _yaml(tabulation: Mapping[str, Any], out: Path, classes: int, data: str, data_settings: Mapping[str, Any]) -> str:
    recipe: Mapping[str, Any] = tabulation["recipe"]
    space, settings = tabulation["space"]["name"], dict(tabulation["space"]["settings"])
    tuned = settings.pop("tune", {})
    environment: Mapping[str, str] = tabulation["environment"]
    network = ", ".join(f"{key} {value}" for key, value in recipe["network"].items())
    seeds = 1 + max(line["repeat"] for line in tabulation["trainings"])
    images = [
        f"{f'at most {recipe[key]}' if recipe[key] else 'all'} {word}"
        for key, word in (("train_images", "training"), ("valid_images", "validation"))
    ]
    missing = sorted({name for line in tabulation["trainings"] for name in uncounted(line)})
    clock = "processor seconds" if tabulation["device"] == "cpu" else "seconds"
    made_by = f"torch {environment.get('torch')}, {environment.get('machine')}, {tabulation['device']}"
    lines: Sequence[str] = (
        "# @package _global_",
        f"# {classes:,} classes of {space} on {tabulation['data']}, trained by nas tabulate; "
        f"started {tabulation['begun']}.",
        f"# Images: {images[0]} and {images[1]} (split {tabulation['split']}); epochs {recipe['epochs']}, {network}.",
        f"# {made_by}, commit {environment.get('commit')}.",
        "# valid_* on the validation images after the last epoch, test_* on all test images; accuracies are fractions",
        "# 0-1, losses mean cross-entropy in nats. A name without a number is the mean over the seeds of the class,",
        f"# _0, _1 … are single trainings ({seeds} at most). seconds: {clock} of a training with its validation;",
        "# parameters and flops (multiply-accumulates) are those of the architecture in the row.",
        *([f"# flops do not include {', '.join(missing)} (no formula)."] if missing else []),
        "defaults:",
        f"  - override /space: {space}",
        f"  - override /data: {data}",
        "  - _self_",
        "",
        "table:",
        "  _target_: nas.tables.table.Table",
        f"  file: {json.dumps(out.name)}",
        "  root: null",
        f"  space: {space}",
        "  architecture: arch",
        "  rows: class",
        "  column: valid_accuracy_0   # one training, as noisy as a search's own would be",
        "  metric: valid_accuracy",
        "  scale: 1.0",
        "  cost: seconds",
        "  cost_scale: 1.0",
        "  reported: [test_accuracy]",
        "  minimized: []",
        "  labels:",
        f"    test_accuracy: test accuracy on {tabulation['data']} (fraction)",
        *_settings("space", settings),
        *_settings("tune", tuned),
        *_settings("data", data_settings),
    )
    return "\n".join(lines) + "\n"


def _settings(part: str, settings: Mapping[str, Any]) -> list[str]:
    """The settings of a part as YAML, so that a winner is retrained as the table was made."""
    return [f"{part}:", *(f"  {key}: {json.dumps(value)}" for key, value in settings.items())] if settings else []


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); set out= to another path") from None
