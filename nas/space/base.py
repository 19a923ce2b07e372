"""Search spaces: declare `choices`, write `build`, and everything else is derived.

A space is a list of decisions, each with its options in order. An architecture is one option index per decision.
Sampling, mutation, crossover, neighbours and encoding follow from that. State `conditions` if some decisions matter
only under options of earlier ones. Override `to_text` and `from_text` if the field has a notation for the
architectures, `canonical` if some of them are provably equal, and `is_valid` if some of them are not allowed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from operator import lt, mul
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.core import Architecture, Task
from nas.errors import UsageError, UserError
from nas.space.choices import check_choices
from nas.space.conditions import RESTING, Conditions, compiled
from nas.space.decisions import Decision, decision
from nas.space.graph import Graph

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray
    from torch import nn

NETWORK = "network."
"""Start of the settings of the trainer that are sizes of the network."""
MAX_ATTEMPTS = 10_000
"""Number of draws after which a constrained space counts as one without valid architectures."""
MAX_LISTED = 100_000
"""Most architectures of a constrained space whose valid ones are listed: to count them, or to draw one where
`MAX_ATTEMPTS` draws found none."""


class SearchSpace(ABC):
    """A finite product of decisions, optionally constrained."""

    choices: Mapping[str, Sequence[Any]]
    """Name of each decision -> its options, in order: a tuple of texts or numbers, or one of the kinds of
    `nas.space.decisions`. They must not change after the space is created, nor while it has stored runs, since an
    architecture holds the positions of options. `check_choices` states what is allowed."""

    conditions: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    """Name of a decision -> earlier decisions -> the option, or options, of each under which the decision matters. All
    of them must hold, and a decision that does not matter itself holds for none. Others always matter."""

    network_sizes: Sequence[str] = ()
    """Names of the sizes that a trainer may set, such as `channels` and `cells`; the others are the space's own."""

    small_network: Mapping[str, Any] = MappingProxyType({})
    """Sizes of a small network that has every kind of cell; a trainer's null stands for the size given here."""

    published: Mapping[str, str] = MappingProxyType({})
    """Name -> text of well-known architectures. A space that has them accepts the names in `from_text` too."""

    @abstractmethod
    def build(self, architecture: Architecture, task: Task, network: Mapping[str, Any] | None = None) -> nn.Module:
        """Build the network of an architecture, initialised from torch's global generator.

        Args:
            architecture: Valid architecture of this space.
            task: Shape of the images and number of classes.
            network: Sizes that replace the space's own, from `trainer.network`; its keys are among `network_sizes`.

        Returns:
            A module that maps float images (B, channels, height, width) to logits (B, classes).
        """

    def to_text(self, architecture: Architecture) -> str:
        """The architecture as one line of text; by default `decision=option;decision=option` of what matters."""
        return ";".join(f"{name}={option}" for name, option in self.settings(architecture).items())

    def from_text(self, text: str) -> Architecture:
        """The inverse of `to_text`.

        Raises:
            UsageError: The text is not an architecture of this space.
        """
        pairs = [one.partition("=") for one in text.split(";")]
        parts = {name.strip(): option.strip() for name, _, option in pairs}
        known = [name for name in self.choices if name in parts]
        whole = self.__conditional or len(known) == len(self.choices)
        if len(parts) < len(pairs) or list(parts) != known or not known or not whole:
            example = self.to_text((0,) * len(self.choices))
            raise UsageError(
                f"arch={text!r} is not an architecture of {type(self).__name__}; expected text like {example!r}"
            )
        architecture = tuple(self.index(name, parts[name]) if name in parts else RESTING for name in self.choices)
        active = self.active(architecture)
        for name in self.choices:
            if (name in active) != (name in parts):
                fault = (
                    f"lacks {name}, which is active here" if name in active else f"has {name}, which is inactive here"
                )
                raise UsageError(f"arch={text!r} is not an architecture of {type(self).__name__}: it {fault} here")
        return architecture

    def canonical(self, architecture: Architecture) -> str:
        """A key that is equal only for architectures that compute the same function."""
        return self.to_text(architecture)

    def graphs(self, architecture: Architecture) -> Mapping[str, Graph]:
        """Name -> graph of each cell, for pictures; empty unless overridden."""
        return {}

    def is_valid(self, architecture: Architecture) -> bool:
        """Whether an architecture meets the constraints of the space; by default there are none."""
        return True

    def active(self, architecture: Architecture) -> frozenset[str]:
        """Names of the decisions that matter in an architecture, by default as `conditions` say.

        An override must let a decision depend only on decisions that matter, and on those before it in `choices`.
        """
        if not self.conditions:
            return frozenset(self.choices)
        active = self.__compiled.active(architecture)
        return frozenset(name for name, matters in zip(self.choices, active, strict=True) if matters)

    def trainer_settings(self, architecture: Architecture) -> dict[str, Any]:
        """Settings of the trainer that an architecture decides itself, such as `{"lr": 0.05}`; by default none."""
        return {}

    def decided_sizes(self, architecture: Architecture) -> dict[str, Any]:
        """Sizes of the network among `trainer_settings`, such as `channels` for the setting `network.channels`."""
        settings = self.trainer_settings(architecture).items()
        return {name.removeprefix(NETWORK): size for name, size in settings if name.startswith(NETWORK)}

    def known_sizes(
        self, network: Mapping[str, Any], nulls: Mapping[str, Any] | None = None, key: str = "trainer.network"
    ) -> dict[str, Any]:
        """The sizes of `trainer.network` that this space has.

        Every trainer sets `channels` and `cells`; a space without these sizes ignores them.

        Args:
            network: Name -> size, or None for the size in `nulls`.
            nulls: Sizes that None stands for; by default `small_network`.
            key: Setting that holds the sizes, for messages.

        Raises:
            UsageError: A size is neither one of these nor among `network_sizes`.
        """
        nulls = self.small_network if nulls is None else nulls
        for name in network:
            if name not in (*self.network_sizes, "channels", "cells"):
                sizes = ", ".join(self.network_sizes) or "none"
                raise UsageError(f"{key}.{name} is not a size of {type(self).__name__}; it has {sizes}")
        known = {name: value for name, value in network.items() if name in self.network_sizes}
        return {name: nulls.get(name) if value is None else value for name, value in known.items()}

    _null_is_an_option = False  # of settings that may be unset

    # --- derived -------------------------------------------------------------------------------------------------

    @cached_property
    def decisions(self) -> Mapping[str, Decision]:
        """Name -> kind and options of each decision.

        Raises:
            UsageError: As `check_choices`.
        """
        # another notation may not need the characters that the default one does
        check_choices(
            type(self).__name__,
            getattr(self, "choices", None),
            default_text=type(self).to_text is SearchSpace.to_text,
            null=self._null_is_an_option,
        )
        return {name: decision(options) for name, options in self.choices.items()}

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of options per decision.

        Raises:
            UsageError: As `check_choices`, or a condition is wrong.
        """
        return self.__compiled.sizes

    @cached_property
    def __free(self) -> tuple[int, ...]:
        """Positions of the decisions with more than one option, which mutation can change."""
        return tuple(position for position, size in enumerate(self.sizes) if size > 1)

    @cached_property
    def __constrained(self) -> bool:
        return type(self).is_valid is not SearchSpace.is_valid

    @cached_property
    def __conditional(self) -> bool:
        return bool(self.conditions) or type(self).active is not SearchSpace.active

    @cached_property
    def __compiled(self) -> Conditions:
        return compiled(type(self).__name__, self.decisions, self.conditions)

    @cached_property
    def __kinds(self) -> tuple[Decision, ...]:
        return tuple(self.decisions.values())

    @cached_property
    def __may_rest(self) -> tuple[bool, ...]:
        """For each decision, whether it may be inactive."""
        overridden = type(self).active is not SearchSpace.active
        return tuple(overridden or bool(self.conditions.get(name)) for name in self.choices)

    @cached_property
    def size(self) -> int:
        """Number of architectures that are valid and differ in a decision that matters; see `size_is_exact`."""
        return self.__compiled.count()[0] if self.__few is None else len(self.__few)

    @cached_property
    def size_is_exact(self) -> bool:
        """Whether `size` was counted; otherwise it is an upper bound, which ignores constraints."""
        return self.__few is not None or (not self.__listed_only and self.__compiled.count()[1])

    @property
    def __listed_only(self) -> bool:
        """Whether architectures can be counted only by listing them."""
        return self.__constrained or type(self).active is not SearchSpace.active

    @cached_property
    def __few(self) -> tuple[Architecture, ...] | None:
        """The architectures of a small space that can be counted only by listing them."""
        small = self.__listed_only and self.__compiled.count()[0] <= MAX_LISTED
        return tuple(self.architectures()) if small else None

    def reduced(self, architecture: Architecture) -> Architecture:
        """The architecture with the first option for every decision that does not matter."""
        if not self.__conditional:
            return architecture
        active = self.active(architecture)
        return tuple(
            value if name in active else RESTING for name, value in zip(self.choices, architecture, strict=True)
        )

    def settings(self, architecture: Architecture) -> dict[str, Any]:
        """Decision -> chosen option, for the decisions that matter, in order."""
        active = self.active(architecture)
        pairs = zip(self.choices.items(), architecture, strict=True)
        return {name: options[position] for (name, options), position in pairs if name in active}

    def index(self, decision: str, option: str) -> int:
        """Position of an option within its decision.

        Raises:
            UsageError: The decision has no such option.
        """
        options = [str(known) for known in self.choices[decision]]
        if option not in options:
            raise UsageError(f"{decision}={option!r} is not an option; expected one of {', '.join(options)}")
        return options.index(option)

    def options(self, architecture: Architecture) -> tuple[Any, ...]:
        """The chosen options, one per decision, whether it matters or not."""
        return tuple(options[i] for options, i in zip(self.choices.values(), architecture, strict=True))

    def validate(self, architecture: Architecture) -> None:
        """Raise `UsageError` unless this is a valid architecture of the space."""
        inside = len(architecture) == len(self.sizes) and all(map(lt, architecture, self.sizes))
        if inside and min(architecture, default=0) >= 0 and not self.__constrained:
            return  # the usual case, five times as fast as the checks that name the mistake
        if len(architecture) != len(self.sizes):
            raise UsageError(
                f"architecture {architecture!r} has {len(architecture)} decisions, "
                f"{type(self).__name__} has {len(self.sizes)}"
            )
        for value, (name, options) in zip(architecture, self.choices.items(), strict=True):
            if not 0 <= value < len(options):
                raise UsageError(f"architecture {architecture!r}: {name} must be 0 to {len(options) - 1}, got {value}")
        if self.__constrained and not self.is_valid(architecture):
            raise UsageError(f"architecture {self.to_text(architecture)} breaks a constraint of {type(self).__name__}")

    def sample(self, rng: Generator) -> Architecture:
        """A valid architecture. Each decision that matters is drawn uniformly; invalid draws are rejected.

        Raises:
            UserError: The space has no valid architecture, or so few that none was found.
        """
        if not self.__constrained:
            return self.reduced(self.__drawn(rng))
        for _ in range(MAX_ATTEMPTS):
            architecture = self.reduced(self.__drawn(rng))
            if self.is_valid(architecture):
                return architecture
        if listed := self.__few:
            return listed[int(rng.random() * len(listed))]
        if listed is not None:
            raise UserError(f"{type(self).__name__}: none of its architectures meets its constraints; loosen is_valid")
        raise UserError(
            f"{type(self).__name__}: none of {MAX_ATTEMPTS:,} random architectures meets its constraints, so the space "
            "is empty or nearly so; loosen is_valid, or state constraints as conditions"
        )

    def __drawn(self, rng: Generator) -> Architecture:
        # floor(u * size) of a 53-bit u: ten times as fast as integers() with an array of bounds
        return tuple(map(int, map(mul, rng.random(len(self.sizes)).tolist(), self.sizes)))

    def mutate(self, architecture: Architecture, rng: Generator) -> Architecture:
        """A valid architecture that differs in exactly one of the decisions that matter in both.

        Draws one of the decisions that matter, then its new option: any other, or one near the present if the options
        are ordered (`Decision.moved`). Decisions that matter only now are drawn uniformly. Returns the architecture
        itself if it has no valid neighbour.
        """
        free = self.__free
        if self.__conditional:
            active = self.active(architecture)
            matters = [name in active for name in self.choices]
            free = tuple(position for position in free if matters[position])
        if not free:
            return architecture
        for _ in range(MAX_ATTEMPTS if self.__constrained else 1):
            drawn, option = rng.random(2).tolist()
            position = free[int(drawn * len(free))]
            value = self.__kinds[position].moved(architecture[position], option)
            if self.__conditional:
                fresh = self.__drawn(rng)
                start = tuple(a if on else b for a, b, on in zip(architecture, fresh, matters, strict=True))
                child = self.reduced((*start[:position], value, *start[position + 1 :]))
            else:
                child = (*architecture[:position], value, *architecture[position + 1 :])
            if not self.__constrained or self.is_valid(child):
                return child
        return next(self.neighbours(architecture), architecture)

    def crossover(self, first: Architecture, second: Architecture, rng: Generator) -> Architecture:
        """A valid architecture that takes each decision from either parent with equal probability.

        A decision that matters in one parent is taken from that one. Returns one of the parents if no valid mixture is
        found.
        """
        parents = np.asarray((first, second))
        columns = np.arange(len(first))
        matters = [self.active(parent) if self.__conditional else self.choices for parent in (first, second)]
        one, other = (np.asarray([name in names for name in self.choices]) for names in matters)
        for _ in range(MAX_ATTEMPTS if self.__constrained else 1):
            chosen = np.where(one == other, rng.integers(2, size=len(first)), other)
            child = self.reduced(tuple(parents[chosen, columns].tolist()))
            if not self.__constrained or self.is_valid(child):
                return child
        return (first, second)[rng.integers(2)]

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """All valid architectures that differ in one decision that matters, in a fixed order.

        An ordered decision moves to the options beside the present one, others to every other option. Decisions that
        matter only then have their first option.
        """
        active = self.active(architecture) if self.__conditional else self.choices
        architecture = self.reduced(architecture)
        for position, (name, kind) in enumerate(self.decisions.items()):
            if name not in active:
                continue
            for value in kind.adjacent(architecture[position]):
                other = self.reduced((*architecture[:position], value, *architecture[position + 1 :]))
                if not self.__constrained or self.is_valid(other):
                    yield other

    def architectures(self) -> Iterator[Architecture]:
        """Every valid architecture that differs in a decision that matters; the last decision changes fastest."""
        overridden = type(self).active is not SearchSpace.active
        for architecture in self.__compiled.architectures():
            if overridden and architecture != self.reduced(architecture):
                continue
            if not self.__constrained or self.is_valid(architecture):
                yield architecture

    def encode(self, architecture: Architecture) -> NDArray[np.float32]:
        """The decisions as numbers from 0 to 1, the same length for every architecture.

        An unordered decision is one-hot, all 0 if it does not matter. An ordered one is its place in the range (on
        a logarithmic scale if it has one), 0 if it does not matter, followed by 1 or 0 for whether it does if it may
        not.
        """
        active = self.active(architecture) if self.__conditional else self.choices
        code: list[float] = []
        for kind, (name, position), may_rest in zip(
            self.__kinds, zip(self.choices, architecture, strict=True), self.__may_rest, strict=True
        ):
            matters = name in active
            if kind.ordered:
                code += [kind.scaled(position) if matters else 0.0] + [float(matters)] * may_rest
            else:
                code += [float(matters and position == other) for other in range(len(kind))]
        return np.asarray(code, dtype=np.float32)
