"""Decisions written as text.

`float(0.005, 0.5, log)`, `integer(16, 512, step=16)`, `ordinal(3, 5, 7)` or `categorical(sgd, adamw)`.
"""

from __future__ import annotations

import re
from typing import Any

from nas.errors import UsageError
from nas.formatting import did_you_mean
from nas.space.decisions import Categorical, Decision, Float, Integer, Ordinal

KINDS: dict[str, type[Decision]] = {"categorical": Categorical, "float": Float, "integer": Integer, "ordinal": Ordinal}
ALIASES = {"int": "integer", "choice": "categorical", "uniform": "float"}
EXAMPLE = "float(0.005, 0.5, log)"
FLAGS = ("log",)


def parse_decision(key: str, text: Any) -> Decision:
    """Read a decision.

    Args:
        key: Setting that it is the value of, for messages.
        text: `KIND(OPTION, …)`; ranges take `log` or `log=true`, `steps=N`, and `step=N`.

    Raises:
        UsageError: It is not such a text, or the range is wrong.
    """
    match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", text, re.DOTALL) if isinstance(text, str) else None
    if match is None:
        raise UsageError(f"{key}={text} is one value; expected several, such as {EXAMPLE} or categorical(a, b)")
    name = match[1].lower()
    kind = KINDS.get(ALIASES.get(name, name))
    if kind is None:
        hint = did_you_mean(name, [*KINDS, *ALIASES])
        raise UsageError(f"{key}={text}: unknown kind {match[1]!r}{hint}; expected one of {', '.join(KINDS)}")
    values: list[Any] = []
    named: dict[str, Any] = {}
    for word in (one.strip() for one in match[2].split(",") if one.strip()):
        setting, sign, value = word.partition("=")
        if kind in (Float, Integer) and (sign or word in FLAGS):
            named[setting.strip()] = _value(value) if sign else True
        else:
            values.append(_value(word))
    try:
        if kind in (Categorical, Ordinal):
            if len({str(value) if isinstance(value, bool) else value for value in values}) < len(values):
                raise UsageError("an option is listed twice; expected each once")
            return kind(values)
        if len(values) != 2:
            raise UsageError(f"a range has a low and a high number, got {len(values)}")
        return kind(*values, **named)
    except UsageError as error:
        fault = re.sub(r"^\w+\([^)]*\)(: )?", "", str(error))  # the range stands before it, as it was written
        raise UsageError(f"{key}={text}: {'it' * fault.startswith(' ')}{fault}") from None
    except TypeError:
        allowed = "log, steps" if kind is Float else "log, step, steps"
        unknown = ", ".join(name for name in named if name not in allowed.split(", "))
        raise UsageError(f"{key}={text}: {unknown} is unknown; a range takes {allowed}") from None


WORDS = {"true": True, "false": False, "null": None}


def _value(word: str) -> Any:
    """A number, true, false, null or text."""
    if word.lower() in WORDS:
        return WORDS[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def one_spelling(text: str) -> str:
    """A decision in the spelling by which two of them are compared: `float(0.1, 1, log)`."""
    tight = re.sub(r"\s*([(=)])\s*", r"\1", text.strip())
    return re.sub(r"\s*,\s*", ", ", tight)
