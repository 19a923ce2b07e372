"""Search spaces: declare `choices`, write `build`, and everything else is derived.

A space is a list of decisions, each with its options in order; an architecture is one option index per decision.
Sampling, mutation, crossover, neighbours and encoding follow from that. A space whose architectures have a notation
of their own overrides `to_text` and `from_text`; one with provable equalities overrides `canonical`; one with
constraints overrides `is_valid`.
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

ATTEMPTS = 10_000
"""Draws after which a constrained space is said to have (almost) no valid architecture."""


class SearchSpace(ABC):
    """A finite product of decisions, optionally constrained."""

    choices: Mapping[str, Sequence[str]]
    """Decision -> its options, in order; the one thing a space must declare. Fixed once the space is made, and for as
    long as there are runs of it: an architecture holds the options' positions. See `check_choices`."""

    network_sizes: Sequence[str] = ()
    """Sizes that a trainer may set, such as `channels` and `cells`; a space without any keeps its own."""

    small_network: Mapping[str, Any] = MappingProxyType({})
    """Sizes for a quick look, which a trainer's null stands for: a small network with every kind of cell in it."""

    published: Mapping[str, str] = MappingProxyType({})
    """Name -> text of well-known architectures; `from_text` takes the names too."""

    @abstractmethod
    def build(self, architecture: Architecture, task: Task, network: Mapping[str, Any] | None = None) -> nn.Module:
        """The network of an architecture, freshly initialised from torch's global generator.

        Args:
            architecture: a valid architecture of this space.
            task: shape of the images and number of classes.
            network: sizes in place of the space's own, from `trainer.network`; only keys of `network_sizes`.

        Returns:
            A module that maps float images (B, channels, height, width) to logits (B, classes).
        """

    def to_text(self, architecture: Architecture) -> str:
        """The architecture as one line of text, here `decision=option;decision=option`."""
        options = self.options(architecture)
        return ";".join(f"{name}={option}" for name, option in zip(self.choices, options, strict=True))

    def from_text(self, text: str) -> Architecture:
        """The inverse of `to_text`.

        Raises:
            UsageError: the text is not of this space.
        """
        parts = [part.partition("=") for part in text.strip().split(";")]
        names = [name.strip() for name, _, _ in parts]
        if names != list(self.choices):
            example = self.to_text((0,) * len(self.choices))
            raise UsageError(f"arch={text!r} is not of {type(self).__name__}; expected text like {example!r}")
        return tuple(self.index(name, option.strip()) for name, (_, _, option) in zip(names, parts, strict=True))

    def canonical(self, architecture: Architecture) -> str:
        """A key that is equal only for architectures that compute the same function."""
        return self.to_text(architecture)

    def graphs(self, architecture: Architecture) -> Mapping[str, Graph]:
        """Name -> cell, for pictures; empty where the space declares none."""
        return {}

    def is_valid(self, architecture: Architecture) -> bool:
        """Whether an architecture of the product meets the constraints of the space."""
        return True

    def known_sizes(
        self, network: Mapping[str, Any], nulls: Mapping[str, Any] | None = None, key: str = "trainer.network"
    ) -> dict[str, Any]:
        """Those of `trainer.network` that this space has.

        Every trainer speaks of `channels` and `cells`, which a space of other networks leaves aside.

        Args:
            nulls: what a size of null stands for; `small_network` unless given.
            key: what the sizes stand under, for messages.

        Raises:
            UsageError: another size is not among `network_sizes`.
        """
        nulls = self.small_network if nulls is None else nulls
        for name in network:
            if name not in (*self.network_sizes, "channels", "cells"):
                there = ", ".join(self.network_sizes) or "none"
                raise UsageError(f"{key}.{name} is not a size of {type(self).__name__}; it has {there}")
        known = {name: value for name, value in network.items() if name in self.network_sizes}
        return {name: nulls.get(name) if value is None else value for name, value in known.items()}

    # --- derived -------------------------------------------------------------------------------------------------

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of options per decision.

        Raises:
            UsageError: `choices` are not what they should be.
        """
        check_choices(self)
        return tuple(len(options) for options in self.choices.values())

    @cached_property
    def _free(self) -> tuple[int, ...]:
        """Decisions with an alternative: the ones mutation can change."""
        return tuple(position for position, size in enumerate(self.sizes) if size > 1)

    @cached_property
    def _constrained(self) -> bool:
        return type(self).is_valid is not SearchSpace.is_valid

    @property
    def size(self) -> int:
        """Number of architectures in the product, those that a constraint excludes included."""
        return math.prod(self.sizes)

    def index(self, decision: str, option: str) -> int:
        """Position of an option within its decision.

        Raises:
            UsageError: there is no such option.
        """
        options = [str(known) for known in self.choices[decision]]
        if option not in options:
            raise UsageError(f"{decision}={option!r} is not an option; expected one of {', '.join(options)}")
        return options.index(option)

    def options(self, architecture: Architecture) -> tuple[str, ...]:
        """The chosen option of each decision, by name."""
        return tuple(options[i] for options, i in zip(self.choices.values(), architecture, strict=True))

    def validate(self, architecture: Architecture) -> None:
        """Raise `UsageError` unless this is a valid architecture of the space."""
        inside = len(architecture) == len(self.sizes) and all(map(lt, architecture, self.sizes))
        if inside and min(architecture, default=0) >= 0 and not self._constrained:
            return  # the usual case, at a fifth of the cost of saying what is wrong
        if len(architecture) != len(self.sizes):
            raise UsageError(
                f"architecture {architecture!r} has {len(architecture)} decisions, "
                f"{type(self).__name__} has {len(self.sizes)}"
            )
        for value, (name, options) in zip(architecture, self.choices.items(), strict=True):
            if not 0 <= value < len(options):
                raise UsageError(f"architecture {architecture!r}: {name} must be 0 to {len(options) - 1}, got {value}")
        if self._constrained and not self.is_valid(architecture):
            raise UsageError(f"architecture {self.to_text(architecture)} breaks a constraint of {type(self).__name__}")

    def sample(self, rng: Generator) -> Architecture:
        """An architecture drawn uniformly from the valid ones."""
        for _ in range(ATTEMPTS):
            # floor(u * size) of a 53-bit u; a tenth of the cost of integers() with an array of bounds
            architecture = tuple(map(int, map(mul, rng.random(len(self.sizes)).tolist(), self.sizes)))
            if not self._constrained or self.is_valid(architecture):
                return architecture
        raise UserError(f"{type(self).__name__}: none of {ATTEMPTS} random architectures meets its constraints")

    def mutate(self, architecture: Architecture, rng: Generator) -> Architecture:
        """A valid architecture that differs in exactly one decision: the decision is drawn first, then its new option.

        Where the space has no other valid neighbour, the architecture itself.
        """
        if not self._free:
            return architecture
        for _ in range(ATTEMPTS if self._constrained else 1):
            place, option = rng.random(2).tolist()
            position = self._free[int(place * len(self._free))]
            value = int(option * (self.sizes[position] - 1))
            value += value >= architecture[position]
            child = (*architecture[:position], value, *architecture[position + 1 :])
            if not self._constrained or self.is_valid(child):
                return child
        return next(self.neighbours(architecture), architecture)

    def crossover(self, first: Architecture, second: Architecture, rng: Generator) -> Architecture:
        """A valid architecture that takes each decision from either parent with equal chance.

        Where no valid mixture turns up, one of the parents.
        """
        parents = np.asarray((first, second))
        columns = np.arange(len(first))
        for _ in range(ATTEMPTS if self._constrained else 1):
            child = tuple(parents[rng.integers(2, size=len(first)), columns].tolist())
            if not self._constrained or self.is_valid(child):
                return child
        return (first, second)[rng.integers(2)]

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """All valid architectures that differ in exactly one decision, in a fixed order."""
        for position, size in enumerate(self.sizes):
            for value in range(size):
                other = (*architecture[:position], value, *architecture[position + 1 :])
                if value != architecture[position] and (not self._constrained or self.is_valid(other)):
                    yield other

    def architectures(self) -> Iterator[Architecture]:
        """Every valid architecture, the last decision running fastest."""
        for architecture in product(*(range(size) for size in self.sizes)):
            if not self._constrained or self.is_valid(architecture):
                yield architecture

    def encode(self, architecture: Architecture) -> NDArray[np.float32]:
        """One-hot code of all decisions, shape (sum of `sizes`,)."""
        code = np.zeros(sum(self.sizes), dtype=np.float32)
        starts = np.cumsum((0, *self.sizes[:-1]))
        code[starts + np.asarray(architecture)] = 1.0
        return code


def check_choices(space: SearchSpace) -> None:
    """Raise `UsageError`, naming the decision, unless the `choices` of a space can be searched and written as text."""
    name, choices = type(space).__name__, getattr(space, "choices", None)
    if not isinstance(choices, Mapping) or not choices:
        raise UsageError(
            f"{name}.choices must be a mapping from each decision to its options, such as "
            f"{{'activation': ('relu', 'gelu')}}, got {as_written(choices)}"
        )
    plain = type(space).to_text is SearchSpace.to_text  # a notation of its own may do without these signs
    for decision, options in choices.items():
        where = f"{name}.choices[{decision!r}]"
        if not isinstance(decision, str) or (plain and not _fits_text(decision, ";=")):
            raise UsageError(
                f"{where}: a decision must be named by printable text without ';', '=' and outer blanks, "
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
            if plain and not _fits_text(str(option), ";"):
                raise UsageError(
                    f"{where} has the option {option!r}; expected printable text without ';' and outer blanks"
                )
        texts = [str(option) for option in options]
        twice = [text for text in texts if texts.count(text) > 1]
        if twice:
            raise UsageError(f"{where} has the option {twice[0]!r} twice; expected each once")


def _fits_text(word: str, signs: str) -> bool:
    """Whether `from_text` finds a word again in what `to_text` wrote."""
    return bool(word) and word.isprintable() and word == word.strip() and not any(sign in word for sign in signs)


def recorded_choices(space: SearchSpace) -> list[list[Any]]:
    """`choices` as a run is kept with them: `[decision, [option, …]]`, in order and JSON-safe.

    Raises:
        UsageError: as `check_choices`.
    """
    check_choices(space)
    return [[decision, [str(option) for option in options]] for decision, options in space.choices.items()]


def parse(space: SearchSpace, text: str) -> Architecture:
    """`space.from_text(text)`, validated.

    Raises:
        UsageError: the text is not of this space, in whatever way `from_text` says so.
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
