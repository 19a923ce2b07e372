"""The command line: `nas <command> key=value …`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (SIGINT, Ctrl-C), 143 terminated (SIGTERM), 138 stopped
before a time limit (SIGUSR1, after which a job of SLURM is requeued). Results go to stdout, everything else to stderr.
Commands that compute nothing, such as `--help`, do not import torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import pkgutil
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import nas.cli.commands
from nas.errors import UsageError, UserError, located
from nas.runtime import import_path, interrupt, slurm, streams

if TYPE_CHECKING:
    from nas.config.settings import Settings

DONE, FAILED, USAGE = 0, 1, 2
FLAGS = {"-h": "help", "--help": "help", "-c": "cfg", "--cfg": "cfg", "--version": "version"}
DOCUMENT_FORMATS = ("json", "csv")
"""Formats that another program reads."""


@dataclass(frozen=True)
class Arguments:
    """A parsed command line.

    Args:
        command: Name of the command; empty if there is none.
        assignments: `key=value` each.
        config_dir: Folder with the user's own options, or None.
        help, show_config, version: Whether the flag is given.
    """

    command: str
    assignments: Sequence[str]
    config_dir: Path | None
    help: bool
    show_config: bool
    version: bool


def commands() -> dict[str, str]:
    """Name of each command -> its module of `nas.cli.commands`."""
    return {info.name: f"nas.cli.commands.{info.name}" for info in pkgutil.iter_modules(nas.cli.commands.__path__)}


def entry() -> None:
    """The console command `nas`."""
    streams.prepare()
    try:
        code = streams.finish(main(sys.argv[1:]))
    except KeyboardInterrupt as error:  # in the last moment
        code = streams.finish(interrupt.exit_code(error))
    interrupt.leave_at_once()
    if code == interrupt.exit_code(interrupt.TimeNearlyUp()):
        print(f"nas: SIGUSR1 ended this command; {slurm.requeue()}", file=sys.stderr)
    sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    import_path.add_current_folder()
    try:
        interrupt.raise_at_once()
        with warnings.catch_warnings():
            warnings.showwarning = streams.show_warning
            return _main(arguments)
    except UsageError as error:
        return _print_error(error, USAGE)
    except UserError as error:
        return _print_error(error, FAILED)
    except KeyboardInterrupt as error:
        print("\nnas: interrupted", file=sys.stderr)
        return interrupt.exit_code(error)
    except BaseException as error:  # sys.exit in a user's part would end the command without a message
        if os.environ.get("NAS_DEBUG"):
            raise
        return _print_error(f"unexpected {located(error)}; set NAS_DEBUG=1 to see the full traceback", FAILED)


def _main(command_line: Sequence[str]) -> int:
    if not command_line:
        print(_overview(), file=sys.stderr)
        return USAGE
    arguments = _parse(command_line)
    if arguments.version:
        print(f"cellnas {nas.__version__}")
        return DONE
    if not arguments.command:
        print(_overview())
        return DONE
    module = importlib.import_module(commands()[arguments.command])
    interrupt.check()
    from nas.config.settings import compose

    deferred = getattr(module, "INHERITED_GROUPS", ())
    settings = compose(arguments.command, arguments.assignments, arguments.config_dir, deferred=deferred)
    if arguments.help:
        print(_help(module, arguments.command, settings))
        return DONE
    if arguments.show_config:
        print((settings.inheriting({}) if deferred else settings).yaml(), end="")
        return DONE
    interrupt.check()
    with streams.only_results() if settings.get("format") in DOCUMENT_FORMATS else nullcontext():
        code: int = module.main(settings)
    return code


def _parse(command_line: Sequence[str]) -> Arguments:
    """Flags may appear anywhere; the first other argument is the command."""
    rest, plain, config_dir, flags = list(command_line), [], None, set()
    while rest:
        word = rest.pop(0)
        flag, sign, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            value = value if sign else rest.pop(0) if rest else ""
            if not value:
                raise UsageError("--config-dir needs a folder, such as --config-dir conf")
            config_dir = Path(value).expanduser()
        elif word in FLAGS:
            flags.add(FLAGS[word])
            if FLAGS[word] == "cfg" and rest and rest[0] == "job":  # Hydra's own spelling
                rest.pop(0)
        elif word.startswith("-"):
            raise UsageError(f"unknown option {word!r}; expected --config-dir FOLDER, --cfg, --help, --version")
        else:
            plain.append(word)
    if plain and plain[0] == "help":
        plain, flags = plain[1:], {*flags, "help"}
    command = plain[0] if plain else ""
    if not command and not flags:
        raise UsageError(f"no command; expected one of {', '.join(commands())}")
    if command and command not in commands():
        from nas.config.overrides import closest

        close = closest(command, list(commands()))
        raise UsageError(f"unknown command {command!r}{close}; expected one of {', '.join(commands())}")
    return Arguments(command, plain[1:], config_dir, "help" in flags, "cfg" in flags, "version" in flags)


def _overview() -> str:
    lines = ["usage: nas <command> [key=value …] [--config-dir FOLDER] [--cfg] [--help]", ""]
    lines += [f"  {name:12} {_purpose(module)}" for name, module in commands().items()]
    return "\n".join(
        [
            *lines,
            "",
            "nas <command> --help lists the settings of a command, and --cfg prints them as they would be used.",
        ]
    )


def _purpose(module: str) -> str:
    """First line of a command's docstring, read without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def _help(module: ModuleType, command: str, settings: Settings) -> str:
    import nas.configs
    from nas.config.composition import group_options

    text = Path(nas.configs.__file__).with_name(f"{command}.yaml").read_text(encoding="utf-8")
    lines = [f"usage: nas {command} [key=value …] [--config-dir FOLDER] [--cfg] [--help]", ""]
    lines += [(module.__doc__ or "").strip()]
    options = group_options(settings.config_dir)
    parts = dict(reversed(list(settings.choices.items())))  # Hydra lists them from the last
    if parts:
        lines += ["", "Parts, chosen by PART=OPTION:"]
        lines += [f"  {part}={chosen or 'null'}   one of {' | '.join(options[part])}" for part, chosen in parts.items()]
    values = [
        f"  {part}.{key}={json.dumps(value)}"
        for part in parts
        for key, value in settings.node(part).items()
        if key not in options
    ]
    if values:
        lines += ["", "Settings of the chosen parts, changed by PART.SETTING=VALUE:", *values]
    lines += ["", "Settings of the command:", *(f"  {line}" for line in own_settings(text))]
    return "\n".join(lines)


def own_settings(text: str) -> list[str]:
    """The lines of a command's YAML that are its settings, without its parts; a command without parts has no defaults.

    Args:
        text: Contents of the YAML.
    """
    lines = text.split("  - _self_", 1)[-1].splitlines()
    return [line for line in lines if line and not line.startswith(("#", "  - "))]  # parts may come after the settings


def _print_error(error: Exception | str, code: int) -> int:
    print(f"nas: {error}", file=sys.stderr)
    return code
