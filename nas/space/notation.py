"""Decisions and architectures in the forms that are stored and typed."""

from __future__ import annotations

from typing import Any

from nas.core import Architecture
from nas.errors import UsageError, UserError, located
from nas.space.base import SearchSpace


def recorded_choices(space: SearchSpace) -> list[list[Any]]:
    """`choices` in the form that is stored with a run: `[decision, [option, …]]`, in order and JSON-safe.

    Raises:
        UsageError: As `check_choices`.
    """
    return [[name, [str(option) for option in options]] for name, options in space.decisions.items()]


def recorded_conditions(space: SearchSpace) -> list[list[Any]]:
    """`conditions` in the form that is stored with a run: `[decision, [[earlier decision, [option, …]], …]]`."""

    def listed(options: Any) -> list[str]:
        return [str(option) for option in ([options] if isinstance(options, str | int | float) else options)]

    return [
        [name, [[parent, listed(options)] for parent, options in space.conditions[name].items()]]
        for name in space.choices
        if space.conditions.get(name)
    ]


def parse(space: SearchSpace, text: str) -> Architecture:
    """The architecture that `space.from_text` reads from a text, validated.

    Raises:
        UsageError: The text is not an architecture of this space; also if `from_text` raises another exception.
    """
    _ = space.sizes  # checks the choices, once
    try:
        architecture = space.from_text(text)
        space.validate(architecture)
    except UserError:
        raise
    except Exception as error:
        raise UsageError(f"{text!r} is not an architecture of {type(space).__name__}: {located(error)}") from error
    return architecture
