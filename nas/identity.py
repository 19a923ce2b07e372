"""Settings as they identify a run, a comparison or a training: without those that a later version added.

A setting that did not exist when a result was stored must not keep anybody from resuming it, as long as it has the
value under which everything stays as it was. It also leaves the automatic names of runs unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ADDED_SETTINGS: Mapping[str, Any] = {
    "budget.trial_seconds": None,
    **{
        f"{part}.{key}": value
        for part in ("trainer", "supernet")
        for key, value in {"optimizer": "sgd", "warmup_epochs": 0, "mixup": 0.0, "cutmix": 0.0}.items()
    },
}
"""Setting that came after version 0.1.0 -> its neutral value, under which results are those of 0.1.0.

Keys are dotted and match the end of a path, so that `trainer.mixup` also finds `evaluator.trainer.mixup` of a run that
was made in Python. Whoever adds a setting to a part adds it here.
"""


def identifying(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """A copy of nested settings without the added ones that have their neutral value.

    Args:
        settings: Nested and JSON-safe.
        path: Dotted path of `settings` within those of a command, such as `strategy`; empty: they are the root.
    """
    found = {}
    for key, value in settings.items():
        inner = f"{path}.{key}" if path else str(key)
        if not _is_neutral(inner, value):
            found[key] = identifying(value, inner) if isinstance(value, Mapping) else value
    return found


def _is_neutral(path: str, value: object) -> bool:
    end = ".".join(path.split(".")[-2:])
    return end in ADDED_SETTINGS and ADDED_SETTINGS[end] == value
