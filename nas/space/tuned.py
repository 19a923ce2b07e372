"""A space whose architectures also decide settings of the trainer: hyperparameters in the same search.

The decisions of a space and those of its training are searched together: a proposal has both, `encode` too, and the
text is `ARCHITECTURE @ lr=0.05;optimizer=sgd`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.core import Architecture, Task
from nas.errors import UsageError
from nas.space.base import SearchSpace
from nas.space.decisions import Decision
from nas.space.graph import Graph
from nas.space.notation import parse

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray
    from torch import nn

PREFIX = "tune."
SEPARATOR = " @ "
SGD_ONLY = ("momentum", "nesterov")
"""Settings that matter only with `optimizer=sgd`."""


class TunedSettings(SearchSpace):
    """The decisions about settings, by themselves: the optimizer first, since others depend on it.

    Args:
        tune: Setting -> decision.

    Raises:
        UsageError: A setting of SGD is tuned, but no optimizer is SGD, or an option contains `@`.
    """

    _null_is_an_option = True

    def __init__(self, tune: Mapping[str, Decision]) -> None:
        self.tune = dict(tune)
        first = {name: place for place, name in enumerate(("optimizer", "momentum"))}
        self.choices = dict(sorted(tune.items(), key=lambda pair: (first.get(pair[0], len(first)), pair[0])))
        for name, kind in self.choices.items():
            for option in kind:
                if SEPARATOR.strip() in str(option):
                    raise UsageError(f"{PREFIX}{name}: the option {option} contains '@', which separates the settings")
        self.conditions = self._dependent()

    def _dependent(self) -> dict[str, dict[str, Any]]:
        """Momentum is for SGD, and Nesterov's form of it for a momentum above 0."""
        conditions: dict[str, dict[str, Any]] = {}
        for name in SGD_ONLY:
            if name not in self.choices:
                continue
            needs: dict[str, Any] = {}
            if "optimizer" in self.choices:
                if "sgd" not in self.choices["optimizer"]:
                    raise UsageError(
                        f"{PREFIX}{name} has no effect, since {PREFIX}optimizer is never sgd; leave it out"
                    )
                needs["optimizer"] = "sgd"
            momenta = self.choices.get("momentum", ())
            if name == "nesterov" and 0 in momenta:
                needs["momentum"] = [option for option in momenta if option != 0]
            if needs:
                conditions[name] = needs
        return conditions

    def build(self, architecture: Architecture, task: Task, network: Mapping[str, Any] | None = None) -> nn.Module:
        raise NotImplementedError("settings have no network")


