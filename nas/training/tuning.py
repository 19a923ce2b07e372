"""Settings of the trainer that an architecture decides itself, and the recipe that follows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

from nas.core import Architecture
from nas.errors import UsageError
from nas.space.base import NETWORK, SearchSpace
from nas.space.tuned import PREFIX, TunedSpace
from nas.training.recipe import Recipe

UNTUNABLE: Mapping[str, str] = {
    "valid_images": "trials would be scored on different images",
    **dict.fromkeys(
        ("validate_every", "threads", "channels_last", "deterministic", "time_limit"),
        "it does not change what a training learns",
    ),
    "network": "it holds several sizes; tune one of them, such as tune.network.channels",
}
"""Settings that cannot be tuned, and why."""
OF_THE_SEARCH = ("epochs", "train_images")
"""Settings that say how much a trial costs. A retraining has its own."""
IN_EPOCHS = ("warmup_epochs",)
"""Settings that are scaled with the number of epochs."""


def check_tuned(space: SearchSpace, recipe: Recipe) -> None:
    """Raise `UsageError` if an option of a tuned setting does not fit the recipe."""
    if not isinstance(space, TunedSpace):
        return
    known = [field.name for field in fields(recipe)]
    for name, options in space.tune.choices.items():
        key = f"{PREFIX}{name}"
        if reason := UNTUNABLE.get(name):
            raise UsageError(f"{key} cannot be tuned: {reason}")
        if not name.startswith(NETWORK) and name not in known:
            raise UsageError(f"{key}: {name} is not a setting of the trainer")
        for option in options if len(options) <= 100 else (options[0], options[-1]):
            settings = {name: option}
            if name == "epochs":
                settings["warmup_epochs"] = 0
            try:
                adjusted = _with(recipe, settings)
                space.known_sizes(adjusted.network)
            except UsageError as error:
                raise UsageError(f"{key}: the option {option} does not fit: {error}") from None


def tuned_recipe(space: SearchSpace, architecture: Architecture, recipe: Recipe) -> Recipe:
    """The recipe with the settings that an architecture decides.

    Raises:
        UsageError: They do not fit each other.
    """
    settings = space.trainer_settings(architecture)
    return _with(recipe, settings) if settings else recipe


def retraining_recipe(
    space: SearchSpace, architecture: Architecture, recipe: Recipe, searched: int | None, given: Collection[str] = ()
) -> Recipe:
    """The recipe of a full training of an architecture that was found with its own settings.

    What says how much a trial costs stays that of the retraining, and what is counted in epochs is scaled to its
    length.

    Args:
        recipe: Recipe of the retraining.
        searched: Epochs of a trial of the search; None: unknown, and nothing is scaled.
        given: Settings that the user has set for the retraining.
    """
    settings = space.trainer_settings(architecture)
    searched = settings.get("epochs", searched)
    kept = {name: value for name, value in settings.items() if name not in (*OF_THE_SEARCH, *given)}
    for name in IN_EPOCHS:
        if name in kept and searched:
            kept[name] = min(round(kept[name] * recipe.epochs / searched), recipe.epochs - 1)
    return _with(recipe, kept) if kept else recipe


def tuned_protocol(space: SearchSpace, protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that trials share: a tuned one is replaced by its decision, under `tuned`."""
    if not isinstance(space, TunedSpace):
        return dict(protocol)
    network = {name: size for name, size in protocol["network"].items() if f"{NETWORK}{name}" not in space.tune.choices}
    shared = {name: value for name, value in protocol.items() if name not in space.tune.choices}
    if "epochs" in space.tune.choices:
        shared["epochs"] = None
    tuned = {name: kind.describe() for name, kind in space.tune.decisions.items()}
    return {**shared, "network": network, "tuned": tuned}


def _with(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """A recipe with other settings; AdamW, which has no momentum, leaves that of SGD behind."""
    sizes = {name.removeprefix(NETWORK): value for name, value in settings.items() if name.startswith(NETWORK)}
    plain: dict[str, Any] = {name: value for name, value in settings.items() if not name.startswith(NETWORK)}
    if plain.get("optimizer") == "adamw":
        plain.setdefault("momentum", Recipe.momentum)
    if plain.get("momentum") == 0:
        plain.setdefault("nesterov", False)
    return replace(recipe, **plain, network={**recipe.network, **sizes})
