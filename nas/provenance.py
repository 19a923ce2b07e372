"""Provenance of a run: versions, machine, and a snapshot of the configuration of its parts."""

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

REPR_PACKAGES = ("builtins", "numpy", "pathlib", "torch")
"""Packages whose objects a snapshot holds as their `repr`."""


def environment() -> dict[str, str]:
    """Versions that influence the numbers, and the machine; stored with every run."""
    versions = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        **_versions(),
    }
    torch = sys.modules.get("torch")  # a search without networks does not load it
    if torch is not None and torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        versions["gpu"] = ", ".join(dict.fromkeys(names))  # which of them a run uses is not known here
    return versions


def processor() -> str:
    """Name of the CPU, as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


@cache
def _versions() -> dict[str, str]:
    versions = {}
    for package in ("cellnas", "torch", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    root = Path(__file__).resolve().parent.parent
    if (root / ".git").exists():
        try:
            command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
            versions["commit"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass  # a checkout without git, or without a commit yet
    return versions


def config_snapshot(part: object) -> Any:
    """A part of a search as JSON-safe settings: its class, and the constructor arguments it has as attributes."""
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, partial):
        positional = {"args": config_snapshot(part.args)} if part.args else {}
        return {"type": config_snapshot(part.func), **positional} | {
            k: config_snapshot(value) for k, value in part.keywords.items()
        }
    if isinstance(part, Mapping):
        return {str(key): config_snapshot(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [config_snapshot(value) for value in part]
    if inspect.isroutine(part) or inspect.isclass(part):
        return f"{part.__module__}.{part.__qualname__}"
    return _object_snapshot(part)


def _object_snapshot(part: object) -> Any:
    kind = type(part)
    own = kind.__module__.partition(".")[0] not in REPR_PACKAGES
    if not own or kind.__init__ is object.__init__:
        return {"type": f"{kind.__module__}.{kind.__qualname__}"} if own else repr(part)
    names = _arguments(kind)
    if names is None:
        return repr(part)
    attributes = {name: _attribute_of(kind, name) for name in names}
    settings = {name: config_snapshot(getattr(part, held)) for name, held in attributes.items() if hasattr(part, held)}
    return {"type": f"{kind.__module__}.{kind.__qualname__}"} | settings


def _arguments(kind: type) -> list[str] | None:
    """Names of a constructor's arguments; None if Python does not know them, as for many classes written in C."""
    try:
        return list(inspect.signature(kind).parameters)
    except ValueError:
        return None


def _attribute_of(kind: type, argument: str) -> str:
    """The attribute that holds an argument: of the same name, unless `held_as` of the class says otherwise."""
    held_as: Mapping[str, str] = getattr(kind, "held_as", {})
    return held_as.get(argument, argument)


def jsonable(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a store returns them, for a comparison with stored ones."""
    settings: dict[str, Any] = json.loads(json.dumps(tree, default=config_snapshot))
    return settings


def indistinguishable_parts(part: object) -> list[str]:
    """Pieces of a part whose snapshot would be equal for another piece that computes something else.

    Returns:
        Names of lambdas, of closures, of methods bound to an object, of classes that do not store an argument under its
        name or take it in `__new__`, and of arrays whose `repr` is abbreviated.
    """
    if isinstance(part, partial):
        inner = [part.func, *part.args, *part.keywords.values()]
    elif isinstance(part, Mapping):
        inner = list(part.values())
    elif isinstance(part, list | tuple):
        inner = list(part)
    elif inspect.isroutine(part):
        return _indistinguishable_functions(part)
    elif inspect.isclass(part) or part is None or isinstance(part, bool | int | float | str):
        return []
    else:
        kind = type(part)
        package = kind.__module__.partition(".")[0]
        names: list[str] = []
        if package not in REPR_PACKAGES:
            if kind.__init__ is not object.__init__:
                names = _arguments(kind) or []
            elif kind.__new__ is not object.__new__:
                return [f"{kind.__qualname__}, which takes its arguments in __new__,"]
        elif package in ("numpy", "torch") and "..." in repr(part):
            return [f"{package}.{kind.__qualname__} with many values, of which only the first and last are recorded,"]
        attributes = {name: _attribute_of(kind, name) for name in names}
        missing = [name for name, held in attributes.items() if not hasattr(part, held)]
        if missing:
            return [f"{kind.__qualname__}, which has no attribute {missing[0]!r} for its argument"]
        inner = [getattr(part, held) for held in attributes.values()]
    return [name for value in inner for name in indistinguishable_parts(value)]


def _indistinguishable_functions(part: Any) -> list[str]:
    if inspect.ismethod(part) and not inspect.isclass(part.__self__):
        return [f"the method {part.__qualname__}"]
    if not inspect.isfunction(part):
        return []
    if part.__name__ == "<lambda>":
        return [f"a lambda of {part.__module__}"]
    has_defaults = "<locals>" in part.__qualname__ and (part.__defaults__ or part.__kwdefaults__)
    return [f"the function {part.__qualname__}, which holds values"] if part.__closure__ or has_defaults else []
