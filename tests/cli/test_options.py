"""The options of a command: its settings as one typed value, checked once."""

from dataclasses import fields, replace
from importlib import import_module

import pytest
import yaml
from conftest import ROOT

from nas import UsageError
from nas.cli.main import commands
from nas.config.settings import compose

PART_SETTINGS = {"workers", "trainer", "tune"}
"""Keys of a command's YAML that a part reads, and not the command."""


@pytest.mark.parametrize("command", commands())
def test_options_are_the_settings_of_the_command(command):
    written = set(yaml.safe_load((ROOT / "configs" / f"{command}.yaml").read_text())) - {"defaults"} - PART_SETTINGS
    options = getattr(import_module(commands()[command]), f"{command.capitalize()}Options")
    assert {field.name.removesuffix("_") for field in fields(options)} == written


def test_options_are_checked_however_they_are_made():
    options = import_module("nas.cli.commands.retrain").RetrainOptions.of(compose("retrain", ["seed=3", "out=a"]))
    assert (options.seed, options.seeds, options.tested, options.out) == (3, 1, "last", "a")
    with pytest.raises(UsageError, match="tested must be one of last, best, got 'first'"):
        replace(options, tested="first")
    with pytest.raises(UsageError, match="seeds must be a whole number of at least 1 and at most 1000, got 5000"):
        replace(options, seeds=5000)


@pytest.mark.parametrize("command", commands())
def test_what_commands_share_is_not_part_of_one_of_them(command):
    source = (ROOT / "nas" / "cli" / "commands" / f"{command}.py").read_text()
    assert "nas.cli.commands" not in source
