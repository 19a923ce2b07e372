"""Why a part cannot be constructed from its YAML, in the user's terms instead of Hydra's or Python's."""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib import import_module

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.config.overrides import closest, closest_name
from nas.errors import located

UNEXPECTED_ARGUMENT = re.compile(
    r"(?P<name>\w+)(\.__init__)?\(\) got an unexpected keyword argument '(?P<argument>[^']*)'.*"
)
MISSING_ARGUMENTS = re.compile(r"(?P<name>\w+)(\.__init__)?\(\) missing \d+ required .*?arguments?: (?P<arguments>.+)")
GIVEN_ARGUMENTS = ("space", "objective")
"""Arguments that the command passes, so that no YAML has them."""


def underlying(error: BaseException) -> BaseException:
    """The exception that a part raised while it was constructed, without Hydra's wrapping."""
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def construction_failure(config: DictConfig, key: str, error: BaseException) -> str:
    """Why a part at `key` cannot be constructed; a setting that its class does not take is named by its key.

    Args:
        config: Configuration of the whole command.
        key: Key of the part, such as `space`.
        error: Exception that Hydra or the part raised.
    """
    cause = underlying(error)
    if not isinstance(cause, HydraException | OmegaConfBaseException | ImportError | TypeError):
        return located(cause)
    inner = re.search(r"full_key: ([\w.]+)", str(error)) if error is not cause else None
    node = inner[1] if inner else key
    if node.rpartition(".")[2] in config:  # a part of its own, which this one refers to
        node = node.rpartition(".")[2]
    target = (OmegaConf.select(config, node) or {}).get("_target_")
    if isinstance(target, str) and (reason := missing_class(target)):
        return f"{node}._target_={target} {reason}"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    settings = [str(name) for name in OmegaConf.select(config, node) or {} if not str(name).startswith("_")]
    unexpected = UNEXPECTED_ARGUMENT.fullmatch(lines[0]) if lines else None
    if unexpected and unexpected["argument"] in settings:
        name = unexpected["argument"]
        meant = closest_name(name, _arguments(target))
        hint = f" (did you mean {node}.{meant}?)" if meant else ""
        return f"{node}.{name} is not a setting of {unexpected['name']}{hint}; leave it out"
    missing = MISSING_ARGUMENTS.fullmatch(lines[0]) if lines else None
    if missing:
        names = [
            name for name in re.findall(r"'(\w+)'", missing["arguments"]) if name not in (*settings, *GIVEN_ARGUMENTS)
        ]
        if names:
            return f"{missing['name']} needs {', '.join(f'{node}.{name}' for name in names)}; add it to the YAML"
    return " ".join(lines[:2]).replace(":;", ":")


def missing_class(target: str) -> str | None:
    """Why `module.Class` cannot be found; None if it can, or if importing its module fails.

    A failing import is another kind of mistake, and its own message says more.
    """
    module, _, name = target.rpartition(".")
    if not module:
        return "has no module; expected module.Class"
    try:
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError
    except (ImportError, AttributeError, ValueError):
        return f"cannot be found: there is no module {module} in the current folder or among the installed ones"
    try:
        imported = sys.modules.get(module) or import_module(module)
    except Exception:  # noqa: BLE001 (a user's module may raise anything)
        return None
    if hasattr(imported, name):
        return None
    classes = [
        attribute
        for attribute, value in vars(imported).items()
        if isinstance(value, type) and value.__module__ == module
    ]
    return f"cannot be found: module {module} has no class {name}{closest(name, classes)}"


def _arguments(target: object) -> list[str]:
    """Arguments of a class that a YAML can set; none if they cannot be read."""
    from inspect import signature

    module, _, name = str(target).rpartition(".")
    try:
        return [
            argument
            for argument in signature(getattr(import_module(module), name)).parameters
            if argument not in GIVEN_ARGUMENTS
        ]
    except (ImportError, AttributeError, TypeError, ValueError):
        return []
