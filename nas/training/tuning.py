"""Settings of the trainer that an architecture decides itself, and the recipe that follows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any, Protocol, runtime_checkable

from nas.core import Architecture
from nas.errors import UsageError
from nas.formatting import did_you_mean
from nas.space.base import NETWORK, SearchSpace
from nas.space.tuned import PREFIX, SGD_ONLY, TunedSpace
from nas.training.recipe import Recipe

UNTUNABLE: Mapping[str, str] = {
    "valid_images": "trials would be scored on different images",
    "time_limit": "it only ends trainings",
    **dict.fromkeys(
        ("validate_every", "threads", "channels_last", "deterministic"), "it does not change what a training learns"
    ),
    "network": "it holds several sizes; tune one of them, such as tune.network.channels",
}
"""Settings that cannot be tuned, and why."""
CHECKED = 100
"""Most options of a setting that are all tried before a search; of more, the ends."""
OF_THE_SEARCH = ("epochs", "train_images")
"""Settings that say how much a trial costs. A retraining has its own."""
IN_EPOCHS = ("warmup_epochs",)
"""Settings that are scaled with the number of epochs."""


@runtime_checkable
class SupportsTrainingProtocol(Protocol):
    """A space that decides settings of the trainer and states what comparable searches share of them."""

    def training_protocol(self) -> Mapping[str, Any]:
        """JSON-safe; `recipes` maps each kind of network to its settings."""


def check_tuned(space: SearchSpace, recipe: Recipe) -> None:
    """Raise `UsageError` if a tuned setting has no effect, or one of its options does not fit the recipe."""
    if not isinstance(space, TunedSpace):
        return
    settings, known = space.tune, [field.name for field in fields(recipe)]
    for position, (name, options) in enumerate(settings.choices.items()):
        key = f"{PREFIX}{name}"
        if reason := UNTUNABLE.get(name):
            raise UsageError(f"{key} cannot be tuned: {reason}")
        if name.startswith(NETWORK):
            _check_size(space, key, name.removeprefix(NETWORK))
        elif name not in known:
            raise UsageError(f"{key}: {name} is not a setting of the trainer{did_you_mean(name, known)}")
        if name in SGD_ONLY and recipe.optimizer != "sgd" and "optimizer" not in settings.choices:
            raise UsageError(f"{key} has no effect with trainer.optimizer={recipe.optimizer}; leave it out")
        first = tuple(0 for _ in settings.choices)
        for option in range(len(options)) if len(options) <= CHECKED else (0, len(options) - 1):
            chosen = settings.settings((*first[:position], option, *first[position + 1 :]))
            try:
                adjusted = _with(recipe, {**chosen, name: options[option]})
                space.known_sizes(adjusted.network)
            except UsageError as error:
                raise UsageError(f"{key}: the option {options[option]} does not fit: {error}") from None


def _check_size(space: TunedSpace, key: str, size: str) -> None:
    if size not in space.network_sizes:
        name, sizes = type(space.inner).__name__, list(space.network_sizes)
        raise UsageError(
            f"{key}: {size} is not a size of {name}{did_you_mean(size, sizes)}; it has {', '.join(sizes) or 'none'}"
        )


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
        if name in kept:
            kept[name] = min(round(kept[name] * recipe.epochs / (searched or recipe.epochs)), recipe.epochs - 1)
    return _with(recipe, kept) if kept else recipe


def tuned_protocol(space: SearchSpace, protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that trials share: a tuned one is replaced by its decision, under `tuned`; of a space that decides
    settings in its own way, by its name."""
    if not isinstance(space, TunedSpace):
        if type(space).trainer_settings is SearchSpace.trainer_settings:
            return dict(protocol)
        own = dict(space.training_protocol()) if isinstance(space, SupportsTrainingProtocol) else {}
        decided = {*space.trainer_settings((0,) * len(space.choices)), *own}
        decided |= {name for recipe in own.get("recipes", {}).values() for name in recipe}
        shared = {name: value for name, value in protocol.items() if name not in decided}
        length = {"epochs": None} if "epochs" in decided else {}
        return {**shared, **length, "tuned": type(space).__name__, **({"decided": own} if own else {})}
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
    if unknown := [name for name in plain if name not in {field.name for field in fields(recipe)}]:
        raise UsageError(f"trainer_settings gives {unknown[0]!r}, which is not a setting of the trainer")
    return replace(recipe, **plain, network={**recipe.network, **sizes})
