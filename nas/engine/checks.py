"""Checks before a search: whether its parts fit together, and whether stored trials still mean what they meant."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from nas.core import Architecture, Metrics, Objective, Proposal, Trial
from nas.engine.evaluation import architecture_metrics
from nas.errors import UsageError
from nas.evaluators.base import Evaluator, SupportsArchitectureMetrics, SupportsSharedWeights
from nas.executors.base import Executor
from nas.executors.inline import Inline
from nas.identity import DECISIONS
from nas.strategies.base import Strategy
from nas.supernets.base import GradientStrategy, SupernetSearcher, TrialSearch

if TYPE_CHECKING:
    from nas.space.base import SearchSpace
    from nas.store.base import RunRecord

TRIALS_ASKED_AGAIN = 10
"""First trials of a run of version 0.1.0 for which the strategy is asked again. Such a run does not store the options
of its space, and a change of an option that no trial has shows only in the proposals."""
MAX_RECOUNTED = 32
"""Largest number of architectures that are built when a run is resumed."""


def warn_of_other_versions(record: RunRecord, now: Mapping[str, Any]) -> None:
    """Warn if a run was started with other versions or on another machine."""
    then = record.run.environment
    changed = [f"{key} {then[key]}, now {now[key]}" for key in then if key in now and then[key] != now[key]]
    if record.trials and changed:
        warnings.warn(
            f"run {record.run.name!r} was started with {'; '.join(changed)}: new trials may differ in the last digits",
            stacklevel=4,
        )


def check_indistinguishable(alike: Sequence[str], record: RunRecord, *, unnamed: bool) -> None:
    """Warn if the settings of a part cannot be recorded, so that a different part could resume the run unnoticed.

    Args:
        alike: `nas.provenance.indistinguishable_parts` of the parts of a search.
        record: A run that has trials.
        unnamed: Whether the caller gave no name, and so did not state that it is the same run.

    Raises:
        UsageError: The run was not named.
    """
    what = f"the settings of {'; of '.join(alike)} cannot be recorded"
    if unnamed:
        raise UsageError(
            f"{what}, so the {len(record.trials)} stored trials of run {record.run.name!r} may belong to a different "
            f"search; pass a name to search(), such as run={record.run.name!r} to resume it"
        )
    warnings.warn(
        f"{what}: run {record.run.name!r} is resumed by its name only; make sure that its {len(record.trials)} trials "
        "come from the same settings",
        stacklevel=4,
    )


def check_stored_texts(space: SearchSpace, record: RunRecord) -> None:
    """Raise `UsageError` if a run that stores no decisions (version 0.1.0) was made with other `choices`.

    Its trials store the positions of options, and their text at the time.
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
            means = "no longer fits the space" if now is None else f"now means {now!r}"
            raise UsageError(
                f"run {record.run.name!r} was started with different {name}: trial {trial.number} was stored as "
                f"{trial.text!r}, but it {means}. Choose another run= or restore the old value; nothing was changed."
            )


def warn_of_other_proposal(space: SearchSpace, run: str, trial: Trial, again: Proposal | None) -> bool:
    """Warn if a strategy would propose something other than a stored trial today; returns whether it would."""
    if again is not None and tuple(again.architecture) == trial.proposal.architecture:
        return False
    now = "nothing" if again is None else repr(space.to_text(again.architecture))
    warnings.warn(
        f"run {run!r} cannot be reproduced exactly: its trial {trial.number} is {trial.text!r}, but the strategy "
        f"now proposes {now}; the choices of {type(space).__name__} or the strategy have changed. To start a new "
        "search, choose another run=",
        stacklevel=2,
    )
    return True


def _changed_decision(space: SearchSpace, then: str, now: str | None) -> str:
    """`['op']` for the first decision that differs between two texts of the form `op=a;…`; empty for other texts."""
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
    """Count the FLOPs of stored architectures again, if the evaluator can do so without training.

    Raises:
        UsageError: A stored number differs.
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
    """Count stored architectures again: the fewest that cover every option of every decision among them.

    Versions up to 0.1.0 missed most of the work of attention and recurrent layers.

    Args:
        what: Name of the run or the file with the results, for the message.
        stored: Name, architecture and metrics of each result; those without `flops` are skipped.
        recount: Returns the `flops` of an architecture as they are counted today.
        remedy: Setting to change, for the message.

    Raises:
        UsageError: A stored number differs.
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


def check_shared_weights(
    evaluator: SupportsSharedWeights, strategy: Strategy, executor: Executor, objective: Objective, *, costless: bool
) -> None:
    """Raise `UsageError`, before any training, if a search cannot be scored by shared weights.

    Args:
        costless: Whether simulated seconds are the only limit of the search.
    """
    name = type(evaluator).__name__
    if isinstance(strategy, GradientStrategy):
        raise UsageError(
            f"strategy {type(strategy).__name__} trains its own supernet, and {name} would score its cell with another "
            "one; set evaluator=training, or evaluator=table"
        )
    if evaluator.sequential and not isinstance(executor, Inline):
        raise UsageError(
            f"{name} learns from one proposal after another, which workers cannot share; set executor=inline, or "
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


def trial_search(strategy: Strategy, supernets: SupernetSearcher | None, executor: Executor) -> TrialSearch | None:
    """How a strategy that learns on a supernet runs the search of a trial; None for other strategies.

    Raises:
        UsageError: The strategy needs a supernet and has none, or has one and does not need it.
    """
    name = type(strategy).__name__
    if not isinstance(strategy, GradientStrategy):
        if supernets is not None:
            raise UsageError(
                f"a supernet has no effect, since strategy {name} does not learn on one; leave out supernet="
            )
        return None
    if supernets is None:
        raise UsageError(f"strategy {name} learns on a supernet; pass supernets=GradientSearch(…) to search()")
    if executor.workers > 1:
        raise UsageError(f"workers={executor.workers}: strategy {name} runs one search at a time; leave out workers=")
    return partial(supernets, strategy)
