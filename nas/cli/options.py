"""The settings of a command that are not parts, as one typed value that is checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from nas.validation import one_of, whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings

RESULT_FORMATS = ("table", "json")
"""Formats of a result: for people, and for other programs."""
LIST_FORMATS = (*RESULT_FORMATS, "csv")
"""Formats of a result that is a list of rows."""


@dataclass(frozen=True)
class CommandOptions:
    """Settings of a command; each has a subclass, such as `SearchOptions`, whose fields are named like them.

    A field such as `from_` has the name of a setting that is a word of Python.

    The type of each value is checked against the command's YAML when the settings are composed. `__post_init__` of the
    subclass checks the rest.
    """

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The options of composed settings.

        Raises:
            UsageError: The command does not accept a value.
        """
        return cls(**{field.name: settings.get(field.name.removesuffix("_")) for field in fields(cls)})


def options_of(module: ModuleType) -> type[CommandOptions]:
    """The options of a command: the class that its module names after it, as `search` does `SearchOptions`."""
    name = module.__name__.rpartition(".")[2]
    options: type[CommandOptions] = getattr(module, f"{name.capitalize()}Options")
    return options


@dataclass(frozen=True)
class CheckOptions(CommandOptions):
    """Settings of `nas check`; `configs/check.yaml` describes them."""

    seed: int
    export: bool
    objective: Mapping[str, Any]
    format: str

    def __post_init__(self) -> None:
        one_of("format", self.format, RESULT_FORMATS)
        whole_number("seed", self.seed, least=0)
