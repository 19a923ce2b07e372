"""One evaluation, wherever it runs: the evaluator called with its context, the clock and the lock on the test set.

What comes back can be sent from one process to another.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.core import UNCOUNTED, Architecture, Context, Metrics, Objective, Proposal, Trial, uncounted
from nas.data.lock import locked_test_set
from nas.errors import TrialFailed, UsageError, UserError, located
from nas.evaluators.base import Evaluator, SupportsArchitectureMetrics, SupportsPrepare
from nas.runtime import interrupt


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
            if isinstance(self.evaluator, SupportsPrepare):
                try:
                    self.evaluator.prepare(self.device)
                except (Exception, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 (such as SystemExit, which ends without a word)
                    raise UserError(f"{type(self.evaluator).__name__}.prepare ended with {located(error)}") from None
        return self

    def __call__(self, task: tuple[Proposal, int]) -> Outcome:
        """Evaluate a proposal with a training seed.

        Raises:
            UserError: something that every trial would meet.
        """
        proposal, seed = task
        curve: list[Metrics] = []
        cost: dict[str, float] = {}

        def report(metrics: Metrics) -> None:
            interrupt.check()
            curve.append(plain(metrics))

        context = Context(
            seed,
            self.device,
            report=report,
            measured=lambda name, value: cost.update({str(name): _cost(str(name), number(name, value))}),
        )
        started = time.perf_counter()
        try:
            metrics = self._metrics(proposal, context)
            self._check(metrics)
        except TrialFailed as failure:
            kind, message = failure.kind, failure.message
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 (what breaks its evaluator ends its trial, not the search)
            kind, message = "error", located(error)
        else:
            return Outcome(metrics, time.perf_counter() - started, cost, tuple(curve))
        return Outcome({}, time.perf_counter() - started, cost, tuple(curve), kind, message)

    def _metrics(self, proposal: Proposal, context: Context) -> dict[str, float]:
        """What the evaluator says.

        A process that it has forked ends here: it would continue as a second search.
        """
        own, code = os.getpid(), 0
        try:
            with locked_test_set():
                return plain(self.evaluator(proposal, context))
        except BaseException as error:
            ended = error.code if isinstance(error, SystemExit) else 1
            code = ended if isinstance(ended, int) else int(ended is not None)
            raise
        finally:
            if os.getpid() != own:
                os._exit(code & 0xFF)

    def _check(self, metrics: Mapping[str, float]) -> None:
        name = self.objective.metric
        if name not in metrics:
            raise UsageError(
                f"objective.metric must be one of the evaluator's metrics ({', '.join(sorted(metrics)) or 'none'}), "
                f"got {name!r}"
            )
        if not math.isfinite(metrics[name]):
            raise TrialFailed("not_finite", f"{name} is {metrics[name]}; expected a finite number")
        if name == "flops" and uncounted(metrics):
            raise TrialFailed(
                "uncounted",
                f"objective.metric=flops, but {', '.join(uncounted(metrics))} cannot be counted; register a formula "
                "with torch.utils.flop_counter.register_flop_formula, or choose another objective.metric",
            )
        if "simulated_seconds" in metrics:
            _cost("simulated_seconds", metrics["simulated_seconds"])


def _cost(name: str, value: float) -> float:
    """The cost itself.

    Raises:
        TrialFailed: it is negative or not finite, which no budget could count.
    """
    if not math.isfinite(value) or value < 0:
        raise TrialFailed("not_finite", f"the cost {name} is {value}; expected a finite number of at least 0")
    return value


def plain(metrics: Metrics) -> dict[str, float]:
    """Metrics as Python numbers, which every store can keep; an evaluator may give NumPy's or torch's.

    Raises:
        UsageError: they are not a mapping, which no trial would come through.
        TrialFailed: one of them is not a number.
    """
    if not isinstance(metrics, Mapping):
        raise UsageError(
            f"the evaluator returned {_brief(metrics)}; expected a mapping of metrics to numbers, such as "
            "{'valid_accuracy': 0.9}"
        )
    return {str(name): number(name, value) for name, value in metrics.items()}


def number(name: object, value: object) -> float:
    """A Python number, or one of NumPy's or torch's with a single element, as a Python number.

    Raises:
        TrialFailed: it is something else.
    """
    try:
        if type(value) is int:
            float(value)  # a store keeps it as it is, but everything else must be able to take it
        if type(value) in (int, float):
            return value  # type: ignore[return-value]
        single = getattr(value, "item", None)
        single = single() if callable(single) else value
        if isinstance(single, str | bytes):  # float() would read a number off them
            raise TypeError
        return float(single)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise TrialFailed("bad_metrics", f"the evaluator's {name} is {_brief(value)}; expected a number") from None


def architecture_metrics(evaluator: SupportsArchitectureMetrics, architecture: Architecture) -> dict[str, float]:
    """What an evaluator says of an architecture itself, as `plain` metrics.

    Raises:
        UsageError: it is not a mapping to numbers.
    """
    try:
        return plain(evaluator.architecture_metrics(architecture))
    except TrialFailed as failure:
        raise UsageError(failure.message) from None


def redescribed(earlier: Trial, evaluator: Evaluator, architecture: Architecture) -> dict[str, float]:
    """Metrics of an architecture of the class of an earlier trial, with its own in place of those that are not shared.

    Raises:
        UsageError: as `architecture_metrics`.
    """
    metrics = dict(earlier.metrics)
    if architecture == earlier.proposal.architecture or not isinstance(evaluator, SupportsArchitectureMetrics):
        return metrics
    shared = {name: value for name, value in metrics.items() if not name.startswith(UNCOUNTED)}
    return shared | architecture_metrics(evaluator, architecture)


def _brief(value: object) -> str:
    """A value for a sentence: on one line, with its type where that says more."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 (a number of very many digits, or whatever an object of the user's raises)
        return f"a value of type {type(value).__name__}"
    text = text if len(text) <= 60 else f"{text[:60]}…"
    return text if value is None else f"{text} ({type(value).__name__})"
