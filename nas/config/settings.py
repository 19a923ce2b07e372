"""The settings of one command: composed by Hydra from the YAML of every part and the `key=value` of the command line.

`nas.config` is the only code that knows Hydra. Hydra by itself refuses raw values such as NAS-Bench-201 strings and
answers a misspelt key with a page of text, so Hydra only composes the groups, and values are assigned one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.config.checks import (
    check_evaluated,
    check_tuned,
    inherited_code,
    refuse_inherited_code,
    refuse_nulls,
    refuse_overruled,
    refuse_unused_supernet,
    used_parts,
)
from nas.config.composition import composed, group_options, known_option, options_with
from nas.config.failures import construction_failure, underlying
from nas.config.overrides import TUNE, assign, closest, keys, literal, unquoted
from nas.errors import UsageError, UserError
from nas.identity import without_folders
from nas.space.base import SearchSpace
from nas.space.specification import parse_decision
from nas.space.tuned import TunedSpace


@dataclass(frozen=True)
class Settings:
    """All settings of a command, composed and checked.

    Args:
        command: Name of the command.
        arguments: `key=value` each, as given.
        config_dir: Folder with the user's own YAML files, or None.
        config: The composed configuration.
        choices: Group -> chosen option (None: none).
        inherited: Group -> (option, settings) that apply unless the arguments say otherwise.
    """

    command: str
    arguments: Sequence[str]
    config_dir: Path | None
    config: DictConfig
    choices: Mapping[str, str | None]
    inherited: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """A value by its dotted key, as plain data.

        Raises:
            UsageError: It refers to something that cannot be read.
        """
        try:
            value = OmegaConf.select(self.config, key)
            return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException as error:
            raise UsageError(f"{key} cannot be read: {str(error).splitlines()[0]}") from error

    def tree(self) -> dict[str, Any]:
        """All settings as nested plain data; a group that another one refers to appears only under its own key."""
        tree = OmegaConf.to_container(self.config, resolve=False)
        assert isinstance(tree, dict)
        if not tree.get(TUNE):
            tree.pop(TUNE, None)  # versions before 0.3.0 did not have it
        try:
            return {str(key): _resolved(value, self.config, str(key)) for key, value in tree.items()}
        except OmegaConfBaseException as error:
            raise UsageError(f"the settings cannot be read: {str(error).splitlines()[0]}") from error

    def evaluated(self) -> dict[str, Any]:
        """Settings of the evaluator and of all parts that it refers to, without the folders of this machine."""
        parts = ["evaluator", *sorted(name for name in used_parts(self.config) if name in self.config)]
        tree = self.tree()
        return {part: without_folders(tree[part]) for part in parts if isinstance(tree.get(part), dict)}

    def yaml(self, *, resolve: bool = False) -> str:
        """All settings as YAML.

        Args:
            resolve: Replace each `${reference}` by its value.

        Raises:
            UsageError: A reference cannot be read.
        """
        try:
            return OmegaConf.to_yaml(self.config, resolve=resolve)
        except OmegaConfBaseException as error:
            raise UsageError(f"the settings cannot be read: {str(error).splitlines()[0]}") from error

    def node(self, group: str) -> dict[str, Any]:
        """The settings of a part without its target; those of the space include what is tuned with it, if anything."""
        tree = self.get(group)
        settings = {key: value for key, value in (tree or {}).items() if not key.startswith("_")}
        return settings | ({TUNE: self.tuned()} if group == "space" and self.tuned() else {})

    def tuned(self) -> dict[str, str]:
        """Setting of the trainer -> its decision, as text, for the settings that are searched with the space."""
        tune: dict[str, str] = self.get(TUNE) or {}
        return tune

    def inheriting(
        self, inherited: Mapping[str, tuple[str, Mapping[str, Any]]], made_with: str | None = None
    ) -> Settings:
        """The same command, with the parts of an earlier one unless its own arguments name others.

        Args:
            inherited: Group -> (option, settings) of the earlier one.
            made_with: The earlier one's `--config-dir`, for the message if it is missing here.
        """
        return compose(self.command, self.arguments, self.config_dir, inherited, made_with=made_with)

    def factory(self, key: str) -> Callable[..., Any]:
        """Constructs the part at `key`, and everything that it refers to.

        Raises:
            UsageError: Its class is missing, or does not accept one of the settings.
        """

        def make(**more: Any) -> Any:
            try:
                if not isinstance(self.config.get(key), DictConfig) or "_target_" not in self.config[key]:
                    raise UsageError(
                        f"{key}={self.choices.get(key)} has no class; its YAML needs _target_: module.Class"
                    )
                partial = instantiate(self.config[key], _partial_=True, _convert_="all")
                part = partial(**more)
                return part if key != "space" or not self.tuned() else tuned_space(part, self.tuned())
            except Exception as error:
                cause = underlying(error)
                if isinstance(cause, UserError):
                    raise cause from error
                reason = construction_failure(self.config, key, error)
                raise UsageError(f"{key}={self.choices.get(key)} cannot be constructed: {reason}") from error

        return make

    def partial(self, key: str) -> Callable[..., Any]:
        """`factory` in a form that can be sent to another process; its errors are not explained."""
        factory: Callable[..., Any] = instantiate(self.config[key], _partial_=True, _convert_="all")
        return functools.partial(_tuned, factory, self.tuned()) if key == "space" and self.tuned() else factory

    def make(self, key: str, **more: Any) -> Any:
        """Construct the part at `key`; `more` are arguments that no YAML can give."""
        return self.factory(key)(**more)


def tuned_space(space: SearchSpace, tune: Mapping[str, str]) -> TunedSpace:
    """A space with the settings that are searched with it.

    Raises:
        UsageError: A decision is not written as one.
    """
    return TunedSpace(space, {name: parse_decision(f"{TUNE}.{name}", text) for name, text in tune.items()})


def _tuned(factory: Callable[..., SearchSpace], tune: Mapping[str, str]) -> TunedSpace:
    return tuned_space(factory(), tune)


def recorded_parts(config: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Group -> (option, settings) of the space and the data set of a stored run, for `Settings.inheriting`.

    Targets and folders of the machine that made the run are left out: a store may come from elsewhere.
    """
    choices = config.get("choices") or {}
    parts = {}
    for group in ("space", "data"):
        if choices.get(group):
            settings = {
                key: value for key, value in without_folders(config.get(group) or {}).items() if not key.startswith("_")
            }
            tuned = {TUNE: config[TUNE]} if group == "space" and config.get(TUNE) else {}
            parts[group] = (choices[group], settings | tuned)
    return parts


