"""One evaluation, wherever it runs: the evaluator called with its context, the clock and the lock on the test set.

What comes back can be sent from one process to another.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.core import (
    Context,
    Evaluator,
    Metrics,
    Objective,
    Preparable,
    Proposal,
    TrialFailed,
    UsageError,
    UserError,
    located,
    uncounted,
)
from nas.data.lock import locked_test_set


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an evaluation came to.

    Args:
        metrics: final values; empty where it failed.
        seconds: wall time.
        cost: what else the machine measured.
        curve: metrics after each epoch.
        error_kind, error: kind and sentence of the failure, or None.
    """

    metrics: Metrics
    seconds: float
    cost: Metrics = field(default_factory=dict)
    curve: tuple[Metrics, ...] = ()
    error_kind: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """Evaluates proposals; prepares its evaluator when it is first made in a process.

    Args:
        evaluator: scores.
        objective: its metric must come back as a finite number.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
    """

    evaluator: Evaluator
    objective: Objective
    device: str

    def prepared(self) -> Evaluation:
        """Itself, after the evaluator has done what it does once (loading data)."""
        with locked_test_set():
            if isinstance(self.evaluator, Preparable):
                self.evaluator.prepare(self.device)
        return self

    def __call__(self, task: tuple[Proposal, int]) -> Outcome:
        """Evaluate a proposal with a training seed.

        Raises:
            UserError: something that every trial would meet.
        """
        proposal, seed = task
        curve: list[Metrics] = []
        cost: dict[str, float] = {}
        context = Context(
            seed,
            self.device,
            report=lambda metrics: curve.append(plain(metrics)),
            measured=lambda name, value: cost.update({name: float(value)}),
        )
        started = time.perf_counter()
        try:
            with locked_test_set():
                metrics = plain(self.evaluator(proposal, context))
            self._check(metrics)
        except TrialFailed as failure:
            kind, message = failure.kind, failure.message
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 (an architecture that breaks its evaluator ends its trial, not the search)
            kind, message = "error", located(error)
        else:
            return Outcome(metrics, time.perf_counter() - started, cost, tuple(curve))
        return Outcome({}, time.perf_counter() - started, cost, tuple(curve), kind, message)

    def _check(self, metrics: Mapping[str, float]) -> None:
        name = self.objective.metric
        if name not in metrics:
            raise UsageError(
                f"objective.metric must be one of the evaluator's metrics ({', '.join(sorted(metrics))}), got {name!r}"
            )
        if not math.isfinite(metrics[name]):
            raise TrialFailed("not_finite", f"{name} is {metrics[name]}; expected a finite number")
        if name == "flops" and uncounted(metrics):
            raise TrialFailed(
                "uncounted",
                f"objective.metric=flops, but {', '.join(uncounted(metrics))} cannot be counted; register a formula "
                "with torch.utils.flop_counter.register_flop_formula, or choose another objective.metric",
            )


def plain(metrics: Metrics) -> dict[str, float]:
    """Metrics as Python numbers, which every store can keep; an evaluator may give NumPy's or torch's."""
    return {str(name): value if type(value) in (int, float) else float(value) for name, value in metrics.items()}
