"""Samplers of Optuna by name, and silence of Optuna's own messages."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from nas.errors import UsageError
from nas.formatting import did_you_mean
from nas.validation import as_written

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


PICKLED = ("CmaEsSampler",)
"""Samplers that read pickles from the trials; a store may come from a stranger."""


def check_sampler(name: object, options: object) -> None:
    """Raise `UsageError` unless Optuna is installed and has the sampler, which takes the options."""
    if find_spec("optuna") is None:
        raise UsageError("strategy=optuna needs Optuna, which is not installed: pip install 'cellnas[optuna]'")
    samplers = _samplers()
    if name in PICKLED:
        raise UsageError(
            f"strategy.sampler={name} keeps its state as pickled code, which a store must not run; choose another one"
        )
    if not isinstance(name, str) or name not in samplers:
        hint = did_you_mean(name, list(samplers)) if isinstance(name, str) else ""
        raise UsageError(f"strategy.sampler must be one of {', '.join(samplers)}, got {as_written(name)}{hint}")
    if not isinstance(options, Mapping):
        raise UsageError(
            f"strategy.options must be a mapping such as {{multivariate: true}}, got {as_written(options)}"
        )
    if "seed" in options:
        raise UsageError("strategy.options.seed would make all proposals alike; set seed, that of the run")
    known = [option for option in inspect.signature(samplers[name]).parameters if option != "seed"]
    for option in options:
        if option not in known:
            hint = did_you_mean(str(option), known)
            raise UsageError(
                f"strategy.options.{option} is not an argument of {name}{hint}; it has {', '.join(known) or 'none'}"
            )
    with quiet():
        new_sampler(name, options, 0, 0)


def new_sampler(name: str, options: Mapping[str, Any], seed: int, run_seed: int) -> BaseSampler:
    """A sampler that has seen nothing.

    Args:
        seed: Seed of the trial.
        run_seed: Seed of all trials, for a sampler that goes through one sequence, which it counts by the trials.

    Raises:
        UsageError: It refuses the value of an option.
    """
    from optuna.samplers import RandomSampler

    given: dict[str, Any] = {**options, "seed": seed}
    if name == "QMCSampler":  # what is not of the sequence is random in each trial
        given = {"independent_sampler": RandomSampler(seed), **options, "seed": run_seed}
    try:
        sampler: BaseSampler = _samplers()[name](**given)
        return sampler
    except Exception as error:  # noqa: BLE001 (a sampler may raise anything)
        raise UsageError(f"strategy.options={dict(options)} does not suit strategy.sampler={name}: {error}") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's messages and its warnings of experimental parts from the user."""
    from optuna import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def _samplers() -> dict[str, Any]:
    """The samplers that need nothing but a seed, by name."""
    from optuna import samplers

    found = {}
    for name, made in vars(samplers).items():
        if inspect.isclass(made) and issubclass(made, samplers.BaseSampler) and not inspect.isabstract(made):
            parameters = inspect.signature(made).parameters
            needed = [each for each, parameter in parameters.items() if parameter.default is parameter.empty]
            if "seed" in parameters and not needed and name not in PICKLED:
                found[name] = made
    return dict(sorted(found.items()))
