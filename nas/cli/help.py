"""The texts of `--help` and `--info`."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from nas.cli.arguments import COMMANDS_THAT_READ

if TYPE_CHECKING:
    from nas.config.settings import Settings


def overview(commands: Mapping[str, str]) -> str:
    """The text of `nas --help`.

    Args:
        commands: Name of each command -> its module.
    """
    lines = ["usage: nas <command> [key=value …] [-m] [--config-dir FOLDER] [--cfg] [--info] [--help]", ""]
    lines += [f"  {name:12} {_purpose(module)}" for name, module in commands.items()]
    return "\n".join(
        [
            *lines,
            "",
            "nas <command> --help lists the settings of a command, and --cfg prints them as they would be used.",
            "-m runs the command for every combination of values, such as strategy=random,reinforce seed=range(0,5).",
        ]
    )


def _purpose(module: str) -> str:
    """First line of a command's docstring, read without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def help_text(module: ModuleType, settings: Settings, sweep: Settings) -> str:
    """The text of `nas COMMAND --help`.

    Args:
        module: The module of the command.
        settings: Its settings.
        sweep: Settings of a sweep of the command.
    """
    import nas.configs
    from nas.config.composition import group_options

    command = settings.command
    text = Path(nas.configs.__file__).with_name(f"{command}.yaml").read_text(encoding="utf-8")
    sweeps = "" if command in COMMANDS_THAT_READ else "[-m] "
    lines = [f"usage: nas {command} [key=value …] {sweeps}[--config-dir FOLDER] [--cfg] [--info] [--help]", ""]
    lines += [(module.__doc__ or "").strip()]
    options = group_options(settings.config_dir)
    parts = dict(reversed(list(settings.choices.items())))  # Hydra lists them from the last
    if parts:
        lines += ["", "Parts, chosen by PART=OPTION:"]
        lines += [f"  {part}={chosen or 'null'}   one of {' | '.join(options[part])}" for part, chosen in parts.items()]
    if values := [line for part in parts for line in _part_settings(settings, part, options)]:
        lines += ["", "Settings of the chosen parts, changed by PART.SETTING=VALUE:", *values]
    lines += ["", "Settings of the command:", *(f"  {line}" for line in own_settings(text))]
    if command not in COMMANDS_THAT_READ:
        text = Path(nas.configs.__file__).with_name("sweep.yaml").read_text(encoding="utf-8")
        chosen = f"launcher={sweep.choices['launcher']}"
        lines += ["", f"Settings of a sweep (-m), with {chosen}   one of {' | '.join(options['launcher'])}:"]
        lines += [f"  {line}" for line in own_settings(text)]
        lines += _part_settings(sweep, "launcher", options)
    return "\n".join(lines)


def _part_settings(settings: Settings, part: str, options: Collection[str]) -> list[str]:
    """The lines of a part's settings, those that are parts themselves left out."""
    return [f"  {part}.{key}={json.dumps(value)}" for key, value in settings.node(part).items() if key not in options]


def own_settings(text: str) -> list[str]:
    """The lines of a command's YAML that are its settings, without its parts; a command without parts has no defaults.

    Args:
        text: Contents of the YAML.
    """
    lines = text.split("  - _self_", 1)[-1].splitlines()
    return [line for line in lines if line and not line.startswith(("#", "  - "))]  # parts may come after the settings


def info_text(settings: Settings) -> str:
    """The text of `--info`: where options are searched, and the file of each chosen one."""
    import nas.configs

    installed = Path(nas.configs.__file__).parent
    folders = [folder for folder in (settings.config_dir, installed) if folder is not None]
    lines = ["Folders of options, the first that has one is used:", *(f"  {folder}" for folder in folders), ""]
    lines += [f"Files of nas {settings.command}:", f"  {installed / settings.command}.yaml"]
    for part, option in reversed(list(settings.choices.items())):  # Hydra lists them from the last
        name = f"{part}/{option}.yaml"
        found = next((folder / name for folder in folders if (folder / name).is_file()), None)
        lines.append(f"  {part}={'null' if option is None else option}" + (f"   {found}" if found else ""))
    return "\n".join(lines)
