"""Results of earlier versions that are known to be wrong.

They stay in their stores and stay readable, but nothing builds on them: their runs are not resumed, and `best` skips
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nas.core import Trial
from nas.errors import UsageError
from nas.store.base import Run

EARLY_COUNTS = ("0.1.0",)
"""Versions that counted too few FLOPs for attention and recurrent layers."""


def fault(trial: Trial, config: Mapping[str, Any]) -> str | None:
    """The known fault of a stored trial, as a clause; None if there is none.

    Args:
        trial: Stored trial.
        config: Settings of its run.
    """
    info = trial.proposal.info
    if "stopped_early_at" in info and "stopping_rule" not in info:
        return (
            "an earlier version of cellnas with strategy.early_stopping=true ended its search far too early, with the "
            f"cell of epoch {info['stopped_early_at']}"
        )
    if "probs" in info and "removal_rule" not in info and _perturbs_partial_channels(config):
        return (
            "an earlier version of cellnas with discretization=perturbation and partial channels removed only a part "
            "of each edge while it derived the cell"
        )
    return None


def has_early_count(trial: Trial, run: Run) -> bool:
    """Whether the `flops` of a trial were counted by a version that missed work of attention and recurrent layers.

    Whether its network has such layers is not stored; a run that is resumed is counted again (`nas.engine.checks`).

    Args:
        trial: Stored trial.
        run: Its run.
    """
    return (
        "flops" in trial.metrics
        and run.environment.get("cellnas") in EARLY_COUNTS
        and run.evaluation.table is None  # the authors of the benchmark counted those
    )


def _perturbs_partial_channels(config: Mapping[str, Any]) -> bool:
    strategy = config.get("strategy") or {}
    settings = strategy if isinstance(strategy, Mapping) else {}
    partial = settings.get("partial_channels", 4 if "PCDARTS" in str(strategy) else 1)
    return partial != 1 and "Perturbation" in f"{config.get('discretization')} {strategy}"


def check_sound(run: str, trials: Iterable[Trial], config: Mapping[str, Any]) -> None:
    """Raise `UsageError` if a stored trial is known to be wrong, so that no run mixes wrong and right trials.

    Args:
        run: Name of the run, for the message.
        trials: Its stored trials.
        config: Its settings.
    """
    for trial in trials:
        wrong = fault(trial, config)
        if wrong is not None:
            raise UsageError(
                f"run {run!r} cannot be resumed: trial {trial.number} is invalid: {wrong}. Choose another run= "
                "to start a new search; nothing was changed."
            )
