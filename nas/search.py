"""The only search loop: ask, evaluate, store, tell.

Every strategy and every evaluator runs through `search()`. Nothing in it is random but the numbers of `TrialRandom`, so
a run is repeated by its seed, and continued by telling a fresh strategy the stored trials.
"""

from __future__ import annotations

import inspect
import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from nas.core import (
    Comparable,
    Context,
    DescribesArchitecture,
    Evaluator,
    Listener,
    Metrics,
    Objective,
    Preparable,
    Proposal,
    Strategy,
    StrategyFactory,
    Trial,
    TrialFailed,
    UsageError,
    UserError,
    located,
    number_in,
    one_of,
    whole_number,
)
from nas.data.lock import locked_test_set
from nas.environment import environment
from nas.randomness import TrialRandom, training_seed
from nas.space import SearchSpace
from nas.store.base import Run, RunRecord, Store, check_run_name
from nas.store.memory import MemoryStore

EXHAUSTED = 1000
"""Reused trials in a row after which a search without a number of trials has seen its space: they cost no time, so
hours alone would never end it."""


@dataclass(frozen=True)
class Budget:
    """When a search ends; whichever comes first.

    Args:
        trials: number of trials of the run, those of earlier sessions included; None: unbounded.
        hours: wall time of evaluations, earlier sessions included, after which no new trial starts; None: unbounded.
        failures: trials that may fail in a row within one session before the search gives up; None: unbounded.
    """

    trials: int | None = None
    hours: float | None = None
    failures: int | None = 10

    def __post_init__(self) -> None:
        for key in ("trials", "failures"):
            if getattr(self, key) is not None:
                whole_number(f"budget.{key}", getattr(self, key))
        number_in("budget.hours", self.hours, 0.0, math.inf, above=True, null=True)
        if self.trials is None and self.hours is None:
            raise UsageError("budget.trials and budget.hours are both null; expected at least one of them")


@dataclass(frozen=True)
class SearchResult:
    """What a search leaves in the hands of its caller.

    Args:
        run: its name in the store.
        trials: all trials by number, those of earlier sessions included.
        best: the incumbent; None if no trial completed.
        ended: why it ended: `budget`, `finished` (nothing more to propose, or nothing new) or `failures`.
        resumed: how many trials came from the store.
    """

    run: str
    trials: tuple[Trial, ...]
    best: Trial | None
    ended: Literal["budget", "finished", "failures"]
    resumed: int = 0


def search(
    space: SearchSpace,
    strategy: StrategyFactory,
    evaluator: Evaluator,
    *,
    budget: Budget,
    seed: int = 0,
    objective: Objective | None = None,
    duplicates: Literal["reuse", "retrain"] = "reuse",
    device: str = "auto",
    store: Store | None = None,
    run: str = "search",
    config: Mapping[str, Any] | None = None,
    listeners: Sequence[Listener] = (),
) -> SearchResult:
    """Search a space; continue the run of this name where the store has one.

    Args:
        space: what is searched.
        strategy: class of the strategy, or a partial of it with settings; made with this space and objective.
        evaluator: scores proposals; a plain function will do.
        budget: when to end.
        seed: of everything random.
        objective: what counts; validation accuracy unless given.
        duplicates: `reuse` gives an architecture of a class that was evaluated before in this run (at the same
            fidelity) the same metrics at no cost; `retrain` evaluates it again with another training seed.
        device: `auto`, `cpu`, `cuda` or `cuda:N`, for evaluators that compute.
        store: keeps the trials; in memory unless given.
        run: name within the store.
        config: the settings to keep with the run; described from the parts unless given.
        listeners: progress bar, TensorBoard.

    Returns:
        All trials and the best of them.

    Raises:
        UserError: something to mend, in one sentence; trials told so far are kept.
        KeyboardInterrupt: passed on; trials told so far are kept, and the same call goes on after them.
    """
    check_run_name(run)
    one_of("duplicates", duplicates, ("reuse", "retrain"))
    random = TrialRandom(seed)
    objective = objective or Objective()
    agent = strategy(space=space, objective=objective)
    agent.reset(random.start())
    with locked_test_set(), ExitStack() as stack:
        protocol = evaluator.protocol() if isinstance(evaluator, Comparable) else {}
        if config is None:
            config = {"space": describe(space), "strategy": describe(strategy), "evaluator": describe(evaluator)}
        config = {"objective": describe(objective), "duplicates": duplicates} | dict(config)
        spec = Run(run, seed, _jsonable(config), _jsonable(protocol), environment())
        record = stack.enter_context((store or MemoryStore()).open(spec))
        _warn_of_changes(record, spec.environment)
        session = _Session(space, agent, evaluator, objective, budget, random, seed, duplicates, device, record)
        for listener in listeners:
            listener.start(run, record.trials, budget.trials, objective)
            stack.callback(listener.close)
        session.replay()
        if session.open() and isinstance(evaluator, Preparable):
            evaluator.prepare(device)
        ended = session.run(listeners)
    trials = tuple(session.trials)
    return SearchResult(run, trials, objective.best(trials), ended, len(record.trials))


