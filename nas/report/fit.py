"""The record of `nas fit` as sections of a report; a part that is missing or damaged is left out with a sentence."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.report import predictions
from nas.report.document import Document, Facts, Picture, plain
from nas.report.thumbnails import of_file

FINDING_FILES, FINDING_PICTURES = 8, 4
"""Largest number of files that a finding names, and of those that are shown."""
FINDINGS_BUDGET, PREDICTIONS_BUDGET = 120_000, 260_000
"""Most bytes of the pictures of each."""
WHAT = {
    "inspection.json": "what the data is",
    "signal.json": "whether the pictures hold a signal",
    "plan.json": "the plan",
    "result.json": "the result of the fit",
    "predictions.npz": "mistakes and confusions",
}
"""File of a record -> what the report takes from it."""
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, zipfile.BadZipFile)
"""What reading a damaged file raises."""


def with_fit(document: Document, folder: Path) -> Document:
    """A run's report with the sections of the fit that made it; unchanged if the folder does not exist.

    Args:
        document: Report of the run.
        folder: `fit` within the folder of the run's files.
    """
    if not folder.is_dir():
        return document
    left_out = list(document.left_out)

    def section(name: str, build: Callable[[Path], Any]) -> Any:
        path = folder / name
        if not path.exists():
            return None
        try:
            return build(path)
        except DAMAGED:
            left_out.append(f"{path.name} is damaged, so {WHAT[name]} is left out.")
            return None

    inspection = section("inspection.json", lambda path: _inspection(_read(path)))
    signal = section("signal.json", lambda path: _signal(_read(path)))
    plan = section("plan.json", lambda path: _plan(_read(path)))
    result = section("result.json", lambda path: _result(_read(path)))
    names = [one["name"] for one in inspection["classes"]] if inspection else []
    found = section("predictions.npz", lambda path: _predictions(path, names))
    about, pictures, scores = found or (None, dict[str, Picture](), None)
    if inspection and plan:
        pictures = pictures | _finding_pictures(inspection, plan)
    facts = {
        **document.facts,
        "fit": plain(
            {
                "inspection": inspection,
                "signal": signal,
                "plan": plan,
                "result": result,
                "predictions": about,
                "threshold": section("result.json", lambda path: _threshold(_read(path))),
            }
        ),
    }
    return replace(
        document,
        facts=facts,
        pictures={**document.pictures, **pictures},
        scores=scores,
        left_out=tuple(dict.fromkeys(left_out)),
    )


def _read(path: Path) -> Mapping[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise TypeError("expected a mapping")
    return found


def _inspection(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pictures": _count(found["pictures"]),
        "readable": _count(found["readable"]),
        "channels": _optional(found.get("channels"), _count),
        "side": _optional(found.get("side"), _count),
        "seconds": _optional(found.get("seconds"), _number),
        "class_count": len(found["classes"]),
        "classes": [
            {
                "name": _text(one["name"]),
                **{key: _optional(one.get(key), _count) for key in ("count", "train", "valid", "test")},
            }
            for one in found["classes"]
        ],
        "findings": [
            {
                "kind": _text(one["kind"]),
                "severity": "problem" if one["severity"] == "problem" else "note",
                "title": _text(one["title"]),
                "number": _number(one["number"]),
                "files": [_text(file) for file in one["files"][:FINDING_FILES]],
                "more_files": max(0, len(one["files"]) - FINDING_FILES),
                "advice": _text(one["advice"]),
            }
            for one in found["findings"]
        ],
    }


def _signal(found: Mapping[str, Any]) -> Facts:
    shuffled = [_number(one) for one in found["shuffled"]]
    return {
        "verdict": _text(found["verdict"]),
        "sentence": _text(found["sentence"]),
        **{key: _number(found[key]) for key in ("accuracy", "low", "high", "chance")},
        "shuffled_mean": sum(shuffled) / len(shuffled) if shuffled else None,
        "shuffled_best": max(shuffled, default=None),
        "shuffles": len(shuffled),
        "images": _count(found["images"]),
        "folds": _count(found["folds"]),
        "seconds": _number(found["seconds"]),
    }


def _plan(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "minutes": _number(found["minutes"]),
        "device": _text(found["device"]),
        "speeds": [{"name": _text(key), "speed": _number(value)} for key, value in found.get("speeds", {}).items()],
        "steps": [
            {
                "name": _text(one["name"]),
                "what": _text(one.get("what", "")),
                "seconds": _optional(one.get("seconds"), _number),
                "spent": _optional(one.get("spent"), _number),
            }
            for one in found["steps"]
        ],
        "candidates": [
            {
                "method": _text(one["method"]),
                "text": _text(one.get("text", "")),
                "epochs": _optional(one.get("epochs"), _count),
                "seconds": _optional(one.get("seconds"), _number),
            }
            for one in found.get("candidates", ())
        ],
        "corrections": [_text(one) for one in found.get("corrections", ())],
        "settings": [
            {"key": _text(key), "value": value if isinstance(value, str) else json.dumps(value)}
            for key, value in found.get("settings", {}).items()
        ],
    }


def _result(found: Mapping[str, Any]) -> Facts:
    difference = found.get("difference")
    return {
        "winner": _model(found["winner"]),
        "baseline": _optional(found.get("baseline"), _model),
        "runner_up": _optional(found.get("runner_up"), _model),
        "difference": None
        if difference is None
        else {
            **{key: _optional(difference.get(key), _number) for key in ("mean", "low", "high", "p")},
            "images": _optional(difference.get("images"), _count),
            "method": _text(difference.get("method", "")),
            "verdict": _verdict(difference),
        },
        "sentence": _text(found["sentence"]),
        "commands": [{"name": _text(key), "command": _text(value)} for key, value in found.get("commands", {}).items()],
        "seconds": _optional(found.get("seconds"), _number),
    }


def _model(found: Mapping[str, Any]) -> Facts:
    numbers = ("valid_accuracy", "test_accuracy", "test_low", "test_high")
    return {
        "method": _text(found["method"]),
        "trial": _optional(found.get("trial"), _count),
        "text": _text(found.get("text") or ""),
        **{key: _optional(found.get(key), _number) for key in numbers},
        "test_images": _optional(found.get("test_images"), _count),
        "folder": _optional(found.get("folder"), _text),
    }


def _verdict(difference: Mapping[str, Any]) -> str:
    low, high = difference.get("low"), difference.get("high")
    if low is None or high is None:
        return "unknown"
    return "more" if low > 0 or high < 0 else "noise"


def _threshold(found: Mapping[str, Any]) -> Facts | None:
    """The threshold of the exported model; None if there is none."""
    folder = found["winner"].get("folder")
    path = Path(folder) / "model.json" if folder else None
    if path is None or not path.is_file():
        return None
    known = json.loads(path.read_text(encoding="utf-8")).get("threshold")
    if known is None:
        return None
    return {
        "value": _number(known["value"]),
        **{key: _optional(known.get(key), _number) for key in ("kept", "accuracy", "images")},
    }


def _predictions(path: Path, classes: list[str]) -> tuple[Facts, dict[str, Picture], dict[str, Any]] | None:
    found = predictions.read(path, classes)
    return None if found is None else predictions.facts(found, PREDICTIONS_BUDGET)


def _finding_pictures(inspection: dict[str, Any], plan: Mapping[str, Any]) -> dict[str, Picture]:
    """Pictures of what is wrong, if the folder of the data is still there; names them in the findings."""
    roots = [one["value"] for one in plan["settings"] if one["key"] == "data.root"]
    root = Path(roots[0]).expanduser() if roots else None
    pictures: dict[str, Picture] = {}
    budget = FINDINGS_BUDGET
    for number, finding in enumerate(inspection["findings"]):
        finding["pictures"] = []
        if root is None or not root.is_dir():
            continue
        for position, file in enumerate(finding["files"][:FINDING_PICTURES]):
            path = (root / file).resolve()
            picture = of_file(path, file) if path.is_relative_to(root.resolve()) else None
            if picture is not None and len(picture.uri) <= budget:
                budget -= len(picture.uri)
                name = f"finding_{number}_{position}"
                pictures[name] = picture
                finding["pictures"].append(name)
    return pictures


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"expected a number, got {value!r}")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, got {value!r}")
    return value


def _optional(value: Any, convert: Callable[[Any], Any]) -> Any:
    return None if value is None else convert(value)
