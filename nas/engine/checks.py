"""Checks before a stored run is continued: whether its trials still mean what they meant."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from nas.core import Architecture, Metrics, Proposal, Trial
from nas.engine.evaluation import architecture_metrics
from nas.errors import UsageError
from nas.evaluators.base import Evaluator, SupportsArchitectureMetrics
from nas.identity import DECISIONS

if TYPE_CHECKING:
    from nas.space.base import SearchSpace
    from nas.store.base import RunRecord

ASKED_AGAIN = 10
"""First trials of a run of version 0.1.0 that its strategy is asked for again, since such a run does not say which
options its space had: an option that no trial has shows only in what is proposed."""
MAX_RECOUNTED = 32
"""Most architectures that are built when a run is resumed."""


def warn_of_changes(record: RunRecord, now: Mapping[str, Any]) -> None:
    """Warn where a run was begun with other versions or on another machine."""
    then = record.run.environment
    changed = [f"{key} {then[key]}, now {now[key]}" for key in then if key in now and then[key] != now[key]]
    if record.trials and changed:
        warnings.warn(
            f"run {record.run.name!r} was begun with {'; '.join(changed)}: new trials may differ in the last digits",
            stacklevel=3,
        )


def check_look_alikes(alike: Sequence[str], record: RunRecord, *, unnamed: bool) -> None:
    """Warn where the settings of a part cannot be told, so that another one of its kind would go on with the run.

    Args:
        alike: `nas.provenance.indistinguishable_parts` of the parts of a search.
        record: Of a run that has trials.
        unnamed: Whether no name was asked for, so that nobody said that it is the same run.

    Raises:
        UsageError: the run was not named.
    """
    what = f"the settings of {'; of '.join(alike)} cannot be recorded"
    if unnamed:
        raise UsageError(
            f"{what}, so that the {len(record.trials)} stored trials of run {record.run.name!r} may be of another one; "
            f"give search() a name, such as run={record.run.name!r} to go on with it"
        )
    warnings.warn(
        f"{what}: nothing but its name says that run {record.run.name!r} with its {len(record.trials)} trials is of "
        "them",
        stacklevel=3,
    )


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


def warn_of_another_course(space: SearchSpace, run: str, trial: Trial, again: Proposal | None) -> bool:
    """Warn where a strategy would now propose something else than a stored trial; returns whether it would."""
    if again is not None and tuple(again.architecture) == trial.proposal.architecture:
        return False
    now = "nothing" if again is None else repr(space.to_text(again.architecture))
    warnings.warn(
        f"run {run!r} would now take another course: its trial {trial.number} is {trial.text!r}, and the strategy "
        f"proposes {now}; the choices of {type(space).__name__} or the strategy were changed since. To search anew, "
        "choose another run=",
        stacklevel=2,
    )
    return True


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


def check_counts(record: RunRecord, evaluator: Evaluator) -> None:
    """Count stored architectures again where the evaluator can do so without training.

    Raises:
        UsageError: a stored number differs.
    """
    if isinstance(evaluator, SupportsArchitectureMetrics):
        stored = [
            (f"trial {trial.number}", trial.proposal.architecture, trial.metrics)
            for trial in sorted(record.trials, key=lambda trial: trial.number)
            if trial.completed
        ]
        recount = partial(architecture_metrics, evaluator)
        check_flops(f"run {record.run.name!r}", stored, recount, "choose another run=")


def check_flops(
    what: str,
    stored: Iterable[tuple[str, Architecture, Metrics]],
    recount: Callable[[Architecture], Metrics],
    remedy: str,
) -> None:
    """Count stored architectures again, as few as have every option of every decision that occurs among them.

    Versions up to 0.1.0 missed most of the work of attention and recurrent layers.

    Args:
        what: Name of what holds the results, for the message.
        stored: Name, architecture and metrics of each result; those without `flops` pass.
        recount: Gives the `flops` of an architecture as they are counted now.
        remedy: The setting to change.

    Raises:
        UsageError: a stored number differs.
    """
    seen: set[tuple[int, int]] = set()
    recounted = 0
    for name, architecture, metrics in stored:
        options = set(enumerate(architecture))
        if "flops" not in metrics or options <= seen:
            continue
        seen |= options
        before = metrics["flops"]
        now = recount(architecture).get("flops", before)
        if now != before:
            raise UsageError(
                f"{what} was counted by an earlier version, which missed work of fused layers: {name} has "
                f"flops={before:,.0f}, now counted as {now:,.0f}; {remedy}, nothing was changed"
            )
        recounted += 1
        if recounted == MAX_RECOUNTED:
            return