@dataclass
class _Session:
    """The loop and what it keeps track of."""

    space: SearchSpace
    agent: Strategy
    evaluator: Evaluator
    objective: Objective
    budget: Budget
    random: TrialRandom
    seed: int
    duplicates: str
    device: str
    record: RunRecord
    trials: list[Trial] = field(default_factory=list)
    seconds: float = 0.0
    failures: int = 0
    evaluated: dict[str, int] = field(default_factory=dict)
    known: dict[tuple[str, int | None], Trial] = field(default_factory=dict)
    reused_in_a_row: int = 0

    def replay(self) -> None:
        """Bring the strategy to where the stored trials leave it."""
        for trial in self.record.trials:
            self._tell(trial)
        if self.budget.failures is not None:
            self.failures %= self.budget.failures  # it gave up at each multiple, and was asked to go on

    def open(self) -> bool:
        """Whether the budget allows another trial."""
        budget = self.budget
        return (budget.trials is None or len(self.trials) < budget.trials) and (
            budget.hours is None or self.seconds < budget.hours * 3600
        )

    def run(self, listeners: Sequence[Listener]) -> Literal["budget", "finished", "failures"]:
        while self.open():
            number = len(self.trials)
            proposal = self.agent.ask(self.random.trial(number), ())
            if proposal is None:
                return "finished"
            trial = self._evaluate(number, proposal)
            self.record.add(trial)  # before anything learns of it: what was paid for is kept first
            self._tell(trial)
            for listener in listeners:
                listener.told(trial)
            if self.failures == self.budget.failures:
                return "failures"
            if self.budget.trials is None and self.reused_in_a_row >= EXHAUSTED:
                return "finished"
        return "budget"

    def _tell(self, trial: Trial) -> None:
        self.trials.append(trial)
        self.seconds += trial.seconds
        self.failures = 0 if trial.completed else self.failures + 1
        self.reused_in_a_row = 0 if trial.reused_from is None else self.reused_in_a_row + 1
        if trial.reused_from is None:
            self.evaluated[trial.canonical] = self.evaluated.get(trial.canonical, 0) + 1
            if trial.completed:
                self.known.setdefault((trial.canonical, trial.proposal.fidelity), trial)
        self.agent.tell(trial)

    def _evaluate(self, number: int, proposal: Proposal) -> Trial:
        if not all(type(value) is int for value in proposal.architecture):  # NumPy's whole numbers are no JSON
            proposal = replace(proposal, architecture=tuple(map(int, proposal.architecture)))
        architecture = proposal.architecture
        self.space.validate(architecture)
        canonical = self.space.canonical(architecture)
        seed = training_seed(self.seed, canonical, self.evaluated.get(canonical, 0))
        text = self.space.to_text(architecture)
        earlier = self.known.get((canonical, proposal.fidelity)) if self.duplicates == "reuse" else None
        if earlier is not None:
            metrics = dict(earlier.metrics)
            if architecture != earlier.proposal.architecture and isinstance(self.evaluator, DescribesArchitecture):
                metrics |= self.evaluator.architecture_metrics(architecture)
            return replace(
                earlier,
                number=number,
                proposal=proposal,
                text=text,
                metrics=metrics,
                seconds=0.0,
                cost={},
                reused_from=earlier.number,
            )
        curve: list[Metrics] = []
        cost: dict[str, float] = {}
        context = Context(
            seed,
            self.device,
            report=lambda metrics: curve.append(_plain(metrics)),
            measured=lambda name, value: cost.update({name: float(value)}),
        )
        made = partial(Trial, number, proposal, text, canonical, seed)
        started = time.perf_counter()
        try:
            metrics = _plain(self.evaluator(proposal, context))
            self._check(metrics)
        except TrialFailed as failure:
            kind, message = failure.kind, failure.message
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 (an architecture that breaks its evaluator ends its trial, not the search)
            kind, message = "error", located(error)
        else:
            seconds = time.perf_counter() - started
            return made("completed", metrics, seconds, cost=cost, curve=tuple(curve))
        seconds = time.perf_counter() - started
        return made("failed", {}, seconds, cost=cost, error_kind=kind, error=message, curve=tuple(curve))

    def _check(self, metrics: Metrics) -> None:
        name = self.objective.metric
        if name not in metrics:
            raise UsageError(
                f"objective.metric must be one of the evaluator's metrics ({', '.join(sorted(metrics))}), got {name!r}"
            )
        if not math.isfinite(metrics[name]):
            raise TrialFailed("not_finite", f"{name} is {metrics[name]}; expected a finite number")


def _plain(metrics: Metrics) -> dict[str, float]:
    """Metrics as Python numbers, which every store can keep; an evaluator may give NumPy's or torch's."""
    return {str(name): value if type(value) in (int, float) else float(value) for name, value in metrics.items()}


def _jsonable(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a store gives them back, so that they can be compared with stored ones."""
    found: dict[str, Any] = json.loads(json.dumps(tree, default=describe))
    return found


def _warn_of_changes(record: RunRecord, now: Mapping[str, Any]) -> None:
    then = record.run.environment
    changed = [f"{key} {then[key]}, now {now[key]}" for key in then if key in now and then[key] != now[key]]
    if record.trials and changed:
        warnings.warn(
            f"run {record.run.name!r} was begun with {'; '.join(changed)}: new trials may differ in the last digits",
            stacklevel=3,
        )


def describe(part: object) -> Any:
    """A part of a search as JSON-safe settings: its class, and what it keeps of its constructor's arguments."""
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, partial):
        return {"type": describe(part.func)} | {key: describe(value) for key, value in part.keywords.items()}
    if isinstance(part, Mapping):
        return {str(key): describe(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [describe(value) for value in part]
    if inspect.isroutine(part) or inspect.isclass(part):
        return f"{part.__module__}.{part.__qualname__}"
    return _described_object(part)


def _described_object(part: object) -> Any:
    kind = type(part)
    own = kind.__module__.partition(".")[0] not in ("builtins", "numpy", "pathlib", "torch")
    if not own or kind.__init__ is object.__init__:
        return {"type": f"{kind.__module__}.{kind.__qualname__}"} if own else repr(part)
    kept = {key: describe(getattr(part, key)) for key in inspect.signature(kind).parameters if hasattr(part, key)}
    return {"type": f"{kind.__module__}.{kind.__qualname__}"} | kept
