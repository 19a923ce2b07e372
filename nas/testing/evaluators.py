"""The promises of an evaluator."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np

from nas.core import Context, Metrics, Proposal
from nas.data.lock import locked_test_set
from nas.evaluators.base import Evaluator, SupportsArchitectureMetrics, SupportsPrepare, SupportsProtocol
from nas.space.base import SearchSpace
from nas.testing.promises import Promise


def evaluator_promises(
    make: Callable[..., Evaluator], space: SearchSpace, metric: str | None = None, source: object = None
) -> list[Promise]:
    """An evaluator gives the same finite metrics for the same seed, without test images, and its protocol is JSON.

    Args:
        metric: Metric that a search on it optimises, if known.
        source: Class whose lines are named; None: that of the factory.
    """
    evaluated: list[Metrics] = []
    instances: list[Evaluator] = []
    proposal = Proposal(space.sample(np.random.default_rng(0)))

    def evaluator() -> Evaluator:
        if not instances:
            instances.append(make(space=space))
        return instances[0]

    def evaluates() -> None:
        curve: list[Metrics] = []
        context = Context(1, "cpu", curve.append, lambda _name, _value: None)
        with locked_test_set():
            subject = evaluator()
            if isinstance(subject, SupportsPrepare):
                subject.prepare("cpu")
            evaluated.extend(subject(proposal, context) for _ in range(2))

    def repeats() -> None:
        first, again = evaluated
        assert first == again, f"one seed gave {first}, then {again}; measured times belong to context.measured"

    def metrics_are_numbers() -> None:
        metrics = evaluated[0]
        assert hasattr(metrics, "items"), f"the metrics must be a dict of numbers, got {metrics!r}"
        for name, value in metrics.items():
            assert isinstance(value, int | float), f"metric {name} is a {type(value).__name__}, expected a number"
            assert math.isfinite(value), f"metric {name} is {value}"
        names = ", ".join(metrics) or "none"
        assert metric is None or metric in metrics, (
            f"it gives {names}, but a search optimises objective.metric={metric}; set that to one of its metrics"
        )

    def protocol_is_json() -> None:
        subject = evaluator()
        if isinstance(subject, SupportsProtocol):
            protocol = subject.protocol()
            try:
                again = json.loads(json.dumps(protocol))
            except (TypeError, ValueError) as error:
                raise AssertionError(f"protocol() must be plain JSON: {error}") from None
            assert again == protocol, f"protocol() must be plain JSON; it is {protocol}, which JSON turns into {again}"

    def describes_what_it_evaluates() -> None:
        subject, first = evaluator(), evaluated[0]
        if isinstance(subject, SupportsArchitectureMetrics):
            own = subject.architecture_metrics(proposal.architecture)
            other = {name: value for name, value in own.items() if first.get(name) != value}
            assert not other, f"architecture_metrics gives {other}, the evaluation {dict(first)}"

    source = source or getattr(make, "func", make)
    call = vars(source).get("__call__", source) if isinstance(source, type) else source
    return [
        Promise("it evaluates an architecture without the test images", evaluates, call, needed=True),
        Promise("metrics are finite numbers", metrics_are_numbers, call, needed=True),
        Promise("the same seed gives the same metrics", repeats, call),
        Promise("protocol() is plain JSON", protocol_is_json, getattr(source, "protocol", source)),
        Promise(
            "architecture_metrics are those of the evaluation",
            describes_what_it_evaluates,
            getattr(source, "architecture_metrics", source),
        ),
    ]