def compose(
    command: str,
    arguments: Sequence[str],
    config_dir: Path | None = None,
    inherited: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
    deferred: Sequence[str] = (),
    *,
    made_with: str | None = None,
) -> Settings:
    """Compose the settings of a command.

    Args:
        command: Name of a YAML file of `configs/`.
        arguments: `key=value`, `group=option`, `+part.key=value` for a setting that a part's YAML does not name.
        config_dir: Folder searched for options besides the installed ones.
        inherited: See `Settings`.
        deferred: Groups whose option is known only after the command has read a run or a file; their settings wait for
            `Settings.inheriting`.
        made_with: See `Settings.inheriting`.

    Raises:
        UsageError: Unknown key, group or option, or a value of the wrong kind; names the closest right one.
    """
    inherited = dict(inherited or {})
    if config_dir is not None and not config_dir.is_dir():
        raise UsageError(f"--config-dir {config_dir} is not a folder")
    options = group_options(config_dir)
    plain = composed(command, [], config_dir)
    groups: dict[str, str | None] = {
        group: option for group, option in plain.choices.items() if group in options or group in inherited
    }
    chosen, values = _split(arguments, groups, options, config_dir, keys(plain.config))
    inherited = {group: part for group, part in inherited.items() if group not in chosen}
    for group, (option, _) in inherited.items():
        chosen[group] = known_option(group, option, options, config_dir, made_with)
    cached, final = (
        composed(command, [f"{group}={option}" for group, option in chosen.items()], config_dir) if chosen else plain
    )
    refuse_nulls(arguments, groups, final)
    refuse_unused_supernet(command, chosen, config_dir)
    config = cached.copy()
    _without_experiment(command, config, chosen, config_dir)
    for group, (_, earlier) in inherited.items():
        for key, value in literal(earlier, f"the {group} of the run or the genotype file").items():
            if key in config[group]:
                OmegaConf.update(config, f"{group}.{key}", value, merge=False)
        if group == "space" and earlier.get(TUNE) and TUNE in config:
            config[TUNE] = literal(earlier[TUNE], "the tuned settings of the run or the genotype file")
    refuse_inherited_code(inherited, values)
    base = config.copy()
    refuse_overruled(config, values)
    check_evaluated(config, [*chosen.items(), *values], final, options)

    final_groups = {group: final.get(group) for group in groups}

    def owners(group: str, setting: str) -> list[str]:
        return [] if group == "experiment" else options_with(group, setting, options.get(group, ()), config_dir)

    for key, value in values:
        group = key.lstrip("+~").partition(".")[0]
        if group in deferred and group not in chosen:
            continue
        assign(config, base, key, value, final_groups, owners=owners)
    check_tuned(config, values, final_groups)
    return Settings(command, list(arguments), config_dir, config, final_groups, inherited)


