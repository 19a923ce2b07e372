"""`key=value` of the command line: parsed, checked against the YAML, and assigned.

Hydra's grammar reads lists, mappings, numbers and quotes; anything it rejects is text. A value must be of the same kind
as the one in the YAML, and a misspelt key is reported with the closest valid one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from nas.errors import UsageError
from nas.space.specification import EXAMPLE, one_spelling
from nas.validation import as_written

RAW_KEYS = (
    "run",
    "sweep",
    "where",
    "from",
    "rename",
    "sweep_dir",
    "comparison",
    "arch",
    "weights",
    "model",
    "out",
    "dir",
    "store.url",
    "data.root",
    "fix",
    "data.cache",
    "data.labels",
    "data.group",
    "table.root",
)
"""Keys whose value is used verbatim: names, paths and architectures may look like numbers, lists or mappings."""
TUNE = "tune"
"""Key of the settings that a search decides; the value of each is a decision as text, such as `float(0.1, 1)`."""
NULLABLE_KEYS = ("table.cost", "backbone", "space.backbone")
"""Keys of text that may be null though their default is not."""
LISTS_OF_TEXT = ("strategies",)
"""Keys whose value is a list of texts that may have brackets and commas of their own, `[random,reinforce(lr=0.5)]`."""


def assign(
    config: DictConfig,
    base: DictConfig,
    key: str,
    value: str,
    groups: Mapping[str, str | None],
    *,
    owners: Callable[[str, str], Sequence[str]],
) -> None:
    """Assign one value of the command line.

    Args:
        config: Changed in place.
        base: Configuration before any assignment; defines which keys exist, and their kinds.
        key: Dotted; `+` before it adds a setting to a part.
        value: As typed.
        groups: Every group of the command, with its chosen option.
        owners: (group, setting) -> the options of the group that have the setting.

    Raises:
        UsageError: The key does not exist, or the value is of the wrong kind.
    """
    name = key.lstrip("+")
    if name.startswith("~"):
        raise UsageError(f"{name}={value}: settings cannot be removed; expected key=value")
    existing = keys(base)
    if name.startswith(f"{TUNE}.") and TUNE in base:
        setting = name.removeprefix(f"{TUNE}.")  # which may have dots
        config[TUNE] = dict(sorted({**config[TUNE], setting: one_spelling(_text(value))}.items()))
        return
    if name == TUNE and TUNE in base:
        raise UsageError(f"{name}={value}: expected {TUNE}.SETTING=DECISION, such as {TUNE}.lr='{EXAMPLE}'")
    if name in groups:
        raise UsageError(f"{name} is a group; expected one of its options or {name}.SETTING=value")
    part, _, setting = name.partition(".")
    addable = key.startswith("+") and setting and groups.get(part) and not setting.rpartition(".")[2].startswith("_")
    if name not in existing and not addable:
        if setting and part in groups and (options := owners(part, setting)):
            chosen = f"{part}={groups[part] or 'null'}"
            raise UsageError(f"{name} belongs to {part}={_either(options)}, but {chosen} is chosen; change one of them")
        raise UsageError(f"unknown key {name!r}{closest(name, [*existing, *groups])}")
    default = OmegaConf.select(base, name) if name in existing else None
    if value == "???":
        raise UsageError(f"{name}=??? is not a value")
    parsed = _parse(name, value, default)
    if name.partition(".")[0] not in groups and OmegaConf.is_dict(default) and isinstance(parsed, dict):
        _assign_each(config, base, name, parsed)
        return
    OmegaConf.update(config, name, _of_kind(name, default, parsed), merge=False, force_add=True)


def assigned(values: Sequence[tuple[str, str]]) -> set[str]:
    """Dotted keys that the command line sets, those within a mapping such as `network={channels: 8}` included."""
    found = set[str]()
    for key, value in values:
        name = key.lstrip("+")
        found.add(name)
        parsed = _parse(name, value, None)
        if isinstance(parsed, Mapping):
            found |= {f"{name}.{inner}" for inner in parsed}
    return found


def _either(options: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last


def _assign_each(config: DictConfig, base: DictConfig, name: str, values: Mapping[str, Any]) -> None:
    """Assign each value of a mapping of the command, such as `budget={hours: 1}`; the others stay."""
    existing = keys(base)
    for inner, value in values.items():
        key = f"{name}.{inner}"
        if key not in existing:
            raise UsageError(f"unknown key {key!r}{closest(key, existing)}")
        OmegaConf.update(config, key, _of_kind(key, OmegaConf.select(base, key), value), merge=False)


def literal(value: Any, origin: str) -> Any:
    """A value of a file or a store as plain data: no text is an interpolation, and no mapping names a target.

    Args:
        value: Value in the file or the store.
        origin: Source of the value, for the message.

    Raises:
        UsageError: A text has `${`, which would read this machine's environment, or a mapping has a key such as
            `_target_`, which would run code of the file's choosing.
    """
    if isinstance(value, str):
        if "${" in value:
            raise UsageError(
                f"{origin} contains {as_written(value)}, and interpolation is not allowed; it was not used"
            )
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key.startswith("_"):
                raise UsageError(f"{origin} contains the key {key!r}, which is not a setting; it was not used")
        return {key: literal(inner, origin) for key, inner in value.items()}
    return [literal(inner, origin) for inner in value] if isinstance(value, list | tuple) else value


def _has_numbers(default: Any) -> bool:
    """Whether a list holds numbers, so that the items of another one are numbers too."""
    return len(default) > 0 and all(isinstance(item, int | float) for item in default)


def _parse(key: str, value: str, default: Any) -> Any:
    """A value as Hydra reads it; anything Hydra's grammar rejects is text."""
    if key in RAW_KEYS:
        return None if value == "null" else _text(value)
    if key in LISTS_OF_TEXT or (OmegaConf.is_list(default) and not _has_numbers(default)):
        return [_raw(item) for item in list_items(value)]
    try:
        parsed = OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException:
        return _text(value)
    if parsed.is_sweep_override():
        if default is None or isinstance(default, str):
            return _text(value)
        raise UsageError(
            f"{key}={value} contains several values; expected one (a list is written [a,b]), or -m to run the command "
            "for each"
        )
    return parsed.value()