class TunedSpace(SearchSpace):
    """A space and settings of the trainer, as one space.

    Args:
        inner: Space of the architectures.
        tune: Setting of the trainer, such as `lr` or `network.channels` -> its decision.
    """

    _null_is_an_option = True

    def __init__(self, inner: SearchSpace, tune: Mapping[str, Decision]) -> None:
        self.inner = inner
        self.tune = TunedSettings(tune)
        if repeated := [name for name in self.tune.choices if f"{PREFIX}{name}" in inner.choices]:
            raise UsageError(f"{PREFIX}{repeated[0]} is a decision of the space already; leave it out")
        self.choices = {**inner.choices, **{f"{PREFIX}{name}": kind for name, kind in self.tune.decisions.items()}}
        self.conditions = {**inner.conditions, **_prefixed(self.tune.conditions)}
        self.network_sizes = inner.network_sizes
        self.small_network = dict(inner.small_network)  # a read-only view cannot be sent to another process
        self._split = len(inner.choices)

    def parts(self, architecture: Architecture) -> tuple[Architecture, Architecture]:
        """The architecture of the inner space, and the settings."""
        return architecture[: self._split], architecture[self._split :]

    def trainer_settings(self, architecture: Architecture) -> dict[str, Any]:
        network, settings = self.parts(architecture)
        return {**self.inner.trainer_settings(network), **self.tune.settings(settings)}

    def build(self, architecture: Architecture, task: Task, network: Mapping[str, Any] | None = None) -> nn.Module:
        return self.inner.build(self.parts(architecture)[0], task, network)

    def known_sizes(
        self, network: Mapping[str, Any], nulls: Mapping[str, Any] | None = None, key: str = "trainer.network"
    ) -> dict[str, Any]:
        return self.inner.known_sizes(network, nulls, key)

    # --- notation -------------------------------------------------------------------------------------------------

    def to_text(self, architecture: Architecture) -> str:
        network, settings = self.parts(architecture)
        return f"{self.inner.to_text(network)}{SEPARATOR}{self.tune.to_text(settings)}"

    def from_text(self, text: str) -> Architecture:
        """The inverse of `to_text`; the inner architecture may be a published name, and the settings in any
        order.

        Raises:
            UsageError: The settings are missing, or a part is not of the space.
        """
        network, separator, settings = text.rpartition(SEPARATOR.strip())
        if not separator:
            names = ", ".join(f"{PREFIX}{name}" for name in self.tune.choices)
            example = self.tune.to_text((0,) * len(self.tune.choices))
            raise UsageError(f"arch={text!r} has no settings of {names}; expected ARCHITECTURE{SEPARATOR}{example}")
        places = {name: place for place, name in enumerate(self.tune.choices)}
        in_order = sorted(settings.split(";"), key=lambda one: places.get(one.partition("=")[0].strip(), len(places)))
        return parse(self.inner, network.strip()) + parse(self.tune, ";".join(in_order).strip())

    def canonical(self, architecture: Architecture) -> str:
        network, settings = self.parts(architecture)
        return f"{self.inner.canonical(network)}{SEPARATOR}{self.tune.canonical(settings)}"

    def graphs(self, architecture: Architecture) -> Mapping[str, Graph]:
        return self.inner.graphs(self.parts(architecture)[0])

    # --- what matters ---------------------------------------------------------------------------------------------

    def is_valid(self, architecture: Architecture) -> bool:
        return self.inner.is_valid(self.parts(architecture)[0])

    def active(self, architecture: Architecture) -> frozenset[str]:
        network, settings = self.parts(architecture)
        return self.inner.active(network) | {f"{PREFIX}{name}" for name in self.tune.active(settings)}

    def reduced(self, architecture: Architecture) -> Architecture:
        network, settings = self.parts(architecture)
        return self.inner.reduced(network) + self.tune.reduced(settings)

    @property
    def size(self) -> int:
        return self.inner.size * self.tune.size

    @property
    def size_is_exact(self) -> bool:
        return self.inner.size_is_exact

    # --- proposals ------------------------------------------------------------------------------------------------

    def sample(self, rng: Generator) -> Architecture:
        return self.inner.sample(rng) + self.tune.sample(rng)

    def mutate(self, architecture: Architecture, rng: Generator) -> Architecture:
        """As `SearchSpace.mutate`: one of the decisions that matter in either part, each with equal probability."""
        network, settings = self.parts(architecture)
        inner, tuned = (_free(space, part) for space, part in ((self.inner, network), (self.tune, settings)))
        if rng.random() * (inner + tuned) < inner:
            child = self.inner.mutate(network, rng)
            if child != network or not tuned:
                return child + settings
        return network + self.tune.mutate(settings, rng)

    def crossover(self, first: Architecture, second: Architecture, rng: Generator) -> Architecture:
        (network, settings), (other, others) = self.parts(first), self.parts(second)
        return self.inner.crossover(network, other, rng) + self.tune.crossover(settings, others, rng)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        network, settings = self.parts(architecture)
        return chain(
            (near + settings for near in self.inner.neighbours(network)),
            (network + near for near in self.tune.neighbours(settings)),
        )

    def architectures(self) -> Iterator[Architecture]:
        return (network + settings for network in self.inner.architectures() for settings in self.tune.architectures())

    def encode(self, architecture: Architecture) -> NDArray[np.float32]:
        network, settings = self.parts(architecture)
        return np.concatenate([self.inner.encode(network), self.tune.encode(settings)])


def _prefixed(conditions: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        f"{PREFIX}{name}": {f"{PREFIX}{parent}": options for parent, options in parents.items()}
        for name, parents in conditions.items()
    }


def _free(space: SearchSpace, architecture: Architecture) -> int:
    """Number of decisions that matter and have another option."""
    active = space.active(architecture)
    return sum(len(kind) > 1 for name, kind in space.decisions.items() if name in active)
