"""Search spaces: declare `choices`, write `build`, and everything else is derived.

A space is a list of decisions, each with its options in order. An architecture is one option index per decision.
Sampling, mutation, crossover, neighbours and encoding follow from that. Override `to_text` and `from_text` if the field
has a notation for the architectures, `canonical` if some of them are provably equal, and `is_valid` if some of them are
not allowed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cached_property
from itertools import product
from operator import lt, mul
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.core import Architecture, Task
from nas.errors import UsageError, UserError, located
from nas.space.graph import Graph
from nas.validation import as_written

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray
    from torch import nn

MAX_ATTEMPTS = 10_000
"""Number of draws after which a constrained space counts as one without valid architectures."""


class SearchSpace(ABC):
    """A finite product of decisions, optionally constrained."""

    choices: Mapping[str, Sequence[str]]
    """Name of each decision -> its options, in order. They must not change after the space is created, nor while it
    has stored runs, since an architecture holds the positions of options. `check_choices` states what is allowed."""

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
        """The architecture as one line of text; by default `decision=option;decision=option`."""
        options = self.options(architecture)
        return ";".join(f"{name}={option}" for name, option in zip(self.choices, options, strict=True))

    def from_text(self, text: str) -> Architecture:
        """The inverse of `to_text`.

        Raises:
            UsageError: The text is not an architecture of this space.
        """
        parts = [part.partition("=") for part in text.strip().split(";")]
        names = [name.strip() for name, _, _ in parts]
        if names != list(self.choices):
            example = self.to_text((0,) * len(self.choices))
            raise UsageError(
                f"arch={text!r} is not an architecture of {type(self).__name__}; expected text like {example!r}"
            )
        return tuple(self.index(name, option.strip()) for name, (_, _, option) in zip(names, parts, strict=True))

    def canonical(self, architecture: Architecture) -> str:
        """A key that is equal only for architectures that compute the same function."""
        return self.to_text(architecture)

    def graphs(self, architecture: Architecture) -> Mapping[str, Graph]:
        """Name -> graph of each cell, for pictures; empty unless overridden."""
        return {}

    def is_valid(self, architecture: Architecture) -> bool:
        """Whether an architecture meets the constraints of the space; by default there are none."""
        return True

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

    # --- derived -------------------------------------------------------------------------------------------------

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of options per decision.

        Raises:
            UsageError: As `check_choices`.
        """
        check_choices(self)
        return tuple(len(options) for options in self.choices.values())

    @cached_property
    def __free(self) -> tuple[int, ...]:
        """Positions of the decisions with more than one option, which mutation can change."""
        return tuple(position for position, size in enumerate(self.sizes) if size > 1)

    @cached_property
    def __constrained(self) -> bool:
        return type(self).is_valid is not SearchSpace.is_valid

    @property
    def size(self) -> int:
        """Number of architectures, including those that a constraint excludes."""
        return math.prod(self.sizes)

    def index(self, decision: str, option: str) -> int:
        """Position of an option within its decision.

        Raises:
            UsageError: The decision has no such option.
        """
        options = [str(known) for known in self.choices[decision]]
        if option not in options:
            raise UsageError(f"{decision}={option!r} is not an option; expected one of {', '.join(options)}")
        return options.index(option)

    def options(self, architecture: Architecture) -> tuple[str, ...]:
        """The names of the chosen options, one per decision."""
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
        """An architecture drawn uniformly from the valid ones."""
        for _ in range(MAX_ATTEMPTS):
            # floor(u * size) of a 53-bit u: ten times as fast as integers() with an array of bounds
            architecture = tuple(map(int, map(mul, rng.random(len(self.sizes)).tolist(), self.sizes)))
            if not self.__constrained or self.is_valid(architecture):
                return architecture
        raise UserError(f"{type(self).__name__}: none of {MAX_ATTEMPTS} random architectures meets its constraints")

    def mutate(self, architecture: Architecture, rng: Generator) -> Architecture:
        """A valid architecture that differs in exactly one decision.

        Draws the decision first, then its new option. Returns the architecture itself if it has no valid neighbour.
        """
        if not self.__free:
            return architecture
        for _ in range(MAX_ATTEMPTS if self.__constrained else 1):
            decision, option = rng.random(2).tolist()
            position = self.__free[int(decision * len(self.__free))]
            value = int(option * (self.sizes[position] - 1))
            value += value >= architecture[position]
            child = (*architecture[:position], value, *architecture[position + 1 :])
            if not self.__constrained or self.is_valid(child):
                return child
        return next(self.neighbours(architecture), architecture)

    def crossover(self, first: Architecture, second: Architecture, rng: Generator) -> Architecture:
        """A valid architecture that takes each decision from either parent with equal probability.

        Returns one of the parents if no valid mixture is found.
        """
        parents = np.asarray((first, second))
        columns = np.arange(len(first))
        for _ in range(MAX_ATTEMPTS if self.__constrained else 1):
            child = tuple(parents[rng.integers(2, size=len(first)), columns].tolist())
            if not self.__constrained or self.is_valid(child):
                return child
        return (first, second)[rng.integers(2)]

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """All valid architectures that differ in exactly one decision, in a fixed order."""
        for position, size in enumerate(self.sizes):
            for value in range(size):
                other = (*architecture[:position], value, *architecture[position + 1 :])
                if value != architecture[position] and (not self.__constrained or self.is_valid(other)):
                    yield other

    def architectures(self) -> Iterator[Architecture]:
        """Every valid architecture; the last decision changes fastest."""
        for architecture in product(*(range(size) for size in self.sizes)):
            if not self.__constrained or self.is_valid(architecture):
                yield architecture

    def encode(self, architecture: Architecture) -> NDArray[np.float32]:
        """One-hot encoding of all decisions, shape (sum of `sizes`,)."""
        code = np.zeros(sum(self.sizes), dtype=np.float32)
        starts = np.cumsum((0, *self.sizes[:-1]))
        code[starts + np.asarray(architecture)] = 1.0
        return code


def check_choices(space: SearchSpace) -> None:
    """Raise `UsageError`, naming the decision, unless the `choices` of a space can be searched and written as text.

    A decision has a name and a list or tuple of at least one option. Options are text or numbers, each different as
    text. Unless the space overrides `to_text`, names and options are printable and contain no `;`, and names no `=`.
    """
    name, choices = type(space).__name__, getattr(space, "choices", None)
    if not isinstance(choices, Mapping) or not choices:
        raise UsageError(
            f"{name}.choices must be a mapping from each decision to its options, such as "
            f"{{'activation': ('relu', 'gelu')}}, got {as_written(choices)}"
        )
    default_text = type(space).to_text is SearchSpace.to_text  # another notation may not need these characters
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
            if not isinstance(option, str | int | float | np.number):  # numbers are written as text
                raise UsageError(f"{where} has the option {as_written(option)}; expected text")
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


def recorded_choices(space: SearchSpace) -> list[list[Any]]:
    """`choices` in the form that is stored with a run: `[decision, [option, …]]`, in order and JSON-safe.

    Raises:
        UsageError: As `check_choices`.
    """
    check_choices(space)
    return [[decision, [str(option) for option in options]] for decision, options in space.choices.items()]


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
