"""`key=value` on the command line: read, checked against the YAML, and put in its place.

Hydra's grammar reads lists, mappings, numbers and quotes; what it refuses is text. A value must be of the kind of the
one in the YAML, and a misspelt key is answered with the closest right one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.errors import UsageError, located
from nas.validation import shown

RAW_KEYS = ("run", "comparison", "arch", "weights", "model", "out", "dir", "store.url", "data.root", "table.root")
"""Keys whose value is taken as it stands: names, paths and architectures may look like numbers, lists or mappings."""
NULLABLE = ("table.cost",)
"""Keys of text that may be null though their default is not."""
LISTS_OF_TEXT = ("strategies",)
"""Keys whose value is a list of words that may have brackets and commas of their own, `[random,reinforce(lr=0.5)]`."""

UNEXPECTED = re.compile(r"(?P<made>\w+)(\.__init__)?\(\) got an unexpected keyword argument '(?P<name>\w+)'")


def assign(config: DictConfig, base: DictConfig, key: str, value: str, groups: Mapping[str, str | None]) -> None:
    """Put one value of the command line in its place.

    Args:
        config: changed in place.
        base: the configuration before any value was put in; says which keys there are, and of what kind.
        key: dotted; `+` before it adds a setting to a part.
        value: as typed.
        groups: every group of the command, with its chosen option.

    Raises:
        UsageError: there is no such key, or the value is not of its kind.
    """
    name = key.lstrip("+")
    if name.startswith("~"):
        raise UsageError(f"{name}={value}: settings cannot be taken away; expected key=value")
    there = keys(base)
    if name in groups:
        raise UsageError(f"{name} is a group; expected one of its options or {name}.SETTING=value")
    part, _, setting = name.partition(".")
    addable = key.startswith("+") and setting and groups.get(part) and not setting.rpartition(".")[2].startswith("_")
    if name not in there and not addable:
        raise UsageError(f"unknown key {name!r}{closest(name, [*there, *groups])}")
    default = OmegaConf.select(base, name) if name in there else None
    if value == "???":
        raise UsageError(f"{name}=??? is not a value")
    parsed = _parse(name, value, default)
    if name.partition(".")[0] not in groups and OmegaConf.is_dict(default) and isinstance(parsed, dict):
        _assign_each(config, base, name, parsed)
        return
    OmegaConf.update(config, name, _of_kind(name, default, parsed), merge=False, force_add=True)


def _assign_each(config: DictConfig, base: DictConfig, name: str, values: Mapping[str, Any]) -> None:
    """Put each value of a mapping of the command, such as `budget={hours: 1}`, in its place; the others stay."""
    there = keys(base)
    for inner, value in values.items():
        key = f"{name}.{inner}"
        if key not in there:
            raise UsageError(f"unknown key {key!r}{closest(key, there)}")
        OmegaConf.update(config, key, _of_kind(key, OmegaConf.select(base, key), value), merge=False)


def literal(value: Any, origin: str) -> Any:
    """A value of a file or a store as plain data: no text is an interpolation, and no mapping names a target.

    Raises:
        UsageError: a text has `${`, which would read this machine's environment, or a mapping has a key such as
            `_target_`, which would run code of the file's choosing.
    """
    if isinstance(value, str):
        if "${" in value:
            raise UsageError(f"{origin} holds {shown(value)}, which refers to something else; it was not used")
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key.startswith("_"):
                raise UsageError(f"{origin} holds the key {key!r}, which no setting has; it was not used")
        return {key: literal(inner, origin) for key, inner in value.items()}
    return [literal(inner, origin) for inner in value] if isinstance(value, list | tuple) else value


def _parse(key: str, value: str, default: Any) -> Any:
    """A value as Hydra reads it; text that is not of its grammar as it stands."""
    if key in RAW_KEYS:
        return None if value == "null" else _text(value)
    if key in LISTS_OF_TEXT or OmegaConf.is_list(default):
        return [_raw(word) for word in words(value)]
    try:
        parsed = OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException:
        return _text(value)
    if parsed.is_sweep_override():
        if default is None or isinstance(default, str):
            return _text(value)
        raise UsageError(f"{key}={value} names several values; expected one (a list is written [a,b])")
    return parsed.value()


QUOTED = re.compile(r"""\s*(["'])(.*?)\1\s*(?:,|$)""", re.DOTALL)
"""A word of a list in quotes, with the comma after it; quotes within a word (`it's.png`) are part of it."""


def words(text: str) -> list[str]:
    """The words of a list, parted by the commas that stand in no brackets and no quotes.

    The list's own brackets may be left out, and so may those of a list whose quotes a shell has left.
    """
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    elif (whole := QUOTED.fullmatch(text)) and whole[2].startswith("[") and whole[2].endswith("]"):
        return words(whole[2])
    found, start = [], 0
    while start < len(text):
        quoted = QUOTED.match(text, start)
        if quoted:
            found.append(quoted[2])
            start = quoted.end()
            continue
        end = _word_end(text, start)
        found.append(text[start:end].strip())
        start = end + 1
    return [word for word in found if word]


def _word_end(text: str, start: int) -> int:
    """Where the comma after a word is, or the end; a bracket that nothing closes is a sign like any other."""
    depth = 0
    for place in range(start, len(text)):
        sign = text[place]
        depth = max(0, depth + (sign in "([{") - (sign in ")]}"))
        if sign == "," and depth == 0:
            return place
    if depth > 0 and "," in text[start:]:
        return text.index(",", start)
    return len(text)


def _of_kind(key: str, default: Any, value: Any) -> Any:
    """The value, if it is of the kind of the default; a null default takes anything, and a number may become null."""
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
        good = good or (value is None and key in NULLABLE)
    elif OmegaConf.is_dict(default):
        good, kind = isinstance(value, dict), "a mapping"
    else:
        good, kind = isinstance(value, list), "a list"
    if not good:
        raise UsageError(f"{key} must be {kind}, got {'null' if value is None else repr(value)}")
    return value


def keys(config: DictConfig) -> list[str]:
    """Every dotted key, inner ones included; what an interpolation refers to is not repeated."""

    def walk(tree: Mapping[Any, Any], prefix: str) -> list[str]:
        found = []
        for key, value in tree.items():
            if not str(key).startswith("_") and not (prefix == "" and key == "hydra"):
                found.append(f"{prefix}{key}")
                if isinstance(value, Mapping):
                    found += walk(value, f"{prefix}{key}.")
        return found

    tree = OmegaConf.to_container(config, resolve=False)
    assert isinstance(tree, dict)
    return walk(tree, "")


def closest(word: str, there: Sequence[str]) -> str:
    """Text to append to an error, ` (did you mean …?)`, or nothing where no word is close.

    A key without its group finds the whole one.
    """
    there = [key for key in there if key != word]
    whole = [key for key in there if key.rpartition(".")[2] == word]
    close = whole or difflib.get_close_matches(word, there, n=1, cutoff=0.5)
    if not close:
        tails = {key.rpartition(".")[2]: key for key in there}
        close = [
            tails[tail] for tail in difflib.get_close_matches(word.rpartition(".")[2], list(tails), n=1, cutoff=0.6)
        ]
    return f" (did you mean {close[0]!r}?)" if close else ""


def underlying(error: BaseException) -> BaseException:
    """What a part raised as it was made, without what Hydra has put around it."""
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def not_made(config: DictConfig, key: str, error: BaseException) -> str:
    """Why a part at `key` cannot be made, in words; a setting that its class does not take is named by its key."""
    cause = underlying(error)
    if not isinstance(cause, HydraException | OmegaConfBaseException | ImportError | TypeError):
        return located(cause)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    refused = UNEXPECTED.fullmatch(lines[0]) if lines else None
    if refused:
        inner = re.search(r"full_key: ([\w.]+)", str(error)) if error is not cause else None
        place = inner[1] if inner else key
        if place.rpartition(".")[2] in config:  # a part of its own, which this one refers to
            place = place.rpartition(".")[2]
        if refused["name"] in (OmegaConf.select(config, place) or {}):
            return f"{place}.{refused['name']} is not a setting of {refused['made']}; leave it out"
    return " ".join(lines[:2]).replace(":;", ":")


def unquoted(value: str) -> str:
    """The text within quotes that a shell has left; other text as it stands."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def _text(value: str) -> str:
    return _raw(unquoted(value))


def _raw(value: str) -> str:
    return value.replace("${", "\\${")  # raw text is no interpolation
