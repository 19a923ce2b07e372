"""The settings of one command: composed by Hydra from the YAML of every part and the `key=value` of the command line.

Together with `nas.config.overrides` the only code that knows Hydra. Hydra by itself refuses raw values such as
NAS-Bench-201 strings and answers a misspelt key with a page of text; so it composes the groups, and values go in one by
one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import nas.configs
from nas.config.overrides import RAW_KEYS, assign, closest, keys, literal, not_made, underlying, unquoted
from nas.errors import UsageError, UserError
from nas.validation import shown


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
        try:
            value = OmegaConf.select(self.config, key)
            return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException as error:
            raise UsageError(f"{key} cannot be read: {str(error).splitlines()[0]}") from error

    def tree(self) -> dict[str, Any]:
        """All settings, nested and plain; a group that another one refers to stands in its own place only."""
        tree = OmegaConf.to_container(self.config, resolve=False)
        assert isinstance(tree, dict)
        try:
            return {str(key): _resolved(value, self.config, str(key)) for key, value in tree.items()}
        except OmegaConfBaseException as error:
            raise UsageError(f"the settings cannot be read: {str(error).splitlines()[0]}") from error

    def evaluated(self) -> dict[str, Any]:
        """Settings of the evaluator and of all parts that it refers to, but not the folders of this machine."""
        parts = ["evaluator", *sorted(name for name in _used(self.config) if name in self.config)]
        tree = self.tree()
        return {
            part: {key: value for key, value in tree[part].items() if key != "root"}
            for part in parts
            if isinstance(tree.get(part), dict)
        }

    def yaml(self) -> str:
        """All settings as YAML."""
        return OmegaConf.to_yaml(self.config)

    def node(self, group: str) -> dict[str, Any]:
        """The settings of a part without its target."""
        tree = self.get(group)
        return {key: value for key, value in (tree or {}).items() if not key.startswith("_")}

    def inheriting(
        self, inherited: Mapping[str, tuple[str, Mapping[str, Any]]], made_with: str | None = None
    ) -> Settings:
        """The same command, with parts of an earlier one where its own arguments name no other.

        Args:
            made_with: the earlier one's `--config-dir`, for a message where it is missing here.
        """
        return settings(self.command, self.arguments, self.config_dir, inherited, made_with=made_with)

    def factory(self, key: str) -> Callable[..., Any]:
        """What makes the part at `key`, with everything that it refers to already made.

        Raises:
            UsageError: its target is missing, or it does not take one of the settings.
        """

        def make(**more: Any) -> Any:
            try:
                if not isinstance(self.config.get(key), DictConfig) or "_target_" not in self.config[key]:
                    raise UsageError(
                        f"{key}={self.choices.get(key)} names no class; its YAML needs _target_: module.Class"
                    )
                partial = instantiate(self.config[key], _partial_=True, _convert_="all")
                return partial(**more)
            except Exception as error:
                cause = underlying(error)
                if isinstance(cause, UserError):
                    raise cause from error
                reason = not_made(self.config, key, error)
                raise UsageError(f"{key}={self.choices.get(key)} cannot be made: {reason}") from error

        return make

    def partial(self, key: str) -> Callable[..., Any]:
        """The same as `factory` in a form that can be sent to another process; its own errors are not explained."""
        made: Callable[..., Any] = instantiate(self.config[key], _partial_=True, _convert_="all")
        return made

    def make(self, key: str, **more: Any) -> Any:
        """Make the part at `key`; `more` are arguments that no YAML can give."""
        return self.factory(key)(**more)


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
    *,
    made_with: str | None = None,
) -> Settings:
    """Compose the settings of a command.

    Args:
        command: name of a YAML file of `configs/`.
        arguments: `key=value`, `group=option`, `+part.key=value` for a setting that a part's YAML does not name.
        config_dir: a folder searched for options besides the installed ones.
        inherited: see `Settings`.
        deferred: groups whose option is known only once the command has read a run or a file; settings of theirs wait
            for `Settings.inheriting`.
        made_with: see `Settings.inheriting`.

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
            if value == "null" and groups[key] is None:
                continue
            chosen[key] = _option(key, unquoted(value), options, config_dir)
        elif sign:
            values.append((key, value))
        else:
            raise UsageError(f"{argument!r} is not key=value" + closest(key, [*groups, *keys(plain)]))
    inherited = {group: part for group, part in inherited.items() if group not in chosen}
    for group, (option, _) in inherited.items():
        chosen[group] = _option(group, option, options, config_dir, made_with)
    config = (
        _compose(command, [f"{group}={option}" for group, option in chosen.items()], config_dir) if chosen else plain
    )
    final = _choices(config)
    _refuse_nulls(arguments, groups, final)
    _refuse_unused_supernet(command, chosen, config_dir)
    config = config.copy()
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    _without_experiment(command, config, chosen, config_dir)
    for group, (_, earlier) in inherited.items():
        for key, value in literal(earlier, f"the {group} of the run or the genotype file").items():
            if key in config[group]:
                OmegaConf.update(config, f"{group}.{key}", value, merge=False)
    base = config.copy()
    _refuse_overruled(config, values)
    _check_evaluated(config, [*chosen.items(), *values], final, options)
    for key, value in values:
        group = key.lstrip("+~").partition(".")[0]
        if group in deferred and group not in chosen:
            continue
        assign(config, base, key, value, groups)
    return Settings(command, list(arguments), config_dir, config, {g: final.get(g) for g in groups}, inherited)


