"""The parts of a search as settings, for runs that are made from Python and not from YAML."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any


def describe(part: object) -> Any:
    """A part of a search as JSON-safe settings: its class, and what it keeps of its constructor's arguments."""
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, partial):
        return {"type": describe(part.func)} | {key: describe(value) for key, value in part.keywords.items()}
    if isinstance(part, Mapping):
        return {str(key): describe(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [describe(value) for value in part]
    if inspect.isroutine(part) or inspect.isclass(part):
        return f"{part.__module__}.{part.__qualname__}"
    return _described_object(part)


def _described_object(part: object) -> Any:
    kind = type(part)
    own = kind.__module__.partition(".")[0] not in ("builtins", "numpy", "pathlib", "torch")
    if not own or kind.__init__ is object.__init__:
        return {"type": f"{kind.__module__}.{kind.__qualname__}"} if own else repr(part)
    kept = {key: describe(getattr(part, key)) for key in inspect.signature(kind).parameters if hasattr(part, key)}
    return {"type": f"{kind.__module__}.{kind.__qualname__}"} | kept
