"""The only search loop: ask, evaluate, store, tell.

Every strategy and every evaluator runs through `search()`. Nothing in it is random but the numbers of `TrialRandom`, so
a run is repeated by its seed, and continued by telling a fresh strategy the stored trials.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from nas.core import Objective, Proposal, Trial
from nas.data.lock import locked_test_set
from nas.engine.budget import Budget, plain_number
from nas.engine.checks import (
    ASKED_AGAIN,
    check_counts,
    check_look_alikes,
    check_stored_texts,
    warn_of_another_course,
    warn_of_changes,
)
from nas.engine.evaluation import Evaluation
from nas.engine.randomness import TrialRandom, training_seed
from nas.engine.trial import (
    Guarded,
    PendingTrial,
    check_learner,
    check_supernets,
    declared,
    reused,
    simulated_seconds,
    to_watchers,
    with_search,
)
from nas.errors import NOT_IN_TABLE, UsageError, UserError
from nas.evaluators.base import Evaluator, SupportsProtocol, SupportsRepeatedQueries, SupportsSharedWeights
from nas.executors.base import Executor, Jobs
from nas.executors.inline import Inline, check_endless
from nas.identity import DECISIONS
from nas.listeners.base import Listener
from nas.provenance import describe, environment, indistinguishable_parts, jsonable
from nas.runtime import interrupt
from nas.space.base import SearchSpace, recorded_choices
from nas.store.base import Run, RunRecord, Store, check_run_name
from nas.store.faults import check_sound
from nas.store.memory import MemoryStore
from nas.strategies.base import Strategy, StrategyFactory
from nas.supernets.base import GradientStrategy, SupernetSearch, SupernetSearcher
from nas.validation import one_of

EXHAUSTED = 1000
"""Trials in a row that were reused, or not in a table, after which a search without a number of trials has seen its
space: they cost no time, so hours alone would never end it."""


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
    executor: Executor | None = None,
    supernets: SupernetSearcher | None = None,
    store: Store | None = None,
    run: str | None = None,
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
        executor: where evaluations run; one after another in this process unless given. Several workers know less of
            one another's trials, so another number of them is another search.
        supernets: runs the searches of a strategy that learns on a supernet, one a trial, such as
            `nas.supernets.gradient.GradientSearch`; the others need none.
        store: keeps the trials; in memory unless given.
        run: name within the store; `search` unless given.
        config: the settings to keep with the run; described from the parts unless given.
        listeners: progress bar, TensorBoard.

    Returns:
        All trials and the best of them.

    Raises:
        UserError: something to mend, in one sentence; trials told so far are kept.
        KeyboardInterrupt: passed on; trials told so far are kept, and the same call goes on after them.
    """
    unnamed, run = run is None, "search" if run is None else run
    check_run_name(run)
    one_of("duplicates", duplicates, ("reuse", "retrain"))
    seed = plain_number(seed)
    random = TrialRandom(seed)
    objective = objective or Objective()
    decisions = recorded_choices(space)
    agent = strategy(space=space, objective=objective)
    agent.reset(random.start())
    executor = executor or Inline()
    if isinstance(executor, Inline):
        check_endless(budget.trial_seconds)
    if isinstance(evaluator, SupportsSharedWeights):
        check_learner(evaluator, agent, executor, objective, costless=budget.simulated_alone)
    check_supernets(agent, supernets, executor)
    with locked_test_set(), ExitStack() as stack:
        protocol = evaluator.protocol() if isinstance(evaluator, SupportsProtocol) else {}
        if isinstance(evaluator, SupportsSharedWeights) and evaluator.sequential:
            protocol = {**protocol, "learnt_in": run}  # from its proposals, which are no other run's
        undescribed = config is None and store is not None
        alike = indistinguishable_parts([space, strategy, evaluator, objective]) if undescribed else []
        if config is None:
            config = {"space": describe(space), "strategy": describe(strategy), "evaluator": describe(evaluator)}
        own = {"objective": describe(objective), "duplicates": duplicates, DECISIONS: decisions}
        config = own | declared(evaluator, objective) | dict(config)
        if executor.workers > 1:
            config |= {"scheduling": {"workers": executor.workers, "order": executor.order, "in_flight": "wait"}}
        spec = Run(run, seed, jsonable(config), jsonable(protocol), environment())
        record = stack.enter_context((store or MemoryStore()).open(spec))
        check_stored_texts(space, record)
        if alike and record.trials:
            check_look_alikes(alike, record, unnamed=unnamed)
        warn_of_changes(record, spec.environment)
        check_counts(record, evaluator)
        check_sound(run, record.trials, record.run.config)
        asks_again = isinstance(evaluator, SupportsRepeatedQueries) and evaluator.answers_every_query
        reuse = duplicates == "reuse" and not asks_again
        listeners = [Guarded(listener) for listener in listeners]
        for listener in listeners:
            listener.start(run, sorted(record.trials, key=_number), budget.trials, objective)
            stack.callback(listener.close)
        unfinished = budget.trials is None or len(record.trials) < budget.trials
        if isinstance(evaluator, SupportsSharedWeights) and unfinished:
            evaluator.begin(device, sorted(record.trials, key=_number), to_watchers(listeners, None))
        session = _Session(
            space,
            agent,
            evaluator,
            budget,
            random,
            seed,
            reuse=reuse,
            waits=reuse and record.run.config.get("scheduling", {}).get("in_flight") == "wait",
            ordered=executor.order == "ordered",
            workers=executor.workers,
            record=record,
            listeners=listeners,
            supernets=supernets,
            device=device,
        )
        ended = session.run(executor, Evaluation(evaluator, objective, device))
    trials = tuple(sorted(session.trials, key=_number))
    return SearchResult(run, trials, objective.best(trials), ended, len(record.trials))


