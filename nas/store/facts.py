"""What a condition compares, and a column shows: metrics, costs, and facts about a trial and its run, each by its name.

A fact hides a metric of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nas.core import Trial
from nas.identity import CONDITIONS, DECISIONS
from nas.store.base import Run
from nas.store.sweeps import sweep_of

PARTS = ("space", "strategy", "evaluator", "data", "table", "trainer", "supernet", "executor")


def _part(name: str) -> Callable[[Run], str | None]:
    """The option of a part that a run chose; the name of its class for a run from Python."""

    def option(run: Run) -> str | None:
        choices = run.config.get("choices")
        if choices is not None:
            chosen = choices.get(name)
            return None if chosen is None else str(chosen)
        settings = run.config.get(name)
        made = settings.get("type") if isinstance(settings, Mapping) else settings
        return made.rpartition(".")[2] if isinstance(made, str) else None

    return option


RUN_FACTS: Mapping[str, Callable[[Run], Any]] = {
    "run": lambda run: run.name,
    "sweep": sweep_of,
    "run_seed": lambda run: run.seed,
    **{name: _part(name) for name in PARTS},
}
TRIAL_FACTS: Mapping[str, Callable[[Run, Trial], Any]] = {
    "number": lambda _run, trial: trial.number,
    "arch": lambda _run, trial: trial.text,
    "canonical": lambda _run, trial: trial.canonical,
    "status": lambda _run, trial: trial.status,
    "seed": lambda _run, trial: trial.seed,
    "fidelity": lambda _run, trial: trial.proposal.fidelity,
    "epochs": lambda run, trial: run.evaluation.epochs(trial.proposal.fidelity),
    "seconds": lambda _run, trial: trial.seconds,
    "reused_from": lambda _run, trial: trial.reused_from,
    "error_kind": lambda _run, trial: trial.error_kind,
}
SCORE = "score"
"""The objective, higher is better."""
FACTS = (*RUN_FACTS, *TRIAL_FACTS, SCORE)


def value_of(run: Run, trial: Trial, score: float | None, name: str) -> Any:
    """The value of a fact, a metric or a cost; None if the trial does not have it.

    Args:
        run, trial: The run and the trial.
        score: Objective of the trial, higher is better; None if it failed.
        name: Name, without aliases.
    """
    if name == SCORE:
        return score
    if name in TRIAL_FACTS:
        return TRIAL_FACTS[name](run, trial)
    if name in RUN_FACTS:
        return RUN_FACTS[name](run)
    if name in trial.metrics or name in trial.cost:
        return trial.metrics.get(name, trial.cost.get(name))
    return _number(decisions_of(run, trial).get(name))


def decision_names(run: Run) -> set[str]:
    """Names of the decisions of a run's space; empty if it does not record them."""
    return {name for name, _ in run.config.get(DECISIONS) or ()}


def decisions_of(run: Run, trial: Trial) -> dict[str, Any]:
    """Decision -> option of an architecture, as text, for those that matter; positions if a run does not record its
    decisions."""
    positions = trial.proposal.architecture
    recorded = run.config.get(DECISIONS) or [[str(index), None] for index in range(len(positions))]
    conditions = dict(run.config.get(CONDITIONS, ()))
    chosen: dict[str, Any] = {}
    for (name, options), position in zip(recorded, positions, strict=False):
        if all(chosen.get(parent) in allowed for parent, allowed in conditions.get(name, ())):
            chosen[name] = position if options is None else options[position]
    return chosen


def _number(option: Any) -> Any:
    """An option as a number, if it is one."""
    try:
        return float(option) if "." in option or "e" in option else int(option)
    except (TypeError, ValueError):
        return option
