"""What a space may declare as `choices`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np

from nas.errors import UsageError
from nas.validation import as_written


def check_choices(name: str, choices: object, *, default_text: bool, null: bool = False) -> None:
    """Raise `UsageError`, naming the decision, unless the `choices` of a space can be searched and written as text.

    A decision has a name and a list or tuple of at least one option. Options are text or numbers, each different as
    text. With `default_text`, names and options are printable and contain no `;`, and names no `=`.

    Args:
        name: Class of the space, for messages.
        null: Whether None is an option.
        default_text: Whether architectures are written by `SearchSpace.to_text`.
    """
    if not isinstance(choices, Mapping) or not choices:
        raise UsageError(
            f"{name}.choices must be a mapping from each decision to its options, such as "
            f"{{'activation': ('relu', 'gelu')}}, got {as_written(choices)}"
        )
    for decision, options in choices.items():
        where = f"{name}.choices[{decision!r}]"
        if not isinstance(decision, str) or (default_text and not _fits_text(decision, ";=")):
            raise UsageError(
                f"{where}: a decision must be named by printable text without ';', '=' or surrounding spaces, "
                f"got {decision!r}"
            )
        if isinstance(options, str | bytes | Set | Mapping) or not isinstance(options, Sequence | np.ndarray):
            hint = f"; write ({options!r},) for a single option" if isinstance(options, str) else ""
            raise UsageError(f"{where} must be a list or tuple of options, in order, got {as_written(options)}{hint}")
        if len(options) == 0:
            raise UsageError(f"{where} has no options; expected at least one")
        for option in options:
            if not isinstance(option, str | int | float | np.number) and not (
                null and option is None
            ):  # numbers are written as text
                raise UsageError(f"{where} has the option {as_written(option)}; expected text or a number")
            if default_text and not _fits_text(str(option), ";"):
                raise UsageError(
                    f"{where} has the option {option!r}; expected printable text without ';' or surrounding spaces"
                )
        texts = [str(option) for option in options]
        repeated = [text for text in texts if texts.count(text) > 1]
        if repeated:
            raise UsageError(f"{where} has the option {repeated[0]!r} twice; expected each once")


def _fits_text(name: str, separators: str) -> bool:
    """Whether `from_text` can read back a name that `to_text` wrote."""
    return bool(name) and name.isprintable() and name == name.strip() and not any(sign in name for sign in separators)
