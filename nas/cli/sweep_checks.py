"""What a sweep checks before its first job starts, so that not every job fails of the same mistake. Without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from nas.cli.rerun import spelled
from nas.errors import UsageError
from nas.store.base import NoStore, Store

if TYPE_CHECKING:
    from nas.cli.options import CommandOptions
    from nas.config.settings import Settings

CHECKED_PARTS = {"executor": "nas.executors.", "trainer": "nas.training.recipe."}
"""Parts that check their own settings at once -> where their class is; a user's own class may do anything."""


def check_jobs(jobs: Iterable[Settings], options: type[CommandOptions]) -> None:
    """Check the settings of all jobs as far as it takes neither data nor a device.

    Args:
        jobs: Settings of each job's command, composed.
        options: The command's settings that are not parts.

    Raises:
        UsageError: A job's command would refuse a value.
    """
    checked = set[str]()
    for settings in jobs:
        options.of(settings)
        for part, package in CHECKED_PARTS.items():
            values = settings.get(part) or {}
            if str(values.get("_target_")).startswith(package) and str(values) not in checked:
                checked.add(str(values))
                settings.make(part)


def check_store(settings: Settings, *, written: bool) -> None:
    """Open the store of a sweep's jobs.

    Args:
        settings: Settings of a job's command.
        written: Whether the jobs make a store that does not exist.

    Raises:
        UserError: It cannot be opened.
    """
    if settings.choices.get("store") is None:
        return
    store: Store = settings.make("store")
    if written:
        store.prepare()
    else:
        with suppress(NoStore):
            store.runs()


def values_of(
    compose: Callable[[Sequence[str]], Settings],
    arguments: Mapping[str, str],
    wanted: Sequence[str],
    deferred: Sequence[str],
) -> dict[str, str | None]:
    """The values that keys have with some arguments: a default counts as much as the same value given.

    Args:
        compose: Gives the settings of a command with arguments, `key=value` each.
        arguments: Key -> value as text.
        wanted: Keys of interest.
        deferred: Groups whose settings are known only when the command has read a run or a file.

    Returns:
        Key -> value as text; None if it is not given and has no default.
    """
    values: dict[str, str | None] = {key: arguments.get(key) for key in wanted}
    try:
        settings = compose([f"{key}={value}" for key, value in arguments.items()]) if wanted else None
    except UsageError:  # arguments of another version
        settings = None
    if settings is not None:
        for key in wanted:
            if key in arguments or not key.startswith("+"):
                values[key] = _value(settings, key.lstrip("+"), values[key], deferred)
    return values


def _value(settings: Settings, key: str, given: str | None, deferred: Sequence[str]) -> str | None:
    if key.partition(".")[0] in deferred:
        return given
    return spelled(settings.choices[key] if key in settings.choices else settings.get(key))


def several(varied: Sequence[str]) -> str:
    """What varies, as the end of `was started with …`."""
    return f"several values of {' and '.join(varied)}" if varied else "one value of each key"


def changed(key: str, before: str | None, after: str | None) -> str:
    """How a key has changed, as the end of `was started with …`."""
    start = f"no {key}" if before is None else f"{key}={before}"
    return f"{start} (now {'none' if after is None else after})"
