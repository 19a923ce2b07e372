"""Settings that would have no effect are refused: a command never ignores what the user set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.config.composition import composed
from nas.config.overrides import TUNE, assigned, closest_name, keys
from nas.errors import UsageError
from nas.validation import as_written

CODE_SPACE, CODE_SETTINGS = "fixed", ("network", "of")
"""The space that imports what some of its settings name, and these settings."""
EVALUATED_PARTS = ("data", "trainer", "table")
"""Parts that matter to a search only through its evaluator."""


def refuse_nulls(arguments: Sequence[str], groups: Mapping[str, str | None], final: Mapping[str, str | None]) -> None:
    """Refuse `supernet=null` and the like if another choice brings one: it would be ignored.

    Args:
        arguments: `key=value` each, as given.
        groups: Groups of the command.
        final: Group -> chosen option once everything is composed.

    Raises:
        UsageError: An argument is such a null.
    """
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in groups and value == "null" and final.get(key) is not None:
            raise UsageError(f"{key}=null: the other parts need one and chose {key}={final[key]}; leave {key} out")


def refuse_unused_supernet(command: str, chosen: Mapping[str, str], config_dir: Path | None) -> None:
    """Refuse `supernet=` if no part trains one. Parts that train a supernet choose one themselves.

    Raises:
        UsageError: A supernet was chosen and neither strategy nor evaluator trains one.
    """
    if "supernet" not in chosen:
        return
    others = [f"{group}={option}" for group, option in chosen.items() if group != "supernet"]
    if composed(command, others, config_dir).choices.get("supernet") is None:
        raise UsageError(
            f"supernet={chosen['supernet']} has no effect, since neither strategy nor evaluator trains one; leave it "
            "out"
        )


def refuse_overruled(config: DictConfig, values: Sequence[tuple[str, str]]) -> None:
    """Refuse a size of the space that the trainer sets too: the trainer's would be used.

    Args:
        config: Composed, before any value of the command line.
        values: (key, value) of the command line.

    Raises:
        UsageError: There is one; names the trainer's key.
    """
    network = OmegaConf.select(config, "trainer.network") or {}
    for key, value in values:
        part, _, size = key.partition(".")
        if part == "space" and size in network and not any(other.startswith("trainer.network") for other, _ in values):
            raise UsageError(
                f"{key}={value} has no effect, since the trainer sets "
                f"trainer.network.{size}={as_written(network[size])}; set that instead"
            )


def check_evaluated(
    config: DictConfig,
    values: Sequence[tuple[str, str]],
    choices: Mapping[str, str | None],
    options: Mapping[str, Sequence[str]],
) -> None:
    """Check that the evaluator has the parts it refers to, and that no unused part is set.

    Args:
        config: Composed, before any value of the command line.
        values: (key, value) of the command line.
        choices: Group -> chosen option.
        options: Options of every group.

    Raises:
        UsageError: A part is missing, or a setting has no effect.
    """
    if "executor" not in config:
        return
    evaluator = choices.get("evaluator")
    # a strategy that learns on a supernet trains it on the images, no matter what scores its architectures
    used = used_parts(config) | ({"data"} if choices.get("supernet") else set())
    for part in sorted(_references(config.get("evaluator"), required=True)):
        if part in choices and part not in config:
            raise UsageError(
                f"evaluator={evaluator} needs a {part}; set {part}= to one of {', '.join(options.get(part, []))}"
            )
    for key, value in values:
        part = key.lstrip("+~").partition(".")[0]
        if key == "workers" and "executor" in config and "workers" not in _references(config.executor):
            raise UsageError(
                f"workers={value} has no effect with executor={choices.get('executor')}; add executor=processes"
            )
        # a part may be used for one of its settings only, as a table uses the folder of its data set
        names = {name for name in used if name in (part, key) or (key == part and name.startswith(f"{part}."))}
        if part == "discretization" and part not in _references(config.get("strategy")):
            raise UsageError(
                f"{key}={value} has no effect, since strategy={choices.get('strategy')} does not use it; leave it out"
            )
        if "evaluator" in config and part in EVALUATED_PARTS and not names:
            raise UsageError(
                f"{key}={value} has no effect, since evaluator={evaluator} does not use it; leave it out, or choose "
                "another evaluator="
            )


def refuse_inherited_code(
    inherited: Mapping[str, tuple[str, Mapping[str, Any]]], values: Sequence[tuple[str, str]]
) -> None:
    """Refuse a class or function that a run or a file names: importing it runs code of the file's choosing.

    Args:
        inherited: Group -> (option, settings) of the run or the file.
        values: (key, value) of the command line; what it repeats is the user's own.

    Raises:
        UsageError: There is one.
    """
    for key, path in inherited_code(inherited).items():
        if dict(values).get(key) != path:
            raise UsageError(
                f"{key}={path} is code that the run or the file names, and that would be imported; if you trust it, "
                f"add {key}={path} to the command"
            )


def inherited_code(parts: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Key -> dotted path of each class or function among the settings of parts."""
    option, settings = parts.get("space", ("", {}))
    named = {f"space.{key}": settings.get(key) for key in CODE_SETTINGS if option == CODE_SPACE}
    return {key: path for key, path in named.items() if isinstance(path, str) and "." in path}