QUOTED_ITEM = re.compile(r"""\s*(["'])(.*?)\1\s*(?:,|$)""", re.DOTALL)
"""An item of a list in quotes, with the comma after it; quotes within an item (`it's.png`) are part of it."""


def list_items(text: str) -> list[str]:
    """The items of a list, separated by the commas outside of brackets and quotes.

    The list's own brackets may be left out, and so may those of a list whose quotes a shell has left.
    """
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    elif (whole := QUOTED_ITEM.fullmatch(text)) and whole[2].startswith("[") and whole[2].endswith("]"):
        return list_items(whole[2])
    items, start = [], 0
    while start < len(text):
        quoted = QUOTED_ITEM.match(text, start)
        if quoted:
            items.append(quoted[2])
            start = quoted.end()
            continue
        end = _item_end(text, start)
        items.append(text[start:end].strip())
        start = end + 1
    return [item for item in items if item]


def _item_end(text: str, start: int) -> int:
    """Index of the comma after an item, or the text's end; an unclosed bracket is an ordinary character."""
    depth = 0
    for index in range(start, len(text)):
        character = text[index]
        depth = max(0, depth + (character in "([{") - (character in ")]}"))
        if character == "," and depth == 0:
            return index
    if depth > 0 and "," in text[start:]:
        return text.index(",", start)
    return len(text)


SEVERAL = re.compile(r"\s*\w+\s*\(.*|.*[,;].*|\s*[\d.]+\s*[-:. ]\s*[\d.]+\s*", re.DOTALL)
"""Text for a number that was probably meant as several: `range(0,3`, `0;1`, `0..3`, `0-3`."""


def _of_kind(key: str, default: Any, value: Any) -> Any:
    """The value, if it is of the kind of the default; a null default accepts anything, and a number may become null."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if default is None:
        return value
    if isinstance(default, bool):
        good, kind = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        good, kind = value is None or (isinstance(value, int) and number), "a whole number"
    elif isinstance(default, float):
        good, kind = value is None or number, "a number"
    elif isinstance(default, str):
        good, kind = isinstance(value, str) or number, "text"
        value = str(value) if good else value
        good = good or (value is None and key in NULLABLE_KEYS)
    elif OmegaConf.is_dict(default):
        good, kind = isinstance(value, dict), "a mapping"
    else:
        good, kind = isinstance(value, list), "a list"
    if not good:
        hint = ""
        if OmegaConf.is_dict(default) and default:
            hint = f"; it has {', '.join(f'{key}.{name}' for name in default)}"
        elif isinstance(default, int | float) and isinstance(value, str) and SEVERAL.fullmatch(value):
            several = f"{key}=true,false" if isinstance(default, bool) else f"{key}=0,1 or {key}=range(0,5)"
            hint = f"; several values are written {several}, with -m"
        raise UsageError(f"{key} must be {kind}, got {as_written(value)}{hint}")
    return value


def keys(config: DictConfig) -> list[str]:
    """Every dotted key, inner ones included; what an interpolation refers to is not repeated."""

    def walk(tree: Mapping[Any, Any], prefix: str) -> list[str]:
        names = []
        for key, value in tree.items():
            if not str(key).startswith("_"):
                names.append(f"{prefix}{key}")
                if isinstance(value, Mapping):
                    names += walk(value, f"{prefix}{key}.")
        return names

    tree = OmegaConf.to_container(config, resolve=False)
    assert isinstance(tree, dict)
    return walk(tree, "")


def closest(name: str, existing: Sequence[str]) -> str:
    """Text to append to an error, ` (did you mean …?)`, or nothing if no name is close.

    A key without its group finds the whole one, `learning_rate` the abbreviation `lr`, and `max_failures` `failures`.
    """
    name_meant = closest_name(name, [key for key in existing if key != name])
    return f" (did you mean {name_meant!r}?)" if name_meant else ""


def closest_name(name: str, existing: Sequence[str]) -> str | None:
    """The name that was probably meant, or None."""
    last_part = name.rpartition(".")[2]
    for exact in (name, last_part.removeprefix("max_"), _initials(last_part)):
        group = name.rpartition(".")[0] if exact != name else ""
        for key in existing:
            key_group, _, key_name = key.rpartition(".")
            if exact and key_name == exact and (not group or group == key_group):
                return key
    if close := difflib.get_close_matches(name, existing, n=1, cutoff=0.5):
        return close[0]
    by_last_part = {key.rpartition(".")[2]: key for key in existing}
    close = difflib.get_close_matches(last_part, list(by_last_part), n=1, cutoff=0.6)
    return by_last_part[close[0]] if close else None


def _initials(name: str) -> str:
    """`lr` of `learning_rate`; empty for a single word."""
    parts = name.split("_")
    return "".join(part[:1] for part in parts) if len(parts) > 1 else ""


def unquoted(value: str) -> str:
    """The text within quotes that a shell has left; other text unchanged."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def _text(value: str) -> str:
    return _raw(unquoted(value))


def _raw(value: str) -> str:
    return value.replace("${", "\\${")  # raw text is not an interpolation
