"""The settings that identify a run, a comparison or a training: whether two jobs are the same, and the differences
between them.

A setting that did not exist when a result was stored must not prevent resuming it, as long as it has the value that
changes nothing. It also leaves the automatic names of runs unchanged.

A class may move to another module, so the module of a class identifies nothing: keys that start with `_` (`_target_`)
are left out, and the `type` of a part that was created in Python counts only by the name of its class. A function is
known only by its path, so the path counts, and so does a setting that a user calls `type`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ADDED_TRAINING_SETTINGS: Mapping[str, Any] = {"optimizer": "sgd", "warmup_epochs": 0, "mixup": 0.0, "cutmix": 0.0}
"""Those of `ADDED_SETTINGS` that every training has, of a network and of a supernet."""

ADDED_SETTINGS: Mapping[str, Any] = {
    "budget.failures": 10,
    "budget.trial_seconds": None,
    "strategy.crossover": 0.0,
    "table.complete": True,
    **{f"trainer.{key}": value for key, value in ADDED_TRAINING_SETTINGS.items()},
    **{f"supernet.{key}": value for key, value in ADDED_TRAINING_SETTINGS.items()},
}
"""Setting added after version 0.1.0 -> its neutral value, under which results are those of 0.1.0.

Keys are dotted and match the end of a path, so that `trainer.mixup` also finds `evaluator.trainer.mixup` of a run that
was made in Python. Whoever adds a setting to a part adds it here.
"""

DECISIONS = "decisions"
"""Key of a space's decisions with their options (`nas.space.base.recorded_choices`) in the identity of a run, a journal
or a checkpoint. Version 0.1.0 did not record them; if one side lacks them, they are not compared."""


FOLDERS = ("root", "cache")
"""Settings of a data set or a table that are folders of this machine: they identify nothing, and no file for another
machine holds them."""
KINDS = "kinds"
"""Key of the kinds of a space's ordered decisions, beside its decisions: what a strategy proposes depends on them."""
CONDITIONS = "conditions"
"""Key of the conditions of a space (`nas.space.notation.recorded_conditions`), beside its decisions."""


def without_folders(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a part without folders of this machine."""
    return {key: value for key, value in settings.items() if key not in FOLDERS}


def identifying(settings: Mapping[str, Any], path: str = "", *, class_paths: bool = False) -> dict[str, Any]:
    """A copy of nested settings without class paths, and without added settings that have their neutral value.

    Args:
        settings: Nested and JSON-safe.
        path: Dotted path of `settings` within those of a command, such as `strategy`; empty: they are the root.
        class_paths: Keep the keys that begin with `_`, as versions up to 0.2.0 did.
    """
    result: dict[str, Any] = _identifying(settings, path, class_paths, types=not class_paths)
    return result


def _identifying(value: Any, path: str, class_paths: bool, *, types: bool) -> Any:
    """See `identifying`; `types`: a key `type` holds the class of a part that was created in Python."""
    if isinstance(value, list | tuple):
        return [_identifying(item, path, class_paths, types=types) for item in value]
    if not isinstance(value, Mapping):
        return value
    types = types and "_target_" not in value  # below a part of a YAML file it is a setting of the user's
    result = {}
    for key, item in value.items():
        inner = f"{path}.{key}" if path else str(key)
        if _is_neutral(inner, item) or (str(key).startswith("_") and not class_paths):
            continue
        is_type = types and key == "type"
        result[key] = _class_name(item) if is_type else _identifying(item, inner, class_paths, types=types)
    return result


def _class_name(value: Any) -> Any:
    """`C` of `module.C`; a function (`module.f`) keeps its path, and anything but a dotted path stays as it is."""
    parts = value.split(".") if isinstance(value, str) else []
    is_class = bool(parts) and all(part.isidentifier() for part in parts) and parts[-1].lstrip("_")[:1].isupper()
    return parts[-1] if is_class else value


def _is_neutral(path: str, value: object) -> bool:
    end = ".".join(path.split(".")[-2:])
    return end in ADDED_SETTINGS and ADDED_SETTINGS[end] == value


def differences(
    stored: Mapping[str, Any], present: Mapping[str, Any], may_differ: Callable[[str], bool] = lambda _key: False
) -> list[str]:
    """Reasons why `present` cannot resume `stored`, one clause each: `trainer.lr=0.1 (now 0.3)`.

    A part that was replaced (`choices.strategy=…`) is listed only by name. A difference in the protocol is listed only
    if no setting differs: differing settings explain it.

    Args:
        stored: Identity as it was recorded; nested and JSON-safe.
        present: Identity of the requested job.
        may_differ: Whether a dotted key may have another value without any effect on the results.

    Returns:
        Nothing if they are the same job; the space, the strategy and the architecture come first.
    """
    old, new = (_flat(identifying(tree)) for tree in (stored, present))
    replaced = [key.partition(".")[2] for key in old if key.startswith("choices.") and old[key] != new.get(key)]
    keys = [key for key in {**old, **new} if not may_differ(key) and not _equal(old.get(key), new.get(key))]
    keys = [key for key in keys if key != DECISIONS and key.partition(".")[0] not in replaced]
    keys.sort(key=lambda key: (_name(key).partition(".")[0] not in ("space", "strategy", "arch"), key))
    texts = {key: f"{_name(key)}={_shown(old, key)} (now {_shown(new, key)})" for key in keys}
    same_space = all(_name(key).partition(".")[0] != "space" for key in keys)
    if same_space:  # another one has other decisions all through
        # the options of a tuned setting follow from its text, which is listed already
        texts |= {
            f"{DECISIONS}.{text}": text
            for text in _changed_decisions(stored, present)
            if not any(text.startswith(f"choices[{key!r}]") for key in keys)
        }
    settings = [text for key, text in texts.items() if not key.startswith("protocol.")]
    if list(texts) == ["protocol.split"]:
        return [f"{texts['protocol.split']}: the images have changed, or read_train does not always return the same"]
    return settings or list(texts.values())


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _equal(old: object, new: object) -> bool:
    return old == new or json.dumps(old) == json.dumps(new)  # NaN equals itself, and a tuple its list


def _name(key: str) -> str:
    """A key as a user sets it."""
    return key.removeprefix("choices.").removeprefix("scheduling.")


def _shown(flat: Mapping[str, Any], key: str) -> str:
    """A value in at most 100 characters of one line."""
    text = "unset" if key not in flat else "null" if flat[key] is None else " ".join(str(flat[key]).split())
    return text if len(text) <= 100 else f"{text[:99]}…"


def _changed_decisions(stored: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Differences between the decisions of two identities: `choices['op']=('a', 'b') (now ('b', 'a'))`.

    Stored architectures hold the options' positions, so they would mean others after any such change.
    """
    if not stored.get(DECISIONS) or not present.get(DECISIONS):
        return []
    old: dict[str, Sequence[str]] = dict(stored[DECISIONS])
    new: dict[str, Sequence[str]] = dict(present[DECISIONS])
    if old.keys() == new.keys() and list(old) != list(new):
        return [f"choices in the order {', '.join(old)} (now {', '.join(new)})"]
    return [
        f"choices[{name!r}]={_options(old.get(name))} (now {_options(new.get(name))})"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]


def _options(options: Sequence[str] | None) -> str:
    return "unset" if options is None else str(tuple(options))
