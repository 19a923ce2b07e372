"""Results of earlier versions that are known to be wrong.

They stay in their stores and stay readable. Nothing builds on them: a search does not continue after them, and `best`
is not one of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from nas.core import Trial, UsageError


def fault(trial: Trial) -> str | None:
    """What is wrong with a stored trial, for the middle of a sentence; None where nothing is known."""
    info = trial.proposal.info
    if "stopped_early_at" in info and "stopping_rule" not in info:
        return (
            "an earlier cellnas with strategy.early_stopping=true ended its search far too early, with the cell of "
            f"epoch {info['stopped_early_at']}"
        )
    return None


def check_sound(run: str, trials: Iterable[Trial]) -> None:
    """Raise `UsageError` where a stored trial is known to be wrong: what a run adds would stand beside it.

    Args:
        run: Name of the run, for the message.
        trials: Its stored trials.
    """
    for trial in trials:
        wrong = fault(trial)
        if wrong is not None:
            raise UsageError(
                f"run {run!r} cannot be continued: trial {trial.number} is wrong, since {wrong}. Choose another run= "
                "to search anew; nothing was changed."
            )
