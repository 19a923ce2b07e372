"""A trial before its evaluation, and the trial that its outcome makes of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from nas.core import Learns, Listener, Metrics, Objective, Proposal, Strategy, Trial, UsageError, WatchesEpochs
from nas.evaluation import Outcome
from nas.executors.base import Died, Executor
from nas.executors.inline import Inline
from nas.identity import DECISIONS
from nas.supernet import GradientStrategy, SearchesSupernets, SupernetSearch

if TYPE_CHECKING:
    from nas.space import SearchSpace
    from nas.store.base import RunRecord

EMPTY: Mapping[str, float] = MappingProxyType({})


class Plan(NamedTuple):
    """A trial before its evaluation; the fields are those of `Trial`."""

    number: int
    proposal: Proposal
    text: str
    canonical: str
    seed: int
    asked_after: int

    def with_outcome(self, outcome: Outcome | Died) -> Trial:
        """The trial, failed where the outcome is an error or its worker died."""
        if isinstance(outcome, Died):
            outcome = Outcome({}, outcome.seconds, error_kind=outcome.kind, error=outcome.reason)
        return Trial(
            *self[:5],
            "completed" if outcome.error is None else "failed",
            outcome.metrics,
            outcome.seconds,
            outcome.cost,
            None,
            outcome.error_kind,
            outcome.error,
            outcome.curve,
            self.asked_after,
        )


def with_search(trial: Trial, search: SupernetSearch) -> Trial:
    """A trial with the supernet's search that its architecture came from: time, cost, and its curve epoch by epoch."""
    curve = tuple({**first, **second} for first, second in zip_longest(search.curve, trial.curve, fillvalue=EMPTY))
    return replace(
        trial,
        seconds=trial.seconds + search.seconds,
        cost={**trial.cost, **search.cost, "search_seconds": search.seconds},
        curve=curve,
    )


def check_learner(
    evaluator: Learns, agent: Strategy, executor: Executor, objective: Objective, *, costless: bool
) -> None:
    """Raise `UsageError`, before the training, where a search cannot be scored by weights that an evaluator trains.

    Args:
        costless: whether simulated seconds are the search's only limit.
    """
    name = type(evaluator).__name__
    if isinstance(agent, GradientStrategy):
        raise UsageError(
            f"strategy {type(agent).__name__} trains a supernet of its own, and {name} would score its cell by "
            "another; set evaluator=training, or evaluator=table"
        )
    if evaluator.sequential and not isinstance(executor, Inline):
        raise UsageError(
            f"{name} learns from one proposal after the other, which workers cannot share; set executor=inline, or "
            "evaluator.train=before"
        )
    if objective.metric not in evaluator.metric_names:
        raise UsageError(
            f"objective.metric must be one of the evaluator's metrics ({', '.join(sorted(evaluator.metric_names))}), "
            f"got {objective.metric!r}"
        )
    if costless:
        raise UsageError(
            f"budget.simulated_seconds is the only limit and would never be reached, since {name} has no such cost; "
            "set budget.trials or budget.hours"
        )


def to_watchers(listeners: Sequence[Listener], number: int | None) -> Callable[[int, Sequence[Metrics]], None]:
    """What a training of a supernet reports its epochs to.

    Args:
        number: of the trial that it belongs to; None: it is the evaluator's.
    """
    watching = [listener for listener in listeners if isinstance(listener, WatchesEpochs)]

    def report(epochs: int, curve: Sequence[Metrics]) -> None:
        for listener in watching:
            listener.epoch(number, epochs, curve)

    return report


def check_supernets(agent: Strategy, supernets: SearchesSupernets | None, executor: Executor) -> None:
    """Raise `UsageError` where a strategy that learns on a supernet cannot do so."""
    name = type(agent).__name__
    if not isinstance(agent, GradientStrategy):
        if supernets is not None:
            raise UsageError(
                f"a supernet has no effect, since strategy {name} does not learn on one; leave supernet= out"
            )
        return
    if supernets is None:
        raise UsageError(f"strategy {name} learns on a supernet; give search() supernets=GradientSearch(…)")
    if executor.workers > 1:
        raise UsageError(f"workers={executor.workers}: strategy {name} runs one search at a time; leave workers out")


def check_stored_texts(space: SearchSpace, record: RunRecord) -> None:
    """Raise `UsageError` where a run that does not say its decisions (version 0.1.0) was made with other `choices`.

    Its trials hold positions of options, and beside them the text that these meant then.
    """
    if DECISIONS in record.run.config:
        return
    for trial in record.trials:
        try:
            now = space.to_text(trial.proposal.architecture)
        except (IndexError, ValueError):
            now = None
        if now != trial.text:
            name = f"choices{_changed_decision(space, trial.text, now)}"
            means = "do not fit the space any more" if now is None else f"now mean {now!r}"
            raise UsageError(
                f"run {record.run.name!r} was started with another {name}: trial {trial.number} is {trial.text!r}, and "
                f"its options {means}. Choose another run= or restore the old value; nothing was changed."
            )


def warn_of_another_course(space: SearchSpace, run: str, trial: Trial, again: Proposal | None) -> None:
    """Say once that a strategy would now propose something else than a stored trial."""
    now = "nothing" if again is None else repr(space.to_text(again.architecture))
    warnings.warn(
        f"run {run!r} would now take another course: its trial {trial.number} is {trial.text!r}, and the strategy "
        f"proposes {now}; the choices of {type(space).__name__} or the strategy were changed since. To search anew, "
        "choose another run=",
        stacklevel=2,
    )


def _changed_decision(space: SearchSpace, then: str, now: str | None) -> str:
    """`['op']` for the first decision that differs between two texts of the form `op=a;…`; else nothing."""
    old = dict(part.partition("=")[::2] for part in then.split(";"))
    new = dict.fromkeys(space.choices) if now is None else dict(part.partition("=")[::2] for part in now.split(";"))
    if not old.keys() & new.keys() or list(old) == list(new) == [then]:
        return ""  # another notation
    names = [name for name in {**old, **new} if (name in old) != (name in new)]
    names += [
        name
        for name, option in old.items()
        if option != new.get(name) and (now is not None or option not in map(str, space.choices.get(name, ())))
    ]
    return f"[{names[0]!r}]" if names else ""
