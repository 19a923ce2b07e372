"""Hydra composes the YAML files of a command: its own, and those of the chosen options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

import nas.configs
from nas.config.overrides import closest, keys
from nas.errors import UsageError


def group_options(config_dir: Path | None = None) -> dict[str, list[str]]:
    """Every configuration group with its options, the installed ones and the user's own.

    Raises:
        UsageError: A user's option has the name of an installed one.
    """
    groups: dict[str, set[str]] = {}
    for root in (Path(nas.configs.__file__).parent, config_dir):
        for path in sorted(root.glob("*/*.yaml")) if root else ():
            options = groups.setdefault(path.parent.name, set())
            if path.stem in options:
                raise UsageError(
                    f"{path} has the name of an installed option of {path.parent.name}; give it another name"
                )
            options.add(path.stem)
    return {group: sorted(options) for group, options in groups.items()}


def options_with(group: str, setting: str, options: Sequence[str], config_dir: Path | None) -> list[str]:
    """The options of a group whose YAML has a setting.

    Args:
        group: Name of the group.
        setting: Dotted key below the group.
        options: Options of the group.
        config_dir: Folder with the user's own options.
    """
    found = []
    for option in options:
        for root in (config_dir, Path(nas.configs.__file__).parent):
            path = None if root is None else root / group / f"{option}.yaml"
            if path is not None and path.is_file():
                with suppress(OSError, ValueError, OmegaConfBaseException, YAMLError):  # reported if it is chosen
                    tree = OmegaConf.load(path)
                    if isinstance(tree, DictConfig) and setting in keys(tree):
                        found.append(option)
    return found


class Composition(NamedTuple):
    """The settings that Hydra composes.

    Args:
        config: The settings. Do not change them: they are cached and returned again for the same overrides and files.
        choices: Group -> chosen option, None if none is.
    """

    config: DictConfig
    choices: Mapping[str, str | None]


@dataclass(frozen=True)
class _Options:
    """A user's own YAML files; equal ones are composed equally, wherever they are."""

    folder: Path = field(compare=False)
    files: tuple[tuple[str, bytes], ...]


def composed(command: str, overrides: Sequence[str], config_dir: Path | None) -> Composition:
    """Compose the settings of a command with Hydra.

    Args:
        command: Name of a YAML file of `configs/`.
        overrides: `group=option` each.
        config_dir: Folder with the user's own options.

    Raises:
        UsageError: A YAML file is damaged, or names something that does not exist.
    """
    if config_dir is None:
        return _cached(command, tuple(overrides), None)
    files = tuple((str(path.relative_to(config_dir)), _content(path)) for path in sorted(config_dir.rglob("*.yaml")))
    return _cached(command, tuple(overrides), _Options(config_dir.resolve(), files))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        return str(error).encode()  # Hydra reports it if the file is chosen


@lru_cache(maxsize=1024)
def _cached(command: str, overrides: tuple[str, ...], own: _Options | None) -> Composition:
    arguments = list(overrides)
    if own is not None:
        folder = str(own.folder).replace("\\", "\\\\").replace("'", "\\'")
        arguments.append(f"hydra.searchpath=['file://{folder}']")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("nas.configs", version_base="1.3"):
            config = compose(command, arguments, return_hydra_config=True)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UsageError(f"the settings of nas {command} cannot be composed: {' '.join(lines[:3])}") from error
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    assert isinstance(choices, dict)
    OmegaConf.set_struct(config, False)
    del config["hydra"]  # larger than the settings, which every command copies
    return Composition(
        config, {str(group): option for group, option in choices.items() if not str(group).startswith("hydra/")}
    )


def known_option(
    group: str,
    option: str,
    options: Mapping[str, Sequence[str]],
    config_dir: Path | None,
    made_with: str | None = None,
) -> str:
    """The option, if the group has it.

    Args:
        group: Name of the group.
        option: As the user or a stored run names it.
        options: Options of every group.
        config_dir: Folder with the user's own options.
        made_with: The `--config-dir` of the run or file that names the option.

    Raises:
        UsageError: The group has no such option; names the closest one.
    """
    existing = options.get(group, [])
    if option in existing:
        return option
    if made_with is not None and str(config_dir and config_dir.absolute()) != made_with:
        hint = f". It was created with --config-dir {made_with}; pass it here too"
    else:
        hint = "" if config_dir else "; an option of your own needs --config-dir FOLDER"
    if all(name.strip() in existing for name in option.split(",")):
        raise UsageError(f"{group}={option} names several options; expected one, or -m to run the command for each")
    raise UsageError(
        f"unknown {group} {option!r}{closest(option, existing)}; expected one of {', '.join(existing) or 'none'}{hint}"
    )
