"""The command line: `nas <command> key=value …`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import importlib
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
from nas.runtime import import_path, interrupt, streams

if TYPE_CHECKING:
    from nas.config.settings import Settings

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
FLAGS = {"-h": "help", "--help": "help", "-c": "cfg", "--cfg": "cfg", "--version": "version"}
DOCUMENTS = ("json", "csv")
"""Formats that another program reads."""


@dataclass(frozen=True)
class Arguments:
    """The words of a command line."""

    command: str
    assignments: Sequence[str]
    config_dir: Path | None
    help: bool
    show_config: bool
    version: bool


def commands() -> dict[str, str]:
    """Command -> its module, one of `nas.cli.commands` each."""
    return {info.name: f"nas.cli.commands.{info.name}" for info in pkgutil.iter_modules(nas.cli.commands.__path__)}


def entry() -> None:
    """The console command `nas`."""
    streams.prepare()
    sys.exit(streams.finish(main(sys.argv[1:])))


def main(words: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    import_path.add_current_folder()
    try:
        interrupt.raise_at_once()
        with warnings.catch_warnings():
            warnings.showwarning = streams.show_warning
            return _main(words)
    except UsageError as error:
        return _say(error, USAGE)
    except UserError as error:
        return _say(error, FAILED)
    except KeyboardInterrupt:
        print("\nnas: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BaseException as error:  # sys.exit in a user's part would end the command without a word
        if os.environ.get("NAS_DEBUG"):
            raise
        return _say(f"unexpected {located(error)}; NAS_DEBUG=1 shows the whole traceback", FAILED)


def _main(words: Sequence[str]) -> int:
    if not words:
        print(_overview(), file=sys.stderr)
        return USAGE
    arguments = _arguments(words)
    if arguments.version:
        print(f"cellnas {nas.__version__}")
        return DONE
    if not arguments.command:
        print(_overview())
        return DONE
    module = importlib.import_module(commands()[arguments.command])
    interrupt.check()
    from nas.config.settings import compose

    deferred = getattr(module, "INHERITS", ())
    made = compose(arguments.command, arguments.assignments, arguments.config_dir, deferred=deferred)
    if arguments.help:
        print(_help(module, arguments.command, made))
        return DONE
    if arguments.show_config:
        print((made.inheriting({}) if deferred else made).yaml(), end="")
        return DONE
    interrupt.check()
    with streams.only_results() if made.get("format") in DOCUMENTS else nullcontext():
        code: int = module.main(made)
    return code


def _arguments(words: Sequence[str]) -> Arguments:
    """Options may stand anywhere; the first other word is the command."""
    rest, plain, config_dir, flags = list(words), [], None, set()
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
            raise UsageError(f"unknown option {word!r}; there are --config-dir FOLDER, --cfg, --help, --version")
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
        raise UsageError(f"unknown command {command!r}{close}; there are {', '.join(commands())}")
    return Arguments(command, plain[1:], config_dir, "help" in flags, "cfg" in flags, "version" in flags)


def _overview() -> str:
    lines = ["usage: nas <command> [key=value …] [--config-dir FOLDER] [--cfg] [--help]", ""]
    for name, path in commands().items():
        purpose = (importlib.import_module(path).__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:12} {purpose}")
    return "\n".join(
        [*lines, "", "nas <command> --help lists the settings of a command, --cfg what it would run with."]
    )


def _help(module: ModuleType, command: str, made: Settings) -> str:
    import nas.configs
    from nas.config.composition import group_options

    text = Path(nas.configs.__file__).with_name(f"{command}.yaml").read_text()
    lines = [f"usage: nas {command} [key=value …] [--config-dir FOLDER] [--cfg] [--help]", ""]
    lines += [(module.__doc__ or "").strip(), "", "Parts, chosen by PART=OPTION:"]
    options = group_options(made.config_dir)
    parts = dict(reversed(list(made.choices.items())))  # Hydra lists them from the last
    lines += [f"  {part}={chosen or 'null'}   of {' | '.join(options[part])}" for part, chosen in parts.items()]
    lines += ["", "Settings of the chosen parts, changed by PART.SETTING=VALUE:"]
    for part in parts:
        lines += [f"  {part}.{key}={json.dumps(value)}" for key, value in made.node(part).items() if key not in options]
    lines += ["", "Settings of the command:"]
    lines += [f"  {line}" for line in text.split("  - _self_", 1)[1].strip("\n").splitlines()]
    return "\n".join(lines)


def _say(error: Exception | str, code: int) -> int:
    print(f"nas: {error}", file=sys.stderr)
    return code
