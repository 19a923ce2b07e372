"""Command lines that repeat a run or a retraining, from its stored record."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.config.checks import inherited_code
from nas.config.overrides import TUNE
from nas.config.settings import Settings, compose, make_space
from nas.store.base import Retraining, Run
from nas.store.urls import DEFAULT_URL, PASSWORD_VARIABLE, password_of, without_password

if TYPE_CHECKING:
    from nas.cli.selection import Selection

BASE_TRAINER = "nasbench201"
"""The trainer option whose settings a printed retraining starts from."""
OMITTED_KEYS = ("store", "dir", "progress", "format", "choices", "config_dir", "decisions", "conditions", "kinds",
                "minimized", "scheduling", "sweep")  # fmt: skip
"""Stored keys of a run that do not change its results."""
BROUGHT_GROUPS = ("supernet", "discretization", "data", "trainer")
"""Parts that a strategy, an evaluator, a table or an experiment may bring along."""


def search_command(run: Run, trial: int, config_dir: Path | None, more: Sequence[str] = ()) -> str | None:
    """The `nas search` that repeats a run up to a trial at least; None for a run that was made in Python.

    Args:
        run: Run of a store. Its recorded budget is that of its first session.
        trial: Number of the trial.
        config_dir: Folder with the user's own options.
        more: Arguments appended to the command.
    """
    arguments = search_arguments(run, config_dir, trial)
    return (
        None
        if arguments is None
        else shlex.join(["nas", *config_dir_arguments(config_dir), "search", *arguments, *more])
    )


def search_arguments(run: Run, config_dir: Path | None, trial: int = 0) -> list[str] | None:
    """The `key=value` of a `nas search` that repeats a run; None for a run that was made in Python.

    Args:
        run: Run of a store.
        config_dir: Folder with the user's own options.
        trial: Number of a trial that its budget must allow.
    """
    choices = run.config.get("choices")
    if not choices:
        return None
    parts = {group: option for group, option in choices.items() if option is not None}
    arguments = _choosing(parts, config_dir)
    defaults = compose("search", arguments, config_dir).tree()
    recorded = {key: value for key, value in run.config.items() if key not in OMITTED_KEYS}
    budget = dict(recorded["budget"])
    limits = [budget[key] for key in ("hours", "simulated_seconds") if budget.get(key) is not None]
    if trial >= (budget.get("trials") or 0) and not (limits and budget.get("trials") is None):
        recorded["budget"] = budget | {"trials": trial + 1}
    return [*sorted(arguments), *_differing(recorded, defaults)]


def _choosing(parts: Mapping[str, str], config_dir: Path | None) -> list[str]:
    """The fewest `part=option` that choose parts: a part that another one brings along is not named.

    A table, say, brings its data set, which may have no effect on a search by itself and would be refused there.
    """
    arguments: list[str] = []
    for groups in (["experiment"], [group for group in parts if group not in BROUGHT_GROUPS], BROUGHT_GROUPS):
        chosen = compose("search", arguments, config_dir).choices
        arguments += [
            f"{group}={parts[group]}" for group in groups if group in parts and chosen.get(group) != parts[group]
        ]
    return arguments


def retrain_command(
    retraining: Retraining,
    seeds: Sequence[int],
    data: tuple[str, Mapping[str, Any]],
    config_dir: Path | None,
    more: Sequence[str] = (),
) -> str:
    """The `nas retrain` that repeats a retraining and, where one command can, its repeats with other seeds.

    Args:
        retraining: Retraining of a store.
        seeds: Its own seed and those of its repeats.
        data: Option and settings of its data set.
        config_dir: Folder with the user's own options.
        more: Arguments appended to the command.
    """
    training = retraining.training
    recipe = training.recipe
    parts = [f"space={training.space}", f"data={data[0]}", f"trainer={BASE_TRAINER}"]
    base = compose("retrain", parts, config_dir)
    trainer = {key: recipe[key] for key in recipe if key in base.node("trainer")}
    if training.tested == "best":
        trainer["validate_every"] = training.validate_every
    space_settings = {key: value for key, value in training.space_settings.items() if key != TUNE}
    recorded: dict[str, Any] = {"space": space_settings, "data": data[1], "trainer": trainer}
    recorded[TUNE] = training.space_settings.get(TUNE)
    recorded |= {"validate": training.validated, "tested": training.tested}
    first = min(seeds)
    # its own seed is then the last, whose weights are exported
    one_command = sorted(seeds) == list(range(first, retraining.seed + 1))
    recorded |= {"seed": first, "seeds": len(seeds)} if one_command else {"seed": retraining.seed}
    space = make_space(training.space, training.space_settings, config_dir, trusted=True)
    published = {space.to_text(space.from_text(name)): name for name in space.published}
    name = published.get(retraining.text, retraining.text)
    arguments = [f"arch={name}", *parts, *_differing(recorded, base.tree())]
    set_already = {word.partition("=")[0] for word in arguments}
    for setting in recorded[TUNE] or ():  # what was tuned is set even at its default: the retraining scaled it
        if setting in base.node("trainer") and f"trainer.{setting}" not in set_already:
            arguments.append(f"trainer.{setting}={spelled(recipe.get(setting, base.get(f'trainer.{setting}')))}")
    return shlex.join(["nas", *config_dir_arguments(config_dir), "retrain", *arguments, *more])


def card_commands(
    selection: Selection, repeats: Sequence[Retraining], data: tuple[str, Mapping[str, Any]]
) -> dict[str, str]:
    """The commands that find, train and export an architecture again, as far as they are known.

    Args:
        selection: Architecture that `nas export` writes.
        repeats: Retraining that its weights are of, and those with other seeds.
        data: Option and settings of its data set.

    Returns:
        `search` or `compare`, `retrain` and `export` -> command line, in this order.
    """
    settings = selection.settings
    commands: dict[str, str | None] = {}
    store = store_arguments(settings)
    if selection.winner is not None:
        commands["compare"] = selection.winner.head.get("command")
    elif selection.run is not None and selection.trial is not None:
        commands["search"] = search_command(selection.run, selection.trial.number, settings.config_dir, store)
    if repeats:
        seeds = [repeat.seed for repeat in repeats]
        commands["retrain"] = retrain_command(repeats[0], seeds, data, settings.config_dir, store)
    commands["export"] = _export_command(settings, commands.get("compare"))
    return {name: command for name, command in commands.items() if command is not None}


def _export_command(settings: Settings, compare: str | None) -> str:
    """The `nas export` that writes the same files elsewhere, after the other commands.

    The weights are then those that `nas retrain` makes, and a comparison is where `nas compare` writes it.
    """
    arguments = [argument for argument in shown_arguments(settings.arguments) if not argument.startswith("weights=")]
    outs = [argument.removeprefix("out=") for argument in shlex.split(compare or "") if argument.startswith("out=")]
    if outs:
        arguments = [f"comparison={outs[0]}" if word.startswith("comparison=") else word for word in arguments]
    return shlex.join(["nas", *config_dir_arguments(settings.config_dir), "export", *arguments])


def shown_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command as they may be printed and stored: without the password of a store."""
    return [without_password(word) if word.startswith("store.") else word for word in arguments]


