"""FLOPs that an earlier version counted otherwise: such a run is refused, not continued with other numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from nas.core import Architecture, Metrics
from nas.engine.evaluation import architecture_metrics
from nas.errors import UsageError
from nas.evaluators.base import DescribesArchitecture, Evaluator
from nas.store.base import RunRecord

MAX_RECOUNTED = 32
"""Most architectures that are built when a run is resumed."""


def check_counts(record: RunRecord, evaluator: Evaluator) -> None:
    """Count stored architectures again where the evaluator can do so without training.

    Raises:
        UsageError: a stored number differs.
    """
    if isinstance(evaluator, DescribesArchitecture):
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