def _without_experiment(command: str, config: DictConfig, chosen: Mapping[str, str], config_dir: Path | None) -> None:
    """Take an experiment's settings away from parts that were chosen in place of its own: they would not fit."""
    if "experiment" not in chosen:
        return
    own = _choices(_compose(command, [f"experiment={chosen['experiment']}"], config_dir))
    others = {group: option for group, option in chosen.items() if group != "experiment"}
    replaced = [group for group, option in others.items() if own.get(group) != option]
    if replaced:
        plain = _compose(command, [f"{group}={option}" for group, option in others.items()], config_dir)
        for group in replaced:
            config[group] = plain[group]


def _refuse_nulls(arguments: Sequence[str], groups: Mapping[str, str | None], final: Mapping[str, str | None]) -> None:
    """`supernet=null` where another choice brings one would be ignored without a word."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in groups and value == "null" and final.get(key) is not None:
            raise UsageError(f"{key}=null: the other parts need one and chose {key}={final[key]}; leave {key} out")


def _refuse_unused_supernet(command: str, chosen: Mapping[str, str], config_dir: Path | None) -> None:
    """Parts that train a supernet choose one; where none did, another one would be ignored without a word."""
    if "supernet" not in chosen:
        return
    others = [f"{group}={option}" for group, option in chosen.items() if group != "supernet"]
    if _choices(_compose(command, others, config_dir)).get("supernet") is None:
        raise UsageError(
            f"supernet={chosen['supernet']} has no effect, since neither strategy nor evaluator trains one; leave it "
            "out"
        )


def _refuse_overruled(config: DictConfig, values: Sequence[tuple[str, str]]) -> None:
    """A size that is asked of the space while the trainer sets it would be ignored without a word."""
    network = OmegaConf.select(config, "trainer.network") or {}
    for key, value in values:
        part, _, size = key.partition(".")
        if part == "space" and size in network and not any(other.startswith("trainer.network") for other, _ in values):
            raise UsageError(
                f"{key}={value} has no effect, since the trainer sets trainer.network.{size}={shown(network[size])}; "
                "set that instead"
            )


EVALUATED = ("data", "trainer", "table")
"""Parts that matter to a search only through its evaluator."""


def _check_evaluated(
    config: DictConfig,
    values: Sequence[tuple[str, str]],
    choices: Mapping[str, str | None],
    options: Mapping[str, Sequence[str]],
) -> None:
    """The evaluator's parts are there, and no other of these is set: it would be ignored without a word."""
    if "executor" not in config:
        return
    evaluator = choices.get("evaluator")
    # a strategy that learns on a supernet trains it on the images whatever scores its architectures
    used = _used(config) | ({"data"} if choices.get("supernet") else set())
    for part in sorted(_references(config.get("evaluator"), needed=True)):
        if part in choices and part not in config:
            there = ", ".join(options.get(part, []))
            raise UsageError(f"evaluator={evaluator} needs a {part}; set {part}= to one of {there}")
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
        if "evaluator" in config and part in EVALUATED and not names:
            raise UsageError(
                f"{key}={value} has no effect, since evaluator={evaluator} does not use it; leave it out, or choose "
                "another evaluator="
            )