def without_secrets(arguments: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Arguments without the password of a store's URL, and the environment variables that give it to a command."""
    shown, environment = list[str](), dict[str, str]()
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "store.url" and (password := password_of(value)) is not None:
            environment[PASSWORD_VARIABLE] = password
            shown.append(f"{key}={without_password(value)}")
        else:
            shown.append(argument)
    return shown, environment


def store_arguments(settings: Settings) -> list[str]:
    """The arguments that name the store of a command to another one; none for the default store."""
    given = [argument for argument in settings.arguments if argument.startswith(("store=", "store."))]
    url = settings.node("store").get("url")
    if isinstance(url, str) and url != DEFAULT_URL:  # an experiment may name it too
        given = [*(argument for argument in given if not argument.startswith("store.url=")), f"store.url={url}"]
    return shown_arguments(given)


def code_arguments(parts: Mapping[str, tuple[str, Mapping[str, Any]]]) -> list[str]:
    """The arguments by which a user says that code which a run names may be imported."""
    return [f"{key}={path}" for key, path in inherited_code(parts).items()]


def config_dir_arguments(config_dir: Path | None) -> list[str]:
    """The arguments that name the folder of the user's own options."""
    return ["--config-dir", str(config_dir)] if config_dir else []


def _differing(values: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`key=value` for each value that is not the default."""
    for key, value in values.items():
        default = defaults.get(key)
        if not prefix and key == TUNE:
            yield from (f"{TUNE}.{name}={text}" for name, text in (value or {}).items())
            continue
        if key.startswith("_") or value == default:
            continue
        if isinstance(value, Mapping) and isinstance(default, Mapping) and value.keys() <= default.keys():
            yield from _differing(value, default, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={spelled(value)}"


def spelled(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {spelled(inner)}" for key, inner in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)
