"""The jobs of a sweep: Hydra's own grammar reads `seed=range(0,5)`, `strategy=a,b` and `strategy=glob(*)`.

A key that is given once with a single value is fixed. A key with a sweep varies, and the jobs are the product of all
keys that vary, in the order of the command line: the last one changes fastest, as in Hydra.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, ParsedElementType, QuotedString, RangeSweep, Transformer
from hydra.core.override_parser.types import Sweep as Several
from hydra.errors import HydraException

from nas.config.overrides import LISTS_OF_TEXT, RAW_KEYS, TUNE, closest
from nas.errors import UsageError

FUNCTIONS = ("range", "choice", "glob", "interval", "sort", "shuffle")
"""What Hydra's grammar has for several values."""
CALL = re.compile(r"\s*(\w+)\s*\(")
MAX_VALUES = 100_000
"""Largest number of values of a key; more are a typing error."""

NAMES = r"[^\s'\"()\[\]{}\\,]+(,[^\s'\"()\[\]{}\\,]+)+"
"""Several names of runs, which may have a `=` as those of a sweep do; Hydra's grammar would want them in quotes."""
HYDRA_KEYS = {
    "hydra/launcher": "choose where the jobs of a sweep run by launcher=local, slurm or ray",
    "hydra.launcher": "the settings of a launcher are launcher.SETTING=value",
    "hydra/sweeper": "a sweep is the product of the values given; a strategy= searches",
    "hydra.sweeper": "give the values of a sweep on the command line, such as seed=range(0,5)",
    "hydra.sweep": "the files of a sweep go to sweep_dir=FOLDER/sweep=NAME",
    "hydra.run": "the files of a run go to dir=FOLDER",
    "hydra.searchpath": "a folder with options of your own is --config-dir FOLDER",
    "hydra.job": "a run is named by run=NAME, and the runs of a sweep by sweep=NAME",
    "hydra.output_subdir": "the store keeps the settings of every run (nas show run=NAME)",
    "hydra.mode": "a sweep is started by -m",
    "hydra.verbose": "set the environment variable NAS_DEBUG=1 to see tracebacks",
    "hydra.help": "nas COMMAND --help lists the settings",
}
"""Hydra's own keys -> what does the same here."""


@dataclass(frozen=True)
class SweepJob:
    """One job of a sweep.

    Args:
        varied: Key -> value, as text, of each key that varies.
        arguments: All `key=value` of the job's command, fixed and varied, in the order of the command line.
    """

    varied: Mapping[str, str]
    arguments: Sequence[str]

    @property
    def label(self) -> str:
        """What differs from the other jobs: `strategy=random-seed=0`; `job` for the only job of a sweep.

        It has no comma of its own: `nas retrain -m run=NAME` would read it as two values.
        """
        return "-".join(f"{key}={value}" for key, value in self.varied.items()) or "job"


@dataclass(frozen=True)
class Sweep:
    """A parsed sweep.

    Args:
        axes: Key -> values, as text, of each key that varies.
        arguments: `key=value` of the command line.
    """

    axes: Mapping[str, Sequence[str]]
    arguments: Sequence[str]

    def __len__(self) -> int:
        size = 1
        for values in self.axes.values():
            size *= len(values)
        return size

    @property
    def fixed(self) -> list[str]:
        """The arguments that all jobs share."""
        return [argument for argument in self.arguments if _key(argument) not in self.axes]

    @property
    def example(self) -> list[str]:
        """The arguments of one job."""
        return [f"{key}={values[0]}" for key, values in self.axes.items()] + self.fixed

    def jobs(self) -> list[SweepJob]:
        """All jobs, the last key changing fastest."""
        jobs = []
        for values in itertools.product(*self.axes.values()):
            varied = dict(zip(self.axes, values, strict=True))
            arguments = [
                f"{key}={varied[key]}" if (key := _key(argument)) in varied else argument for argument in self.arguments
            ]
            jobs.append(SweepJob({key.lstrip("+"): value for key, value in varied.items()}, arguments))
        return jobs


