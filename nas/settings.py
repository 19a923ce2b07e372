"""The settings of one command: composed by Hydra from the YAML of every part and the `key=value` of the command line.

Together with `nas.cli` the only code that knows Hydra. Hydra by itself refuses raw values such as NAS-Bench-201 strings
and answers a misspelt key with a page of text; so keys are checked here first, and values go in one by one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import nas.configs
from nas.core import UsageError, UserError

RAW_KEYS = ("run", "arch", "out", "dir", "store.url", "data.root")
"""Keys whose value is taken as it stands: names, paths and architectures may hold any sign of Hydra's grammar."""


@dataclass(frozen=True)
class Settings:
    """What a command was told, composed and checked.

    Args:
        command: its name.
        arguments: the `key=value` words, as given.
        config_dir: a folder with the user's own YAML files, or None.
        config: the composed configuration.
        choices: group -> chosen option (None: none).
        inherited: group -> (option, settings) that hold unless the arguments say otherwise.
    """

    command: str
    arguments: Sequence[str]
    config_dir: Path | None
    config: DictConfig
    choices: Mapping[str, str | None]
    inherited: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """A value by its dotted key, plain."""
        value = OmegaConf.select(self.config, key)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

    def tree(self) -> dict[str, Any]:
        """All settings, nested and plain; a group that another one refers to stands in its own place only."""
        tree = OmegaConf.to_container(self.config, resolve=False)
        assert isinstance(tree, dict)
        return {key: _resolved(value, self.config, str(key)) for key, value in tree.items()}  # type: ignore[misc]

    def yaml(self) -> str:
        """All settings as YAML."""
        return OmegaConf.to_yaml(self.config)

    def node(self, group: str) -> dict[str, Any]:
        """The settings of a part without its target."""
        tree = self.get(group)
        return {key: value for key, value in (tree or {}).items() if not key.startswith("_")}

    def inheriting(self, inherited: Mapping[str, tuple[str, Mapping[str, Any]]]) -> Settings:
        """The same command, with parts of an earlier one where its own arguments name no other."""
        return settings(self.command, self.arguments, self.config_dir, inherited)

    def factory(self, key: str) -> Callable[..., Any]:
        """What makes the part at `key`, with everything that it refers to already made.

        Raises:
            UsageError: its target is missing, or it does not take one of the settings.
        """

        def make(**more: Any) -> Any:
            try:
                partial = instantiate(self.config[key], _partial_=True, _convert_="all")
                return partial(**more)
            except UserError:
                raise
            except (HydraException, OmegaConfBaseException, TypeError, ValueError) as error:
                raise self._plain(key, error) from error

        return make

    def make(self, key: str, **more: Any) -> Any:
        """Make the part at `key`; `more` are arguments that no YAML can give."""
        return self.factory(key)(**more)

    def _plain(self, key: str, error: Exception) -> UserError:
        cause: BaseException = error
        while isinstance(cause, HydraException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, UserError):
            return cause
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        return UsageError(f"{key}={self.choices.get(key)} cannot be made: {'; '.join(lines[:2])}")


def recorded_parts(config: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Group -> (option, settings) of the space and the data set of a stored run, for `Settings.inheriting`.

    Targets and folders of the machine that made the run are left out: a store may come from elsewhere.
    """
    choices = config.get("choices") or {}
    parts = {}
    for group in ("space", "data"):
        if choices.get(group):
            kept = {
                key: value
                for key, value in (config.get(group) or {}).items()
                if not key.startswith("_") and f"{group}.{key}" not in RAW_KEYS
            }
            parts[group] = (choices[group], kept)
    return parts


def settings(
    command: str,
    arguments: Sequence[str],
    config_dir: Path | None = None,
    inherited: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
    deferred: Sequence[str] = (),
) -> Settings:
    """Compose the settings of a command.

    Args:
        command: name of a YAML file of `configs/`.
        arguments: `key=value`, `group=option`, `+key=value` for a new key, `~key` to drop one.
        config_dir: a folder searched for options besides the installed ones.
        inherited: see `Settings`.
        deferred: groups whose option is known only once the command has read a run or a file; settings of theirs wait
            for `Settings.inheriting`.

    Raises:
        UsageError: unknown key, group or option, or a value of the wrong kind; names the closest right one.
    """
    inherited = dict(inherited or {})
    if config_dir is not None and not config_dir.is_dir():
        raise UsageError(f"--config-dir {config_dir} is not a folder")
    options = group_options(config_dir)
    plain = _compose(command, [], config_dir)
    groups: dict[str, str | None] = {
        group: option for group, option in _choices(plain).items() if group in options or group in inherited
    }
    chosen: dict[str, str] = {}
    values: list[tuple[str, str]] = []
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if key in groups and sign:
            chosen[key] = _option(key, _unquoted(value), options)
        elif sign or key.startswith("~"):
            values.append((key, value))
        else:
            raise UsageError(f"{argument!r} is not key=value" + closest(key, [*groups, *_keys(plain)]))
    inherited = {group: part for group, part in inherited.items() if group not in chosen}
    for group, (option, _) in inherited.items():
        chosen[group] = _option(group, option, options)
    config = (
        _compose(command, [f"{group}={option}" for group, option in chosen.items()], config_dir) if chosen else plain
    )
    final = _choices(config)
    config = config.copy()
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    for group, (_, earlier) in inherited.items():
        for key, value in earlier.items():
            if key in config[group]:
                OmegaConf.update(config, f"{group}.{key}", value, merge=False)
    base = config.copy()
    for key, value in values:
        group = key.lstrip("+~").partition(".")[0]
        if group in deferred and group not in chosen:
            continue
        _assign(config, base, key, value, groups)
    return Settings(command, list(arguments), config_dir, config, {g: final.get(g) for g in groups}, inherited)


def group_options(config_dir: Path | None = None) -> dict[str, list[str]]:
    """Every configuration group with its options, the installed and the user's own."""
    found: dict[str, set[str]] = {}
    for root in (Path(nas.configs.__file__).parent, config_dir):
        for path in sorted(root.glob("*/*.yaml")) if root else ():
            found.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(options) for group, options in found.items()}