def _used(config: DictConfig) -> set[str]:
    """What the evaluator refers to, and what that refers to in its turn."""
    used, seen = _references(config.get("evaluator")), set[str]()
    while used - seen:
        part = (used - seen).pop()
        seen.add(part)
        if part in config:
            used |= _references(config[part])
    return used


def _references(node: Any, *, needed: bool = False) -> set[str]:
    """What a part refers to: `data` of `${data}`, `data.root` of `${data.root}` or `${oc.select:data.root,null}`.

    Args:
        needed: leave out what `oc.select` refers to, which may be missing.
    """
    text = OmegaConf.to_yaml(node) if OmegaConf.is_config(node) else ""
    return set(re.findall(r"\$\{([\w.]+)\}" if needed else r"\$\{(?:oc\.select:)?([\w.]+)", text))


def group_options(config_dir: Path | None = None) -> dict[str, list[str]]:
    """Every configuration group with its options, the installed and the user's own."""
    found: dict[str, set[str]] = {}
    for root in (Path(nas.configs.__file__).parent, config_dir):
        for path in sorted(root.glob("*/*.yaml")) if root else ():
            options = found.setdefault(path.parent.name, set())
            if path.stem in options:
                raise UsageError(
                    f"{path} has the name of an installed option of {path.parent.name}; give it another name"
                )
            options.add(path.stem)
    return {group: sorted(options) for group, options in found.items()}


def _compose(command: str, overrides: Sequence[str], config_dir: Path | None) -> DictConfig:
    """What Hydra composes; not to be changed, since it is given again for the same words and files."""
    files = sorted(config_dir.rglob("*.yaml")) if config_dir else []
    state = tuple((str(file), (at := file.stat()).st_mtime_ns, at.st_size) for file in files)
    return _composed(command, tuple(overrides), config_dir and config_dir.resolve(), state)


@lru_cache(maxsize=64)
def _composed(
    command: str, overrides: tuple[str, ...], config_dir: Path | None, _state: tuple[tuple[str, int, int], ...]
) -> DictConfig:
    words = list(overrides)
    if config_dir is not None:
        place = str(config_dir).replace("\\", "\\\\").replace("'", "\\'")
        words.append(f"hydra.searchpath=['file://{place}']")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("nas.configs", version_base="1.3"):
            return compose(command, words, return_hydra_config=True)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UsageError(f"the settings of nas {command} cannot be composed: {' '.join(lines[:3])}") from error


def _choices(config: DictConfig) -> dict[str, str | None]:
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    assert isinstance(choices, dict)
    return {str(group): option for group, option in choices.items() if not str(group).startswith("hydra/")}


def _option(
    group: str,
    option: str,
    options: Mapping[str, Sequence[str]],
    config_dir: Path | None,
    made_with: str | None = None,
) -> str:
    there = options.get(group, [])
    if option in there:
        return option
    if made_with is not None and str(config_dir and config_dir.absolute()) != made_with:
        hint = f". It was made with --config-dir {made_with}; give that here too"
    else:
        hint = "" if config_dir else "; an option of your own needs --config-dir FOLDER"
    raise UsageError(
        f"unknown {group} {option!r}{closest(option, there)}; there are {', '.join(there) or 'none'}{hint}"
    )


def _resolved(value: Any, config: DictConfig, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _resolved(inner, config, f"{key}.{name}") for name, inner in value.items()}
    if isinstance(value, str) and "${" in value:
        if value[2:-1].removeprefix("oc.select:").removesuffix(",null") in config:
            return value  # a reference to a part that stands in its own place
        found = OmegaConf.select(config, key)
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    return value
