"""Hydra composes the YAML files of a command: its own, and those of the chosen options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

import nas.configs
from nas.config.overrides import closest
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


def composed(command: str, overrides: Sequence[str], config_dir: Path | None) -> DictConfig:
    """The configuration that Hydra composes. Do not change it: it is cached and returned again for the same overrides
    and files.

    Args:
        command: Name of a YAML file of `configs/`.
        overrides: `group=option` each.
        config_dir: Folder with the user's own options.

    Raises:
        UsageError: A YAML file is damaged, or names something that does not exist.
    """
    files = sorted(config_dir.rglob("*.yaml")) if config_dir else []
    state = tuple((str(file), (at := file.stat()).st_mtime_ns, at.st_size) for file in files)
    return _cached(command, tuple(overrides), config_dir and config_dir.resolve(), state)


@lru_cache(maxsize=1024)
def _cached(
    command: str, overrides: tuple[str, ...], config_dir: Path | None, _state: tuple[tuple[str, int, int], ...]
) -> DictConfig:
    arguments = list(overrides)
    if config_dir is not None:
        folder = str(config_dir).replace("\\", "\\\\").replace("'", "\\'")
        arguments.append(f"hydra.searchpath=['file://{folder}']")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("nas.configs", version_base="1.3"):
            return compose(command, arguments, return_hydra_config=True)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UsageError(f"the settings of nas {command} cannot be composed: {' '.join(lines[:3])}") from error


def choices_of(config: DictConfig) -> dict[str, str | None]:
    """Group -> chosen option, None if none is."""
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    assert isinstance(choices, dict)
    return {str(group): option for group, option in choices.items() if not str(group).startswith("hydra/")}


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
        hint = f". It was made with --config-dir {made_with}; give it here too"
    else:
        hint = "" if config_dir else "; an option of your own needs --config-dir FOLDER"
    raise UsageError(
        f"unknown {group} {option!r}{closest(option, existing)}; expected one of {', '.join(existing) or 'none'}{hint}"
    )