def _compose(command: str, overrides: Sequence[str], config_dir: Path | None) -> DictConfig:
    words = list(overrides)
    if config_dir is not None:
        place = str(config_dir.resolve()).replace("\\", "\\\\").replace("'", "\\'")
        words.append(f"hydra.searchpath=['file://{place}']")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("nas.configs", version_base="1.3"):
            return compose(command, words, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UsageError(f"the settings of nas {command} cannot be composed: {' '.join(lines[:3])}") from error


def _choices(config: DictConfig) -> dict[str, str | None]:
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    assert isinstance(choices, dict)
    return {str(group): option for group, option in choices.items() if not str(group).startswith("hydra/")}


def _option(group: str, option: str, options: Mapping[str, Sequence[str]]) -> str:
    there = options.get(group, [])
    if option in there:
        return option
    raise UsageError(f"unknown {group} {option!r}{closest(option, there)}; there are {', '.join(there) or 'none'}")


def _assign(config: DictConfig, base: DictConfig, key: str, value: str, groups: Mapping[str, str | None]) -> None:
    """Put one value of the command line in its place."""
    name = key.lstrip("+~")
    parent, _, last = name.rpartition(".")
    exists = name in _keys(base)
    if key.startswith("~"):
        if not exists:
            raise UsageError(f"unknown key {name!r}{closest(name, _keys(base))}")
        del (OmegaConf.select(config, parent) if parent else config)[last]
        return
    if not exists and not key.startswith("+"):
        raise UsageError(f"unknown key {name!r}{closest(name, [*_keys(base), *groups])}")
    if name in groups:
        raise UsageError(f"{name} is a group; expected one of its options or {name}.SETTING=value")
    parsed = _parse(name, value)
    if exists:
        parsed = _of_kind(name, OmegaConf.select(base, name), parsed)
    OmegaConf.update(config, name, parsed, merge=False, force_add=True)


def _parse(key: str, value: str) -> Any:
    """A value as Hydra reads it; text that is not of its grammar as it stands."""
    if key in RAW_KEYS:
        return None if value == "null" else _unquoted(value)
    try:
        parsed = OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException:
        return _unquoted(value)
    if parsed.is_sweep_override():
        raise UsageError(f"{key}={value} names several values; expected one (a list is written [a,b])")
    return parsed.value()


def _of_kind(key: str, default: Any, value: Any) -> Any:
    """The value, if it is of the kind of the default; a null default takes anything."""
    if default is None or (value is None and not isinstance(default, bool)):
        return value
    if isinstance(default, bool):
        good, kind = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        good, kind = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif isinstance(default, float):
        good, kind = isinstance(value, int | float) and not isinstance(value, bool), "a number"
    elif isinstance(default, str):
        good, kind = isinstance(value, str | int | float), "text"
        value = str(value) if good and not key.startswith("trial") else value
    else:
        mapping = OmegaConf.is_dict(default)
        good, kind = isinstance(value, dict if mapping else list), "a mapping" if mapping else "a list"
    if not good:
        raise UsageError(f"{key} must be {kind}, got {value!r}")
    return value


def _keys(config: DictConfig) -> list[str]:
    """Every dotted key, inner ones included; what an interpolation refers to is not repeated."""

    def walk(tree: Mapping[Any, Any], prefix: str) -> list[str]:
        keys = []
        for key, value in tree.items():
            if prefix == "" and key == "hydra":
                continue
            keys.append(f"{prefix}{key}")
            if isinstance(value, Mapping):
                keys += walk(value, f"{prefix}{key}.")
        return keys

    tree = OmegaConf.to_container(config, resolve=False)
    assert isinstance(tree, dict)
    return [key for key in walk(tree, "") if not key.rpartition(".")[2].startswith("_")]


def closest(word: str, there: Sequence[str]) -> str:
    """Text to append to an error, `; did you mean …?`, or nothing where no word is close.

    A key without its group finds the whole one.
    """
    whole = [key for key in there if key.rpartition(".")[2] == word]
    close = whole or difflib.get_close_matches(word, there, n=1, cutoff=0.5)
    if not close:
        tails = {key.rpartition(".")[2]: key for key in there}
        close = [
            tails[tail] for tail in difflib.get_close_matches(word.rpartition(".")[2], list(tails), n=1, cutoff=0.6)
        ]
    return f"; did you mean {close[0]!r}?" if close else ""


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def _resolved(value: Any, config: DictConfig, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _resolved(inner, config, f"{key}.{name}") for name, inner in value.items()}
    if isinstance(value, str) and "${" in value:
        if value[2:-1] in config:
            return value  # a reference to a part that stands in its own place
        found = OmegaConf.select(config, key)
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    return value