def make_space(name: str, settings: Mapping[str, Any], config_dir: Path | None = None, *, trusted: bool = False) -> Any:
    """A space from its option and settings, as a file or a store names them.

    Args:
        trusted: Whether the user has named the code that the settings name, so that it may be imported.

    Raises:
        UsageError: The space does not exist, does not accept the settings, or names code.
    """
    parts = {"space": (name, settings)}
    code = inherited_code(parts)
    if code and not trusted:
        raise UsageError(
            f"the network is {', '.join(code.values())}, code that would be imported; use its network.py, or export it "
            "with format=[onnx]"
        )
    return compose("describe", [f"{key}={path}" for key, path in code.items()], config_dir, parts).make("space")


def _split(
    arguments: Sequence[str],
    groups: Mapping[str, str | None],
    options: Mapping[str, Sequence[str]],
    config_dir: Path | None,
    existing: Sequence[str],
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Chosen option of each group that the arguments name, and (key, value) of the other arguments."""
    chosen: dict[str, str] = {}
    values: list[tuple[str, str]] = []
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if key in groups and sign:
            if value != "null" or groups[key] is not None:
                chosen[key] = known_option(key, unquoted(value), options, config_dir)
        elif sign:
            values.append((key, value))
        else:
            raise UsageError(f"{argument!r} is not key=value" + closest(key, [*groups, *existing]))
    return chosen, values


def _without_experiment(command: str, config: DictConfig, chosen: Mapping[str, str], config_dir: Path | None) -> None:
    """Drop an experiment's settings of parts that the user has replaced: they would not fit."""
    if "experiment" not in chosen:
        return
    own = composed(command, [f"experiment={chosen['experiment']}"], config_dir).choices
    others = {group: option for group, option in chosen.items() if group != "experiment"}
    replaced = [group for group, option in others.items() if own.get(group) != option]
    if replaced:
        plain = composed(command, [f"{group}={option}" for group, option in others.items()], config_dir).config
        for group in replaced:
            config[group] = plain[group]


def _resolved(value: Any, config: DictConfig, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _resolved(inner, config, f"{key}.{name}") for name, inner in value.items()}
    if isinstance(value, str) and "${" in value:
        if value[2:-1].removeprefix("oc.select:").removesuffix(",null") in config:
            return value  # a reference to a part that appears under its own key
        target = OmegaConf.select(config, key)
        return OmegaConf.to_container(target, resolve=True) if OmegaConf.is_config(target) else target
    return value
