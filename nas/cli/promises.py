"""The promises of each kind of part, for `nas check`: the checks of `nas.testing` on parts made from settings."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nas.config.settings import make_space
from nas.core import Objective
from nas.data.lock import locked_test_set
from nas.errors import located
from nas.evaluators.base import Evaluator
from nas.evaluators.training import TrainingEvaluator
from nas.export.assembly import ExportJob, assemble, forms
from nas.export.model import Model
from nas.identity import without_folders
from nas.supernets.base import SupernetSpace
from nas.testing.data import data_promises
from nas.testing.evaluators import evaluator_promises
from nas.testing.executors import executor_promises
from nas.testing.networks import export_promises, picture_promises
from nas.testing.promises import Promise
from nas.testing.spaces import space_promises
from nas.testing.strategies import strategy_promises
from nas.testing.supernets import gradient_promises, supernet_promises
from nas.training.recipe import Recipe

if TYPE_CHECKING:
    from nas.cli.options import CheckOptions
    from nas.config.settings import Settings
    from nas.space.base import SearchSpace

COMPARED_IMAGES = 16
"""Images on which exports are compared."""


def _space(settings: Settings, options: CheckOptions) -> list[Promise]:
    space: SearchSpace = settings.make("space")
    data, recipe = settings.make("data"), settings.make("trainer")
    task, sizes = data.task, space.known_sizes(recipe.network)
    of_supernet = supernet_promises(space, task, sizes) if isinstance(space, SupernetSpace) else []
    build = type(space).build
    promises = [
        *space_promises(space, task, network=sizes),
        Promise("a network trains for an epoch", lambda: _train(space, settings, recipe), build),
        Promise("it can be sent to worker processes", lambda: _check_pickling(settings, "space"), type(space)),
    ]

    @cache
    def model() -> Model:
        return _model(settings, space, sizes, options.seed)

    promises += [*of_supernet, *picture_promises(model)]
    return promises + (export_promises(model, forms()) if options.export else [])


def _train(space: SearchSpace, settings: Settings, recipe: Recipe) -> None:
    """Check that the training evaluator keeps its promises on a space."""

    def make(**_more: Any) -> Evaluator:
        return TrainingEvaluator(space, settings.make("data"), recipe)

    for promise in evaluator_promises(make, space):
        promise.check()


def _check_pickling(settings: Settings, kind: str) -> None:
    """Check that a part reaches worker processes, which get its class and settings."""
    try:
        copied = pickle.loads(pickle.dumps(settings.partial(kind)))()
    except Exception as error:
        raise AssertionError(f"pickle cannot send it: {located(error)}") from error
    expected = settings.make(kind)
    assert dict(copied.choices) == dict(expected.choices), "a copy made in another process has different choices"


def _model(settings: Settings, space: SearchSpace, sizes: dict[str, Any], seed: int) -> Model:
    """One random architecture, untrained."""
    config_dir = settings.config_dir and settings.config_dir.absolute()
    job = ExportJob(
        space=space,
        space_name=str(settings.choices["space"]),
        space_settings=settings.node("space"),
        architecture=space.sample(np.random.default_rng(seed)),
        data=settings.make("data"),
        data_option=str(settings.choices["data"]),
        data_settings=without_folders(settings.node("data")),
        sizes=sizes,
        make_space=partial(make_space, config_dir=config_dir, trusted=True),
    )
    return assemble(job, None, COMPARED_IMAGES, {})


def _data(settings: Settings, _options: CheckOptions) -> list[Promise]:
    return data_promises(settings.factory("data"))


def _strategy(settings: Settings, _options: CheckOptions) -> list[Promise]:
    make, space = settings.factory("strategy"), settings.make("space")
    make(space=space, objective=Objective())
    source = _class_of(settings, "strategy")
    if settings.choices.get("supernet"):
        task, sizes = settings.make("data").task, space.known_sizes(settings.make("trainer").network)
        return gradient_promises(make, space, task, sizes, source)
    return strategy_promises(make, space, source=source)


def _evaluator(settings: Settings, options: CheckOptions) -> list[Promise]:
    metric, source = options.objective["metric"], _class_of(settings, "evaluator")
    space = settings.make("space")
    with locked_test_set():
        evaluator = settings.make("evaluator", space=space)
    return evaluator_promises(lambda **_more: evaluator, space, metric, source)


def _table(settings: Settings, _options: CheckOptions) -> list[Promise]:
    space = settings.make("space")
    evaluator = settings.make("evaluator", space=space)

    def reports_its_columns() -> None:
        architecture = space.sample(np.random.default_rng(0))
        reported, expected = list(evaluator.reported(architecture)), list(settings.get("table.reported"))
        assert reported == expected, f"it reports {', '.join(reported)}, expected table.reported={expected}"

    return [
        # their messages name the file; a line of our own code would mislead
        *(replace(promise, source=None) for promise in evaluator_promises(settings.factory("evaluator"), space)),
        Promise("it reports its columns after a search", reports_its_columns),
    ]


def _class_of(settings: Settings, kind: str) -> object:
    """The class of a part; messages name its lines."""
    factory: object = settings.partial(kind)
    return getattr(factory, "func", factory)


def _executor(settings: Settings, _options: CheckOptions) -> list[Promise]:
    return executor_promises(settings.make("executor"))


PromisesOf: TypeAlias = "Callable[[Settings, CheckOptions], list[Promise]]"
"""Makes the promises of a part from the settings and options of `nas check`."""

KINDS: dict[str, PromisesOf] = {
    "space": _space,
    "data": _data,
    "strategy": _strategy,
    "evaluator": _evaluator,
    "table": _table,
    "executor": _executor,
}
"""Kind of part -> its promises, in the order in which they are checked."""