def parse_sweep(arguments: Sequence[str], options: Mapping[str, Sequence[str]]) -> Sweep:
    """Read the arguments of a sweep.

    Args:
        arguments: `key=value` each.
        options: Group -> its options, for `glob()`.

    Raises:
        UsageError: A key is given twice, a value occurs twice, or a `glob()` matches nothing.
    """
    axes: dict[str, list[str]] = {}
    seen: set[str] = set()
    for argument in arguments:
        key, sign, _ = argument.partition("=")
        if not sign:
            raise UsageError(f"{argument!r} is not key=value{closest(key, list(options))}")
        if key in seen:
            raise UsageError(f"{key} is given twice; expected it once, with all its values: {key}=a,b")
        seen.add(key)
        values = _values(argument, options)
        if values is None:
            continue
        value, times = Counter(values).most_common(1)[0]
        if times > 1:
            raise UsageError(f"{argument} has the value {value} twice; expected each once")
        axes[key] = values
    return Sweep(axes, list(arguments))


def refuse_foreign_keys(arguments: Sequence[str]) -> None:
    """Raise `UsageError` if an argument is a key of Hydra's own, with what to use here."""
    for argument in arguments:
        key = argument.partition("=")[0].lstrip("+~")
        if key == "hydra" or key.startswith(("hydra.", "hydra/")):
            known = next((text for name, text in HYDRA_KEYS.items() if f"{key}.".startswith(f"{name}.")), None)
            raise UsageError(
                f"{key} is a setting of Hydra, which only composes settings here; {known or 'leave it out'}"
            )


def _key(argument: str) -> str:
    return argument.partition("=")[0]


def _values(argument: str, options: Mapping[str, Sequence[str]]) -> list[str] | None:
    """The values of a sweep as they are written on a command line; None if the argument has a single value."""
    key, _, text = argument.partition("=")
    if key.lstrip("+").startswith(f"{TUNE}."):
        return None  # a decision: its options are searched, not swept
    if key == "run" and re.fullmatch(NAMES, text):
        return text.split(",")
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:  # raw text, such as an architecture
        if key not in (*RAW_KEYS, *LISTS_OF_TEXT) and _looks_like_several(argument.partition("=")[2]):
            raise _no_list(argument) from None
        return None
    if not override.is_sweep_override():
        return None
    value = override.value()
    if isinstance(value, Glob):
        matching: list[str] = value.filter(list(options.get(key, ())))
        if not matching:
            expected = f"one of {', '.join(options[key])}" if key in options else f"{key} to be a group of options"
            raise UsageError(f"{argument} matches nothing; expected {expected}")
        return matching
    if isinstance(value, RangeSweep) and value.step == 0:
        raise UsageError(f"{argument} has a step of 0; expected another step, or range(START,STOP)")
    values = [_written(element) for element in _elements(override, argument)]
    if not values:
        raise UsageError(f"{argument} has no values; expected at least one, such as seed=range(0,5)")
    if len(values) > MAX_VALUES:
        raise UsageError(f"{argument} has more than {MAX_VALUES:,} values; expected fewer")
    return values


def _elements(override: Override, argument: str) -> list[ParsedElementType]:
    """The values, at most one more than are allowed."""
    try:
        return list(itertools.islice(override.sweep_iterator(transformer=Transformer.identity), MAX_VALUES + 1))
    except (HydraException, ValueError, TypeError):
        raise _no_list(argument) from None


def _looks_like_several(text: str) -> bool:
    """Whether a text that the grammar rejects was meant as several values: `range(0,3`, `rnage(0,3)`, `0,1,`."""
    call = CALL.match(text)
    named = call is not None and difflib.get_close_matches(call[1], FUNCTIONS, n=1, cutoff=0.75)
    return bool(named) or text.rstrip().endswith(",")


def _no_list(argument: str) -> UsageError:
    return UsageError(f"{argument} is not a list of values; expected values such as seed=range(0,5) or seed=0,1,2")


def _written(element: ParsedElementType) -> str:
    """A value as it is written on the command line of a job."""
    for inner in element if isinstance(element, list) else [element]:
        if isinstance(inner, Several | Glob):
            name = "glob" if isinstance(inner, Glob) else type(inner).__name__.removesuffix("Sweep").lower()
            raise UsageError(f"{name}(…) stands among other values; expected it on its own, or all values as a,b,c")
    if isinstance(element, QuotedString):
        return element.with_quotes() if "," in element.text else element.text
    return element if isinstance(element, str) else str(Transformer.encode(element))