def check_tuned(config: DictConfig, values: Sequence[tuple[str, str]], choices: Mapping[str, str | None]) -> None:
    """Check that every tuned setting is one of the trainer's and has an effect.

    Args:
        config: Composed, with the values of the command line.
        values: (key, value) of the command line.
        choices: Group -> chosen option.

    Raises:
        UsageError: One is no setting, is also given a value, or does not reach the evaluator.
    """
    tune, trainer = config.get(TUNE) or {}, config.get("trainer")
    for name in tune if trainer is not None else ():
        known = [key for key in keys(trainer) if key != "network"]
        if name not in known and not name.startswith("network."):
            meant = closest_name(name, known)
            hint = f" (did you mean {f'{TUNE}.{meant}'!r}?)" if meant else ""
            raise UsageError(f"{TUNE}.{name}: trainer={choices.get('trainer')} has no setting {name!r}{hint}")
        if "evaluator" in config and f"trainer.{name}" in assigned(values):
            key, value = next((key, value) for key, value in values if f"trainer.{name}".startswith(key.lstrip("+")))
            raise UsageError(f"{key}={value} and {TUNE}.{name} exclude each other; leave one of them out")
    if not tune or "evaluator" not in config:
        return
    keys_text = ", ".join(f"{TUNE}.{name}" for name in tune)
    if choices.get("supernet") is not None:
        raise UsageError(
            f"{keys_text} has no effect on a supernet, whose weights are trained with one recipe; leave it out, or "
            "choose another strategy= or evaluator="
        )
    if "trainer" not in used_parts(config) and choices.get("evaluator") != "table":
        raise UsageError(
            f"{keys_text} has no effect, since evaluator={choices.get('evaluator')} trains nothing with trainer=; "
            "leave it out, or choose evaluator=training"
        )


def used_parts(config: DictConfig) -> set[str]:
    """Parts that the evaluator refers to, directly or through another part."""
    used, seen = _references(config.get("evaluator")), set[str]()
    while used - seen:
        part = (used - seen).pop()
        seen.add(part)
        if part in config:
            used |= _references(config[part])
    return used


def _references(node: Any, *, required: bool = False) -> set[str]:
    """References of a part: `data` of `${data}`, `data.root` of `${data.root}` or `${oc.select:data.root,null}`.

    Args:
        node: Settings of the part.
        required: Leave out what `oc.select` refers to, which may be missing.
    """
    text = OmegaConf.to_yaml(node) if OmegaConf.is_config(node) else ""
    return set(re.findall(r"\$\{([\w.]+)\}" if required else r"\$\{(?:oc\.select:)?([\w.]+)", text))
