"""What a run was made with: versions, machine, and its parts as settings (the config snapshot)."""

from __future__ import annotations

import inspect
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FOREIGN = ("builtins", "numpy", "pathlib", "torch")
"""Packages whose objects are described by their `repr`."""


def environment() -> dict[str, str]:
    """Versions of what decides the numbers, and the machine; kept with every run."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}", **_versions()}
    torch = sys.modules.get("torch")  # a search without networks does not load it
    if torch is not None and torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        found["gpu"] = ", ".join(dict.fromkeys(names))  # which of them a run takes is not known here
    return found


def processor() -> str:
    """The name of the CPU, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


@cache
def _versions() -> dict[str, str]:
    found = {}
    for package in ("cellnas", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    root = Path(__file__).resolve().parent.parent
    if (root / ".git").exists():
        try:
            words = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
            found["commit"] = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass  # a checkout without git, or without a commit yet
    return found


def describe(part: object) -> Any:
    """A part of a search as JSON-safe settings: its class, and what it keeps of its constructor's arguments."""
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, partial):
        positional = {"args": describe(part.args)} if part.args else {}
        return {"type": describe(part.func), **positional} | {k: describe(value) for k, value in part.keywords.items()}
    if isinstance(part, Mapping):
        return {str(key): describe(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [describe(value) for value in part]
    if inspect.isroutine(part) or inspect.isclass(part):
        return f"{part.__module__}.{part.__qualname__}"
    return _described_object(part)


def _described_object(part: object) -> Any:
    kind = type(part)
    own = kind.__module__.partition(".")[0] not in FOREIGN
    if not own or kind.__init__ is object.__init__:
        return {"type": f"{kind.__module__}.{kind.__qualname__}"} if own else repr(part)
    names = _arguments(kind)
    if names is None:
        return repr(part)
    kept = {key: describe(getattr(part, key)) for key in names if hasattr(part, key)}
    return {"type": f"{kind.__module__}.{kind.__qualname__}"} | kept


def _arguments(kind: type) -> list[str] | None:
    """Names of a constructor's arguments; None where Python cannot tell them, as for many classes in C."""
    try:
        return list(inspect.signature(kind).parameters)
    except ValueError:
        return None


def jsonable(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a store gives them back, so that they can be compared with stored ones."""
    found: dict[str, Any] = json.loads(json.dumps(tree, default=describe))
    return found


def indistinguishable_parts(part: object) -> list[str]:
    """What of a part its description does not tell from another of its kind: two such parts look alike.

    Returns:
        Names of lambdas, of functions that keep values of where they were made, of methods bound to an object, of
        classes that do not keep an argument under its name or take it in `__new__`, and of arrays of which `repr` shows
        the ends only.
    """
    if isinstance(part, partial):
        inner = [part.func, *part.args, *part.keywords.values()]
    elif isinstance(part, Mapping):
        inner = list(part.values())
    elif isinstance(part, list | tuple):
        inner = list(part)
    elif inspect.isroutine(part):
        return _look_alike_functions(part)
    elif inspect.isclass(part) or part is None or isinstance(part, bool | int | float | str):
        return []
    else:
        kind = type(part)
        package = kind.__module__.partition(".")[0]
        names: list[str] = []
        if package not in FOREIGN:
            if kind.__init__ is not object.__init__:
                names = _arguments(kind) or []
            elif kind.__new__ is not object.__new__:
                return [f"{kind.__qualname__}, which takes its arguments in __new__,"]
        elif package in ("numpy", "torch") and "..." in repr(part):
            return [f"{package}.{kind.__qualname__} of many values, of which the first and last are kept,"]
        unkept = [name for name in names if not hasattr(part, name)]
        if unkept:
            return [f"{kind.__qualname__}, which has no attribute {unkept[0]!r} for its argument"]
        inner = [getattr(part, name) for name in names]
    return [found for value in inner for found in indistinguishable_parts(value)]


def _look_alike_functions(part: Any) -> list[str]:
    if inspect.ismethod(part) and not inspect.isclass(part.__self__):
        return [f"the method {part.__qualname__}"]
    if not inspect.isfunction(part):
        return []
    if part.__name__ == "<lambda>":
        return [f"a lambda of {part.__module__}"]
    made = "<locals>" in part.__qualname__ and (part.__defaults__ or part.__kwdefaults__)
    return [f"the function {part.__qualname__}, which keeps values"] if part.__closure__ or made else []
