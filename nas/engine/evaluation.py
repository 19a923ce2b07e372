"""One evaluation, in this process or a worker: calls the evaluator, measures the time, and locks the test set.

The outcome can be sent between processes.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.core import UNCOUNTED_PREFIX, Architecture, Context, Metrics, Objective, Proposal, Trial, uncounted
from nas.data.lock import locked_test_set
from nas.errors import TrialFailed, UsageError, UserError, located, traceback_of
from nas.evaluators.base import Evaluator, SupportsArchitectureMetrics, SupportsPrepare
from nas.runtime import interrupt


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an evaluation.

    Args:
        metrics: Final values; empty if it failed.
        seconds: Wall time.
        cost: Other measurements of the machine.
        curve: Metrics after each epoch.
        error_kind, error: Kind of the failure and its message, or None.
        traceback: Traceback of the failure, or None.
    """

    metrics: Metrics
    seconds: float
    cost: Metrics = field(default_factory=dict)
    curve: tuple[Metrics, ...] = ()
    error_kind: str | None = None
    error: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """Evaluates proposals; its evaluator is prepared once in each process.

    Args:
        evaluator: Evaluator to call.
        objective: Objective whose metric must be a finite number.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
    """

    evaluator: Evaluator
    objective: Objective
    device: str

    def prepared(self) -> Evaluation:
        """Itself, after the evaluator has done its one-time work (loading data)."""
        with locked_test_set():
            if isinstance(self.evaluator, SupportsPrepare):
                try:
                    self.evaluator.prepare(self.device)
                except (Exception, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 (such as SystemExit, which ends without a message)
                    raise UserError(f"{type(self.evaluator).__name__}.prepare ended with {located(error)}") from None
        return self

    def __call__(self, task: tuple[Proposal, int]) -> Outcome:
        """Evaluate a proposal with a training seed.

        Raises:
            UserError: An error that would recur in every trial.
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
            kind, message, trace = failure.kind, failure.message, traceback_of(failure)
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 (an evaluator that breaks ends its trial, not the search)
            kind, message, trace = "error", located(error), traceback_of(error)
        else:
            return Outcome(metrics, time.perf_counter() - started, cost, tuple(curve))
        return Outcome({}, time.perf_counter() - started, cost, tuple(curve), kind, message, trace)

    def _metrics(self, proposal: Proposal, context: Context) -> dict[str, float]:
        """The evaluator's metrics.

        A process that it has forked ends here; otherwise it would continue as a second search.
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
        TrialFailed: It is negative or not finite, so no budget can count it.
    """
    if not math.isfinite(value) or value < 0:
        raise TrialFailed("not_finite", f"the cost {name} is {value}; expected a finite number of at least 0")
    return value


def plain(metrics: Metrics) -> dict[str, float]:
    """Metrics as Python numbers, which every store can hold; an evaluator may return those of NumPy or torch.

    Raises:
        UsageError: They are not a mapping, so every trial would fail.
        TrialFailed: One of them is not a number.
    """
    if not isinstance(metrics, Mapping):
        raise UsageError(
            f"the evaluator returned {_brief(metrics)}; expected a mapping of metrics to numbers, such as "
            "{'valid_accuracy': 0.9}"
        )
    return {str(name): number(name, value) for name, value in metrics.items()}


def number(name: object, value: object) -> float:
    """A number of Python, or of NumPy or torch with a single element, as a Python number.

    Raises:
        TrialFailed: It is not a number.
    """
    try:
        if type(value) is int:
            float(value)  # a store holds it as it is, but everything else needs it as a float
        if type(value) in (int, float):
            return value  # type: ignore[return-value]
        single = getattr(value, "item", None)
        single = single() if callable(single) else value
        if isinstance(single, str | bytes):  # float() would parse them
            raise TypeError
        return float(single)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise TrialFailed("bad_metrics", f"the evaluator's {name} is {_brief(value)}; expected a number") from None


def architecture_metrics(evaluator: SupportsArchitectureMetrics, architecture: Architecture) -> dict[str, float]:
    """Metrics that an evaluator gives an architecture without evaluating it, as Python numbers.

    Raises:
        UsageError: They are not a mapping to numbers.
    """
    try:
        return plain(evaluator.architecture_metrics(architecture))
    except TrialFailed as failure:
        raise UsageError(failure.message) from None


def metrics_of_equal(earlier: Trial, evaluator: Evaluator, architecture: Architecture) -> dict[str, float]:
    """Metrics of an architecture that computes the same function as an earlier trial's, with its own parameters and
    FLOPs.

    Raises:
        UsageError: See `architecture_metrics`.
    """
    metrics = dict(earlier.metrics)
    if architecture == earlier.proposal.architecture or not isinstance(evaluator, SupportsArchitectureMetrics):
        return metrics
    shared = {name: value for name, value in metrics.items() if not name.startswith(UNCOUNTED_PREFIX)}
    return shared | architecture_metrics(evaluator, architecture)


def _brief(value: object) -> str:
    """A value on one line for a message, with its type if that helps."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 (a number with too many digits, or an object of the user's whose repr fails)
        return f"a value of type {type(value).__name__}"
    text = text if len(text) <= 60 else f"{text[:60]}…"
    return text if value is None else f"{text} ({type(value).__name__})"
