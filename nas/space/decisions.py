"""Kinds of decision: an unordered choice, an ordered one, and ranges of numbers.

Every kind is a finite, immutable sequence of options, and an architecture holds the position of one. A plain tuple of
options is an unordered choice. Order and scale are what strategies learn from: a mutation moves to a near option, a
neighbour is an adjacent one, and an encoding is a number from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import lt
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from nas.errors import UsageError
from nas.validation import as_written

Option: TypeAlias = str | int | float
MAX_OPTIONS = 10_000
"""Most options of a range."""
STEPS = 21
"""Options of a range of real numbers, unless stated: a step of 5 % of the range."""
DIGITS = 4
"""Significant digits of the options of a range, at least."""
REACH = 0.1
"""Scale of the distance that a mutation moves on an ordered decision, as a fraction of its options."""


class Decision(Sequence[Any]):
    """Options of a decision, in order.

    Attributes:
        options: The options: texts or numbers, each different as text.
        ordered: Whether near positions are alike.
    """

    options: tuple[Any, ...]
    ordered: bool = False

    @overload
    def __getitem__(self, position: int) -> Any: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Any]: ...
    def __getitem__(self, position: int | slice) -> Any:
        return self.options[position]

    def __len__(self) -> int:
        return len(self.options)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decision) and (type(self), self.options) == (type(other), other.options)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.options))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.options))})"

    def describe(self) -> str:
        """The kind and its options, for people."""
        return ", ".join(map(str, self.options))

    def scaled(self, position: int) -> float:
        """Place of an option in the order, 0 to 1; by default the positions are evenly spaced."""
        return position / (len(self) - 1) if len(self) > 1 else 0.0

    def adjacent(self, position: int) -> list[int]:
        """Positions of the neighbouring options: those beside it if ordered, otherwise all others."""
        if not self.ordered:
            return [other for other in range(len(self)) if other != position]
        return [other for other in (position - 1, position + 1) if 0 <= other < len(self)]

    def moved(self, position: int, uniform: float) -> int:
        """Position of another option, drawn by a uniform number.

        Unordered: each other option with equal probability. Ordered: an option `d` positions away with a probability
        proportional to exp(-d / s), where s is a tenth of the number of options, but at least 1.

        Args:
            uniform: Random number from 0 to below 1.
        """
        if not self.ordered:
            other = int(uniform * (len(self) - 1))
            return other + (other >= position)
        cumulative = _near(len(self), position)
        return int(min(cumulative.searchsorted(uniform * cumulative[-1], side="right"), len(self) - 1))


@lru_cache(maxsize=1024)
def _near(count: int, position: int) -> NDArray[np.float64]:
    """Cumulative weights of the options around a position, whose own weight is 0."""
    distance = np.abs(np.arange(count) - position)
    weights = np.exp((1 - distance) / max(1.0, REACH * count))
    weights[position] = 0.0
    return np.cumsum(weights)


class Categorical(Decision):
    """An unordered choice, such as of an operation.

    Args:
        options: Texts or numbers, at least one.
    """

    def __init__(self, options: Sequence[Option]) -> None:
        self.options = _listed("Categorical", options)


class Ordinal(Decision):
    """An ordered choice, such as of a kernel size from 3, 5 and 7.

    Args:
        options: Texts or numbers in their order, at least one.
    """

    ordered = True

    def __init__(self, options: Sequence[Option]) -> None:
        self.options = _listed("Ordinal", options)


class _Range(Decision):
    """Numbers from a lowest to a highest one."""

    ordered = True
    log: bool

    def __repr__(self) -> str:
        log = ", log=True" if self.log else ""
        return f"{type(self).__name__}({self.options[0]!r}, {self.options[-1]!r}{log}, {len(self)} options)"

    def describe(self) -> str:
        return f"{self.options[0]} to {self.options[-1]}{', log' if self.log else ''}, {len(self):,} steps"

    def scaled(self, position: int) -> float:
        scale = math.log if self.log else float
        low, value, high = (scale(self.options[index]) for index in (0, position, -1))
        return (value - low) / (high - low)


class Integer(_Range):
    """Whole numbers from `low` to `high`, both included.

    Args:
        low, high: Lowest and highest number; with `log`, `low` is above 0.
        step: Difference of two options; not with `log`.
        log: Whether options are evenly spaced on a logarithmic scale, and rounded to whole numbers.
        steps: Number of options of a logarithmic range before numbers that round alike are merged (default: 21).

    Raises:
        UsageError: The range is empty, has one number or too many, or `log` starts at 0 or below.
    """

    def __init__(self, low: int, high: int, step: int = 1, *, log: bool = False, steps: int | None = None) -> None:
        what = f"Integer({as_written(low)}, {as_written(high)})"
        for number in (low, high, step, 1 if steps is None else steps):
            if isinstance(number, bool) or not isinstance(number, int):
                raise UsageError(f"{what}: expected whole numbers, got {as_written(number)}")
        _check_range(what, low, high, log=log)
        self.log = log
        if log:
            if step != 1:
                raise UsageError(f"{what}: step={step} and log exclude each other; set steps, the number of options")
            values = _spread(low, high, _counted(what, STEPS if steps is None else steps), log=True)
            self.options = tuple(sorted({round(value) for value in values}))
            return
        if steps is not None:
            raise UsageError(f"{what}: steps={steps} is for log; set step, the difference of two options")
        if step < 1 or (high - low) % step:
            raise UsageError(f"{what}: step must be a divisor of {high - low}, the length of the range, got {step}")
        _counted(what, (high - low) // step + 1, "step")
        self.options = tuple(range(low, high + 1, step))

    def describe(self) -> str:
        if self.log:
            return super().describe()
        low, step = self.options[0], self.options[1] - self.options[0]
        return f"{low} to {self.options[-1]}" + (f", step {step}" if step > 1 else "")


class Float(_Range):
    """Real numbers from `low` to `high`, both included, at `steps` even steps.

    Args:
        low, high: Lowest and highest number, finite; with `log`, `low` is above 0.
        log: Whether options are evenly spaced on a logarithmic scale.
        steps: Number of options, 2 to 10,000. They are rounded to four digits, or to as many as tell them apart.

    Raises:
        UsageError: The range is empty or has one number, or `log` starts at 0 or below.
    """

    def __init__(self, low: float, high: float, *, log: bool = False, steps: int = STEPS) -> None:
        what = f"Float({as_written(low)}, {as_written(high)})"
        for number in (low, high):
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise UsageError(f"{what}: expected finite numbers, got {as_written(number)}")
        if isinstance(steps, bool) or not isinstance(steps, int):
            raise UsageError(f"{what}: steps must be a whole number, got {as_written(steps)}")
        _check_range(what, low, high, log=log)
        self.log = log
        values = _spread(float(low), float(high), _counted(what, steps), log=log)
        for digits in range(DIGITS, 18):
            inner = [float(f"{value:.{digits}g}") for value in values[1:-1]]
            self.options = (float(low), *inner, float(high))
            if all(map(lt, self.options, self.options[1:])):
                return
        raise UsageError(f"{what}: {steps} steps are too close to tell apart; set fewer steps")


def decision(options: Any) -> Decision:
    """The decision of an entry of `SearchSpace.choices`; a plain sequence of options is unordered."""
    return options if isinstance(options, Decision) else Categorical(options)


def _listed(kind: str, options: Sequence[Option]) -> tuple[Option, ...]:
    if isinstance(options, str) or not isinstance(options, Sequence | np.ndarray) or len(options) == 0:
        raise UsageError(f"{kind} needs a list or tuple of at least one option, got {as_written(options)}")
    return tuple(options)


def _check_range(what: str, low: float, high: float, *, log: bool) -> None:
    if low > high:
        raise UsageError(f"{what}: low is above high; expected the lower number first")
    if low == high:
        raise UsageError(f"{what} has one value; expected low below high, or set that value without a range")
    if log and low <= 0:
        raise UsageError(f"{what}: a logarithmic range must start above 0, got {low}")


def _counted(what: str, steps: int, key: str = "steps") -> int:
    if steps < 2 or steps > MAX_OPTIONS:
        raise UsageError(f"{what} has {steps:,} options; expected 2 to {MAX_OPTIONS:,}; set {key}")
    return steps


def _spread(low: float, high: float, steps: int, *, log: bool) -> list[float]:
    spread = np.geomspace if log else np.linspace
    return [float(value) for value in spread(low, high, steps)]
