"""The command line: `nas <command> key=value …`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (SIGINT, Ctrl-C), 143 terminated (SIGTERM), 138 stopped
before a time limit (SIGUSR1, after which a job of SLURM is requeued). Results go to stdout, everything else to stderr.
Commands that compute nothing, such as `--help`, do not import torch.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from types import ModuleType

import nas.cli.commands
from nas.cli.arguments import COMMANDS_THAT_READ, Arguments, parse, refuse_sweep_settings, with_action
from nas.cli.help import help_text, info_text, overview
from nas.errors import UsageError, UserError, located
from nas.runtime import import_path, interrupt, parent, slurm, streams

DONE, FAILED, USAGE = 0, 1, 2
DOCUMENT_FORMATS = ("json", "csv")
"""Formats that another program reads."""


def commands() -> dict[str, str]:
    """Name of each command -> its module of `nas.cli.commands`."""
    return {info.name: f"nas.cli.commands.{info.name}" for info in pkgutil.iter_modules(nas.cli.commands.__path__)}


def entry() -> None:
    """The console command `nas`."""
    parent.end_with_parent()
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
        print(overview(commands()), file=sys.stderr)
        return USAGE
    arguments = parse(command_line, commands())
    if arguments.version:
        print(f"cellnas {nas.__version__}")
        return DONE
    if not arguments.command:
        print(overview(commands()))
        return DONE
    module = importlib.import_module(commands()[arguments.command])
    interrupt.check()
    assignments = with_action(arguments.assignments, getattr(module, "ACTIONS", ()))
    return _run(replace(arguments, assignments=assignments), module)


def _run(arguments: Arguments, module: ModuleType) -> int:
    """Run a command, print its help or its settings, or run it as a sweep."""
    from nas.config.settings import compose
    from nas.config.sweeps import refuse_foreign_keys
    from nas.store.urls import without_password

    refuse_foreign_keys(arguments.assignments)
    deferred = getattr(module, "INHERITED_GROUPS", ())
    if arguments.multirun:
        return _run_sweep(arguments, module, deferred)
    refuse_sweep_settings(arguments.assignments)
    settings = compose(arguments.command, arguments.assignments, arguments.config_dir, deferred=deferred)
    if arguments.help:
        print(help_text(module, settings, compose("sweep", [], arguments.config_dir)))
        return DONE
    if arguments.cfg or arguments.info:
        settings = settings.inheriting({}) if deferred else settings
        text = info_text(settings) if arguments.info else settings.yaml(resolve=arguments.resolve).rstrip()
        print("\n".join(map(without_password, text.splitlines())))
        return DONE
    interrupt.check()
    with streams.only_results() if settings.get("format") in DOCUMENT_FORMATS else nullcontext():
        code: int = module.main(settings)
    return code


def _run_sweep(arguments: Arguments, module: ModuleType, deferred: Sequence[str]) -> int:
    """Run a command as a sweep, or print its help with the settings of the chosen launcher."""
    from nas.cli.options import options_of
    from nas.cli.sweep import Request, parsed, run_sweep

    command = arguments.command
    request = Request(command, arguments.assignments, options_of(module), arguments.config_dir, deferred)
    if arguments.help and command not in COMMANDS_THAT_READ:
        sweep_settings, sweep = parsed(request)
        print(help_text(module, request.settings(sweep.example), sweep_settings))
        return DONE
    if arguments.cfg or arguments.info:
        raise UsageError(
            "--cfg and --info show one job of a sweep; leave out -m and the settings of the sweep, and give each key "
            f"one value. nas {command} -m --help lists the settings of a sweep"
        )
    return run_sweep(request)


def _print_error(error: Exception | str, code: int) -> int:
    # A value in the message may hold characters that move the cursor or begin another line
    text = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in str(error))
    print(f"nas: {text}", file=sys.stderr)
    return code
