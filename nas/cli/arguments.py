"""The command line: flags, the command, and `key=value`.

Hydra's flags work as in Hydra, or their error names what to use.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.errors import UsageError

FLAGS = {
    "-h": "help",
    "--help": "help",
    "-c": "cfg",
    "--cfg": "cfg",
    "-i": "info",
    "--info": "info",
    "--resolve": "resolve",
    "--version": "version",
    "-m": "multirun",
    "--multirun": "multirun",
    "-r": "run",  # what happens without -m
    "--run": "run",
}
FLAG_VALUES = {
    "cfg": {"job": None, "hydra": "nas … --cfg job", "all": "nas … --cfg job"},
    "info": {
        "all": None,
        "defaults": None,
        "defaults-tree": None,
        "searchpath": None,
        "config": "nas … --cfg job",
        "plugins": "nas … --info, which lists the options",
    },
}
"""Flag -> word that may follow it -> None, or what to use instead of Hydra's own information."""
HYDRA_FLAGS = {
    "--hydra-help": "nas COMMAND --help lists the settings",
    "--shell-completion": "nas COMMAND --help lists the settings",
    "-sc": "nas COMMAND --help lists the settings",
    "--config-path": "--config-dir FOLDER adds options of your own",
    "-cp": "--config-dir FOLDER adds options of your own",
    "--config-name": "the command, such as search, names the settings",
    "-cn": "the command, such as search, names the settings",
    "--package": "nas COMMAND --cfg prints all settings",
    "-p": "nas COMMAND --cfg prints all settings",
    "--experimental-rerun": "the same command again resumes a run, and nas show run=NAME prints the command",
}
"""Flags of Hydra that have no use here -> what to use."""
COMMANDS_THAT_READ = ("leaderboard", "report", "runs", "serve", "show", "store")
"""Commands that compute nothing by themselves, so that a sweep of them has no use."""
SWEEP_KEYS = ("dry_run", "sweep_dir", "max_jobs", "launcher")
"""Settings that only a sweep has; see `configs/sweep.yaml`."""


@dataclass(frozen=True)
class Arguments:
    """A parsed command line.

    Args:
        command: Name of the command; empty if there is none.
        assignments: `key=value` each.
        config_dir: Folder with the user's own options, or None.
        help, cfg, info, resolve, multirun, run, version: Whether the flag is given, see `FLAGS`.
    """

    command: str
    assignments: Sequence[str]
    config_dir: Path | None = None
    help: bool = False
    cfg: bool = False
    info: bool = False
    resolve: bool = False
    multirun: bool = False
    run: bool = False
    version: bool = False


def parse(command_line: Sequence[str], commands: Mapping[str, str]) -> Arguments:
    """Parse a command line: flags may appear anywhere, and the first other argument is the command.

    Args:
        command_line: The words after `nas`.
        commands: Name of each command -> its module.

    Raises:
        UsageError: A flag or a command does not exist.
    """
    rest, plain, config_dir, flags = list(command_line), [], None, set()
    while rest:
        word = rest.pop(0)
        flag, sign, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            value = value if sign else rest.pop(0) if rest else ""
            if not value:
                raise UsageError("--config-dir needs a folder, such as --config-dir conf")
            config_dir = Path(value).expanduser()
        elif flag in FLAGS and (not sign or FLAGS[flag] in FLAG_VALUES):
            flags.add(FLAGS[flag])
            _skip_value(flag, value if sign else None, rest)
        elif flag in HYDRA_FLAGS:
            raise UsageError(f"{flag} is a flag of Hydra that has no use here; {HYDRA_FLAGS[flag]}")
        elif word.startswith("-"):
            raise UsageError(
                f"unknown option {word!r}; expected --config-dir FOLDER, --multirun, --cfg, --resolve, --info, --help, "
                "--version"
            )
        else:
            plain.append(word)
    if plain and plain[0] == "help":
        plain, flags = plain[1:], {*flags, "help"}
    command = plain[0] if plain else ""
    if not command and not flags:
        raise UsageError(f"no command; expected one of {', '.join(commands)}")
    if command and command not in commands:
        from nas.config.overrides import closest

        raise UsageError(
            f"unknown command {command!r}{closest(command, list(commands))}; expected one of {', '.join(commands)}"
        )
    if "resolve" in flags and "cfg" not in flags:
        raise UsageError("--resolve belongs to --cfg: nas COMMAND --cfg --resolve")
    return Arguments(command, plain[1:], config_dir, **dict.fromkeys(flags, True))


def refuse_sweep_settings(assignments: Sequence[str]) -> None:
    """Raise `UsageError` if a setting of a sweep is given without `-m`."""
    for assignment in assignments:
        key = assignment.partition("=")[0]
        if key.partition(".")[0] in SWEEP_KEYS:
            raise UsageError(f"{assignment} is a setting of a sweep; add -m, or leave it out")


def _skip_value(flag: str, value: str | None, rest: list[str]) -> None:
    """Check the word that belongs to a flag, `job` of `--cfg job`, and take it from the rest of the command line."""
    values = FLAG_VALUES.get(FLAGS[flag], {})
    if value is None and rest and rest[0] in values:
        value = rest.pop(0)
    if value is None:
        return
    if value not in values:
        raise UsageError(f"{flag} {value}: expected one of {', '.join(values)}, or nothing")
    if values[value] is not None:
        raise UsageError(f"{flag} {value} shows what Hydra does for itself; use {values[value]}")


def with_action(assignments: Sequence[str], actions: Collection[str]) -> Sequence[str]:
    """Arguments of a command, with the word that names what it does as `action=…`: `check` of `nas store check`.

    Args:
        assignments: Arguments after the command.
        actions: Words that may name an action; none for most commands.

    Raises:
        UsageError: The command has actions, and the word is none of them.
    """
    first, *rest = assignments or ["="]
    if not actions or "=" in first:
        return assignments
    if first not in actions:
        from nas.config.overrides import closest

        raise UsageError(f"unknown action {first!r}{closest(first, list(actions))}; expected {', '.join(actions)}")
    return [f"action={first}", *rest]
