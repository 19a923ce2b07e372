"""Check that parts of your own keep what their kind promises.

Every part that is named is checked: nas check space=my_space, nas check strategy=my_strategy space=my_space. A line
a promise; exit code 1 where one is broken. A space also trains for an epoch, and one of its random architectures is
drawn and exported in every format.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nas.cli.commands.export import forms
from nas.cli.output import print_json
from nas.config.settings import compose
from nas.core import Objective
from nas.data.lock import locked_test_set
from nas.errors import UsageError, UserError, located
from nas.evaluators.base import Evaluator
from nas.evaluators.training import TrainingEvaluator
from nas.export.model import Model
from nas.formatting import plural
from nas.supernets.base import SupernetSpace
from nas.testing.data import data_promises
from nas.testing.evaluators import evaluator_promises
from nas.testing.executors import executor_promises
from nas.testing.networks import export_promises, picture_promises
from nas.testing.promises import Promise
from nas.testing.spaces import space_promises
from nas.testing.strategies import strategy_promises
from nas.testing.supernets import gradient_promises, supernet_promises
from nas.training.lazy import materialized
from nas.training.recipe import Recipe
from nas.validation import as_written, one_of, whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings
    from nas.space.base import SearchSpace

IMAGES = 16
"""On which exports are compared."""
QUICK_SUPERNET = ("supernet.epochs=1", "supernet.train_images=200")
"""Weights that are shared are looked at, not trained."""

NEEDED = "it needs what broke above"


@dataclass(frozen=True)
class Verdict:
    """What came of one promise.

    Args:
        part: such as `space=mine`.
        promise: in words.
        kept: None: it was not checked.
        reason: what broke and where, or why it was not checked; empty where it is kept.
    """

    part: str
    promise: str
    kept: bool | None
    reason: str = ""


def main(settings: Settings) -> int:
    one_of("format", settings.get("format"), ("table", "json"))
    whole_number("seed", settings.get("seed"), least=0)
    if not isinstance(settings.get("export"), bool):
        raise UsageError(f"export must be true or false, got {as_written(settings.get('export'))}")
    named = {word.lstrip("+~").partition("=")[0].partition(".")[0] for word in settings.arguments}
    kinds = [kind for kind in KINDS if kind in named]
    if not kinds:
        raise UsageError(f"no part to check; name one of {', '.join(KINDS)}, such as space=my_space")
    settings = _completed(settings, named)
    verdicts: list[Verdict] = []
    table = settings.get("format") == "table"
    for kind in kinds:
        part = f"{kind}={settings.choices[kind]}"
        if table:
            print(part)
        told: set[str] = set()
        for verdict in _verdicts(part, KINDS[kind], settings):
            verdicts.append(verdict)
            if table:
                print(_line(verdict, told), flush=True)
    if table:
        print(_summary(verdicts))
    else:
        print_json([asdict(verdict) for verdict in verdicts])
    return int(any(verdict.kept is False for verdict in verdicts))


def _completed(settings: Settings, named: set[str]) -> Settings:
    """With what else the named parts need, so that each can be checked by its name only."""
    more = []
    if "table" in named and "evaluator" not in named:
        more.append("evaluator=table")
    if settings.choices.get("evaluator") == "shared_weights":
        more += [
            word for word in QUICK_SUPERNET if not any(a.startswith(word.split("=")[0]) for a in settings.arguments)
        ]
    return compose(settings.command, [*settings.arguments, *more], settings.config_dir) if more else settings


def _verdicts(part: str, promised: Callable[[Settings], Sequence[Promise]], settings: Settings) -> Iterator[Verdict]:
    try:
        promises = promised(settings)
    except UserError as error:
        yield Verdict(part, "it can be made", kept=False, reason=str(error))
        return
    except Exception as error:  # noqa: BLE001 (whatever the part raises is what is to be said)
        yield Verdict(part, "it can be made", kept=False, reason=located(error))
        return
    yield Verdict(part, "it can be made", kept=True)
    lacking = ""
    for promise in promises:
        reason = promise.skipped or lacking
        if reason:
            yield Verdict(part, promise.text, None, reason)
            continue
        broken = promise.broken()
        yield Verdict(part, promise.text, broken is None, broken or "")
        if broken is not None and promise.needed:
            lacking = NEEDED


def _line(verdict: Verdict, told: set[str]) -> str:
    """A verdict for a person.

    Args:
        told: Reasons printed so far; each is printed once.
    """
    if verdict.kept:
        return f"  ✓ {verdict.promise}"
    if verdict.kept is None:
        reason = "" if verdict.reason == NEEDED else f" ({verdict.reason})"
        return f"  - {verdict.promise}: not checked{reason}"
    reason = "as above" if verdict.reason in told else verdict.reason
    told.add(verdict.reason)
    return f"  ✗ {verdict.promise}: {reason}"


def _summary(verdicts: Sequence[Verdict]) -> str:
    kept, broken, unchecked = (sum(v.kept is state for v in verdicts) for state in (True, False, None))
    rest = f", {unchecked} not checked" if unchecked else ""
    return f"{plural(kept, 'promise')} kept, {broken} broken{rest}"


def _space(settings: Settings) -> list[Promise]:
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
        return _model(settings, space, sizes)

    promises += [*of_supernet, *picture_promises(model)]
    return promises + (export_promises(model, forms()) if settings.get("export") else [])


def _train(space: SearchSpace, settings: Settings, recipe: Recipe) -> None:
    def make(**_more: Any) -> Evaluator:
        return TrainingEvaluator(space, settings.make("data"), recipe)

    for promise in evaluator_promises(make, space):
        promise.check()


def _check_pickling(settings: Settings, kind: str) -> None:
    """What a worker is sent is the class with its settings."""
    try:
        again = pickle.loads(pickle.dumps(settings.partial(kind)))()
    except Exception as error:
        raise AssertionError(f"pickle cannot send it: {located(error)}") from error
    expected = settings.make(kind)
    assert dict(again.choices) == dict(expected.choices), "a copy made in another process has other choices"


def _model(settings: Settings, space: SearchSpace, sizes: dict[str, Any]) -> Model:
    """One random architecture, untrained."""
    data = settings.make("data")
    split = data.split()
    architecture = space.sample(np.random.default_rng(settings.get("seed")))
    torch.manual_seed(0)
    network = materialized(space.build(architecture, data.task, sizes), data.task)
    network.eval()
    return Model(
        network=network,
        space=space,
        space_name=str(settings.choices["space"]),
        space_settings=settings.node("space"),
        architecture=architecture,
        sizes=sizes,
        task=data.task,
        class_names=tuple(data.class_names) or tuple(map(str, range(data.task.classes))),
        images=split.valid.first(IMAGES),
        split=split.hash,
        data=(str(settings.choices["data"]), {k: v for k, v in settings.node("data").items() if k != "root"}),
        retraining=None,
        commands={},
        config_dir=settings.config_dir,
    )


def _data(settings: Settings) -> list[Promise]:
    return data_promises(settings.factory("data"))


def _strategy(settings: Settings) -> list[Promise]:
    make, space = settings.factory("strategy"), settings.make("space")
    make(space=space, objective=Objective())
    source = _class_of(settings, "strategy")
    if settings.choices.get("supernet"):
        task, sizes = settings.make("data").task, space.known_sizes(settings.make("trainer").network)
        return gradient_promises(make, space, task, sizes, source)
    return strategy_promises(make, space, source=source)


def _evaluator(settings: Settings) -> list[Promise]:
    metric, source = settings.get("objective.metric"), _class_of(settings, "evaluator")
    space = settings.make("space")
    with locked_test_set():
        made = settings.make("evaluator", space=space)
    return evaluator_promises(lambda **_more: made, space, metric, source)


def _table(settings: Settings) -> list[Promise]:
    space = settings.make("space")
    evaluator = settings.make("evaluator", space=space)

    def reports_its_columns() -> None:
        architecture = space.sample(np.random.default_rng(0))
        found, expected = list(evaluator.reported(architecture)), list(settings.get("table.reported"))
        assert found == expected, f"it reports {', '.join(found)}, expected table.reported={expected}"

    return [
        *evaluator_promises(settings.factory("evaluator"), space),
        Promise("it reports its columns after a search", reports_its_columns),
    ]


def _class_of(settings: Settings, kind: str) -> object:
    """The class that a part is made of, for the place of its lines."""
    made: object = settings.partial(kind)
    return getattr(made, "func", made)


def _executor(settings: Settings) -> list[Promise]:
    return executor_promises(settings.make("executor"))


KINDS: dict[str, Callable[[Settings], list[Promise]]] = {
    "space": _space,
    "data": _data,
    "strategy": _strategy,
    "evaluator": _evaluator,
    "table": _table,
    "executor": _executor,
}
"""Kind of part -> what it promises; in the order of checking."""