@dataclass
class _Session:
    """The loop and what it keeps track of.

    A continued run goes through the very same loop: the stored trials take the place of evaluations, in the order in
    which they were finished, so the strategy is asked and told in the order it would have been.
    """

    space: SearchSpace
    agent: Strategy
    evaluator: Evaluator
    budget: Budget
    random: TrialRandom
    seed: int
    reuse: bool
    waits: bool  # whether a duplicate waits for an equal trial in flight; not in runs of version 0.1.0
    ordered: bool
    workers: int
    record: RunRecord
    listeners: Sequence[Listener]
    supernets: SupernetSearcher | None
    device: str
    trials: list[Trial] = field(default_factory=list)  # told ones, in the order of telling
    asked: int = 0
    seconds: float = 0.0
    earlier: float = 0.0  # wall seconds of earlier sessions
    begun: float = field(default_factory=time.monotonic)
    simulated: float = 0.0
    failures: int = 0
    ended: Literal["budget", "finished", "failures"] | None = None
    reused_in_a_row: int = 0
    evaluated: dict[str, int] = field(default_factory=dict)
    known: dict[tuple[str, int | None], Trial] = field(default_factory=dict)
    untold: dict[int, Proposal] = field(default_factory=dict)  # asked ones, oldest first
    planned: dict[int, PendingTrial] = field(
        default_factory=dict
    )  # those in the hands of the executor, without a result yet
    running: dict[tuple[str, int | None], int] = field(default_factory=dict)  # class -> its evaluated trial, untold
    waiting: dict[int, list[PendingTrial]] = field(default_factory=dict)  # trial -> plans that wait for its result
    finished: dict[int, Trial] = field(default_factory=dict)  # those with a result, by number
    stored: dict[int, Trial] = field(default_factory=dict)  # of an earlier session and not told yet, as they finished
    old: frozenset[int] = frozenset()  # numbers of all trials of earlier sessions
    warned: bool = False
    searched: dict[int, SupernetSearch] = field(default_factory=dict)  # of trials without a result yet

    def run(self, executor: Executor, evaluation: Evaluation) -> Literal["budget", "finished", "failures"]:
        self.stored = {trial.number: trial for trial in self.record.trials}
        self.old = frozenset(self.stored)
        spent = self.record.elapsed
        if spent is None:  # version 0.1.0 kept only the time of evaluations
            spent = sum(trial.seconds for trial in self.record.trials) / self.workers
        self.earlier = spent
        try:
            return self._run(executor, evaluation)
        finally:
            self.record.keep_elapsed(self._elapsed())

    def _run(self, executor: Executor, evaluation: Evaluation) -> Literal["budget", "finished", "failures"]:
        limit = () if self.budget.trial_seconds is None else (self.budget.trial_seconds,)
        with executor.open(evaluation.prepared, *limit) as jobs:
            while True:
                interrupt.check()
                self._fill(jobs)
                if not self.untold:
                    return self.ended or "budget"
                due = next(iter(self.untold if self.ordered else self.finished), None)
                if due in self.finished:
                    self._tell(self.finished.pop(due))
                elif not self.planned:
                    raise UserError(f"run {self.record.run.name!r} is damaged: its trials are in no possible order")
                else:
                    for number, outcome in jobs.wait():
                        self._keep(self.planned.pop(number).with_outcome(outcome))
                        for plan in self.waiting.pop(number, ()):  # after a failure the first of them is evaluated
                            self._evaluate(plan, jobs)

    def _fill(self, jobs: Jobs) -> None:
        """Ask for trials until every worker has one."""
        last = max(self.old, default=-1)  # what was running below it when a session ended runs whatever the budget says
        while len(self.untold) < self.workers and (self.asked <= last or self._open()):
            number = self.asked
            if number in self.stored:
                trial = self.stored[number]
                if len(self.trials) < trial.told_before:
                    break  # the strategy had made this proposal wait for more results
                if number < ASKED_AGAIN and DECISIONS not in self.record.run.config:
                    self._ask_again(trial)
                self.asked += 1
                self.untold[number] = trial.proposal
                if trial.reused_from is None:
                    self.evaluated[trial.canonical] = self.evaluated.get(trial.canonical, 0) + 1
                    self.running[trial.canonical, trial.proposal.fidelity] = number
                if self.ordered:
                    self.finished[number] = self.stored.pop(number)
                continue
            proposal = self._ask(number)
            if proposal is None:
                if not self.untold:
                    self.ended = "finished"
                break
            plan = self._plan(number, proposal)
            self.asked += 1
            self.untold[number] = plan.proposal
            self._evaluate(plan, jobs)
        if not self.ordered and self.stored:
            # The stored trial that finished first of those not told yet; its number was asked before, or the store lies
            number = next(iter(self.stored))
            if number in self.untold:
                self.finished = {number: self.stored.pop(number), **self.finished}

    def _ask(self, number: int) -> Proposal | None:
        if self.supernets is None:  # asking for the type of a protocol at each trial would cost more than the trial
            return self.agent.ask(self.random.trial(number), tuple(self.untold.values()))
        assert isinstance(self.agent, GradientStrategy)
        seed = training_seed(self.seed, "supernet", number)
        found = self.supernets(self.agent, number, seed, self.device, to_watchers(self.listeners, number))
        self.searched[number] = found
        return Proposal(found.architecture, info=found.info)

    def _ask_again(self, trial: Trial) -> None:
        """Warn where a run that does not say its decisions would now take another course."""
        if self.supernets is None and not self.warned:
            again = self.agent.ask(self.random.trial(trial.number), tuple(self.untold.values()))
            self.warned = warn_of_another_course(self.space, self.record.run.name, trial, again)

    def _open(self) -> bool:
        """Whether another trial may be asked for."""
        budget = self.budget
        return self.ended is None and (
            (budget.trials is None or self.asked < budget.trials)
            and (budget.hours is None or self._elapsed() < budget.hours * 3600)
            and (budget.simulated_seconds is None or self.simulated < budget.simulated_seconds)
        )

    def _elapsed(self) -> float:
        """Wall seconds of the run over all its sessions."""
        # a search on a supernet goes on from its checkpoint, also after a session that ended without a trial
        return max(self.earlier + time.monotonic() - self.begun, self.seconds / self.workers)

    def _evaluate(self, plan: PendingTrial, jobs: Jobs) -> None:
        """Have a trial evaluated, unless an equal one was, or is being so at the moment."""
        key = plan.canonical, plan.proposal.fidelity
        first = self.running.get(key) if self.waits else None  # also one that has finished and is not told yet
        equal = self.known.get(key) if self.reuse else None
        if equal is None and first is not None:
            equal = self.finished.get(first) or self.stored.get(first)
            if equal is None:
                self.waiting.setdefault(first, []).append(plan)
                return
        if equal is not None and equal.completed:
            self._keep(reused(plan, equal, self.evaluator))
            return
        repeat = self.evaluated.get(plan.canonical, 0)
        self.evaluated[plan.canonical] = repeat + 1
        self.running[key] = plan.number
        self.planned[plan.number] = plan._replace(seed=training_seed(self.seed, plan.canonical, repeat))
        jobs.submit(plan.number, (plan.proposal, self.planned[plan.number].seed))

    def _keep(self, trial: Trial) -> None:
        if trial.number in self.searched:
            trial = with_search(trial, self.searched.pop(trial.number))
        self.record.add(trial, self._elapsed())  # before anything learns of it: what was paid for is kept first
        self.finished[trial.number] = trial

    def _tell(self, trial: Trial) -> None:
        del self.untold[trial.number]
        self.trials.append(trial)
        self.seconds += trial.seconds
        self.simulated += simulated_seconds(trial)
        key = trial.canonical, trial.proposal.fidelity
        if trial.reused_from is None and trial.completed:
            self.known.setdefault(key, trial)
        if self.running.get(key) == trial.number:
            del self.running[key]
        self.agent.tell(trial)
        new = trial.number not in self.old
        if new:
            for listener in self.listeners:
                listener.on_trial_end(trial)
        missing = trial.error_kind == NOT_IN_TABLE
        if not missing and self._endless(trial):
            raise UsageError(
                f"budget.simulated_seconds={self.budget.simulated_seconds:g} is the only limit and would never be "
                "reached, since evaluations cost no simulated seconds here; set budget.trials, or table.cost"
            )
        self.failures = 0 if trial.completed else self.failures + (not missing)
        self.reused_in_a_row = 0 if trial.reused_from is None and not missing else self.reused_in_a_row + 1
        if self.failures == self.budget.failures:
            if new:
                self.ended = "failures"
            self.failures = 0  # a search that gave up was asked to go on
        if self.budget.trials is None and self.reused_in_a_row >= EXHAUSTED:
            self.ended = "finished"

    def _endless(self, trial: Trial) -> bool:
        if not self.budget.simulated_alone:
            return False
        costless = trial.completed and "simulated_seconds" not in trial.metrics
        return costless or (self.simulated == 0.0 and len(self.trials) >= EXHAUSTED)

    def _plan(self, number: int, proposal: Proposal) -> PendingTrial:
        if {*map(type, proposal.architecture)} != {int}:  # NumPy's whole numbers are no JSON
            proposal = replace(proposal, architecture=tuple(map(int, proposal.architecture)))
        architecture = proposal.architecture
        self.space.validate(architecture)
        canonical = self.space.canonical(architecture)
        return PendingTrial(number, proposal, self.space.to_text(architecture), canonical, 0, len(self.trials))


def _number(trial: Trial) -> int:
    return trial.number
