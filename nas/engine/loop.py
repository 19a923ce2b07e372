"""The only search loop: ask, evaluate, store, tell.

Every strategy and every evaluator runs through it. Its only random numbers are those of `TrialRandom`, so a run is
repeated by its seed, and resumed by telling a new strategy the stored trials.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from nas.core import Proposal, Trial
from nas.engine.budget import Budget
from nas.engine.checks import TRIALS_ASKED_AGAIN, warn_of_other_proposal
from nas.engine.evaluation import Evaluation
from nas.engine.randomness import TrialRandom, training_seed
from nas.engine.reporting import epoch_reporter
from nas.engine.retries import retrying
from nas.engine.trial import PendingTrial, reused, simulated_seconds, with_supernet_search
from nas.errors import NOT_IN_TABLE, UsageError, UserError
from nas.evaluators.base import Evaluator
from nas.executors.base import Executor, Jobs
from nas.identity import DECISIONS
from nas.listeners.base import Listener
from nas.runtime import interrupt
from nas.space.base import SearchSpace
from nas.store.base import RunRecord
from nas.strategies.base import Strategy
from nas.supernets.base import SupernetSearch, TrialSearch

MAX_FREE_TRIALS = 1000
"""Number of consecutive trials, reused or missing from the table, after which a search without a limit of trials
considers its space exhausted. Such trials take no time, so `budget.hours` would never end it."""

ClassKey: TypeAlias = tuple[str, int | None]
"""Function class and fidelity: trials with equal keys have equal results."""
Ended: TypeAlias = Literal["budget", "finished", "failures"]


@dataclass
class Loop:
    """The loop and its state.

    A resumed run goes through the same loop: stored trials take the place of evaluations, in the order in which they
    finished, so the strategy is asked and told in the order of an uninterrupted run.
    """

    space: SearchSpace
    strategy: Strategy
    evaluator: Evaluator
    budget: Budget
    executor: Executor
    random: TrialRandom
    seed: int
    reuse: bool
    wait_for_equals: bool  # whether a duplicate waits for an equal trial in flight; not in runs of version 0.1.0
    record: RunRecord
    listeners: Sequence[Listener]
    search_supernet: TrialSearch | None  # of a strategy that learns on a supernet
    device: str
    trials: list[Trial] = field(default_factory=list)  # those told, in the order of telling
    asked: int = 0
    seconds: float = 0.0
    earlier_seconds: float = 0.0  # wall time of earlier sessions
    started: float = 0.0  # of this session, in seconds of the monotonic clock
    simulated: float = 0.0
    failures_in_a_row: int = 0
    free_in_a_row: int = 0
    ended: Ended | None = None
    times_evaluated: dict[str, int] = field(default_factory=dict)  # function class -> trainings so far
    results: dict[ClassKey, Trial] = field(default_factory=dict)
    pending: dict[int, Proposal] = field(default_factory=dict)  # asked and not told, oldest first
    submitted: dict[int, PendingTrial] = field(default_factory=dict)  # with the executor, without a result yet
    running: dict[ClassKey, int] = field(default_factory=dict)  # the trial that evaluates a class, until it is told
    waiting: dict[int, list[PendingTrial]] = field(default_factory=dict)  # trial -> equal ones that wait for its result
    finished: dict[int, Trial] = field(default_factory=dict)  # with a result and not told yet
    stored: dict[int, Trial] = field(default_factory=dict)  # of earlier sessions and not told yet, as they finished
    stored_order: deque[int] = field(default_factory=deque)  # their numbers: a dict is slow to find its first key
    stored_numbers: frozenset[int] = frozenset()  # of all trials of earlier sessions
    last_stored: int = -1  # the highest of them; those in flight below it run again, even beyond the budget
    warned: bool = False
    supernet_searches: dict[int, SupernetSearch] = field(default_factory=dict)  # of trials without a result yet

    def __post_init__(self) -> None:
        self._is_ordered = self.executor.order == "ordered"

    def run(self, evaluation: Evaluation) -> Ended:
        """Search until the budget is used up; returns why the search ended."""
        self.started = time.monotonic()
        self.stored = {trial.number: trial for trial in self.record.trials}
        self.stored_order = deque(self.stored)
        self.stored_numbers = frozenset(self.stored)
        self.last_stored = max(self.stored_numbers, default=-1)
        elapsed = self.record.elapsed
        if elapsed is None:  # version 0.1.0 stored only the time of evaluations
            elapsed = sum(trial.seconds for trial in self.record.trials) / self.executor.workers
        self.earlier_seconds = elapsed
        reason: Ended | Literal["interrupted"] = "interrupted"
        try:
            reason = self._run(evaluation)
            return reason
        finally:
            self.record.end_session(self._elapsed(), reason)

    def _run(self, evaluation: Evaluation) -> Ended:
        limit = () if self.budget.trial_seconds is None else (self.budget.trial_seconds,)
        with self.executor.open(evaluation.prepared, *limit) as opened:
            jobs = retrying(opened, self.executor)
            while True:
                interrupt.check()
                self._propose(jobs)
                if not self.pending:
                    return self.ended or "budget"
                due = next(iter(self.pending if self._is_ordered else self.finished), None)
                if due in self.finished:
                    self._tell(self.finished.pop(due))
                elif not self.submitted:
                    raise UserError(
                        f"run {self.record.run.name!r} is damaged: its stored trials contradict one another"
                    )
                else:
                    for number, outcome in jobs.wait():
                        self._store(self.submitted.pop(number).with_outcome(outcome))
                        for equal in self.waiting.pop(number, ()):  # after a failure the first of them is evaluated
                            self._evaluate(equal, jobs)

    def _propose(self, jobs: Jobs) -> None:
        """Ask for trials until every worker has one."""
        while len(self.pending) < self.executor.workers:
            number = self.asked
            if number > self.last_stored and not self._is_within_budget():
                break
            if number in self.stored:
                if len(self.trials) < self.stored[number].told_before:
                    break  # the strategy made this proposal only after more results
                self._replay(self.stored[number])
                continue
            proposal = self._ask(number)
            if proposal is None:
                if not self.pending:
                    self.ended = "finished"
                break
            trial = self._pending_trial(number, proposal)
            self.asked += 1
            self.pending[number] = trial.proposal
            self._evaluate(trial, jobs)
        if not self._is_ordered and self.stored:
            # The first to finish of the stored trials not told yet; unless the store is damaged it was asked for before
            number = self.stored_order[0]
            if number in self.pending:
                self.stored_order.popleft()
                self.finished = {number: self.stored.pop(number), **self.finished}

    def _replay(self, trial: Trial) -> None:
        """Take a stored trial instead of a proposal and its evaluation."""
        if trial.number < TRIALS_ASKED_AGAIN and DECISIONS not in self.record.run.config:
            self._ask_again(trial)
        self.asked += 1
        self.pending[trial.number] = trial.proposal
        if trial.reused_from is None:
            self.times_evaluated[trial.canonical] = self.times_evaluated.get(trial.canonical, 0) + 1
            self.running[trial.canonical, trial.proposal.fidelity] = trial.number
        if self._is_ordered:
            self.finished[trial.number] = self.stored.pop(trial.number)

    def _ask(self, number: int) -> Proposal | None:
        if self.search_supernet is None:
            return self.strategy.ask(self.random.trial(number), tuple(self.pending.values()))
        seed = training_seed(self.seed, "supernet", number)
        result = self.search_supernet(number, seed, self.device, epoch_reporter(self.listeners, number))
        self.supernet_searches[number] = result
        return Proposal(result.architecture, info=result.info)

    def _ask_again(self, trial: Trial) -> None:
        """Warn if the strategy would propose something else today to a run that stores no decisions."""
        if self.search_supernet is None and not self.warned:
            again = self.strategy.ask(self.random.trial(trial.number), tuple(self.pending.values()))
            self.warned = warn_of_other_proposal(self.space, self.record.run.name, trial, again)

    def _is_within_budget(self) -> bool:
        """Whether another trial may be asked for."""
        return self.ended is None and self.budget.allows(self.asked, self._elapsed, self.simulated)

    def _elapsed(self) -> float:
        """Wall seconds of the run over all its sessions."""
        # a search on a supernet resumes from its checkpoint, also after a session that ended without a trial
        return max(self.earlier_seconds + time.monotonic() - self.started, self.seconds / self.executor.workers)

    def _evaluate(self, trial: PendingTrial, jobs: Jobs) -> None:
        """Submit a trial, unless an equal one has a result or is being evaluated."""
        key = trial.canonical, trial.proposal.fidelity
        first = self.running.get(key) if self.wait_for_equals else None  # it may have finished and not been told yet
        equal = self.results.get(key) if self.reuse else None
        if equal is None and first is not None:
            equal = self.finished.get(first) or self.stored.get(first)
            if equal is None:
                self.waiting.setdefault(first, []).append(trial)
                return
        if equal is not None and equal.completed:
            self._store(reused(trial, equal, self.evaluator))
            return
        repeat = self.times_evaluated.get(trial.canonical, 0)
        self.times_evaluated[trial.canonical] = repeat + 1
        self.running[key] = trial.number
        self.submitted[trial.number] = trial._replace(seed=training_seed(self.seed, trial.canonical, repeat))
        jobs.submit(trial.number, (trial.proposal, self.submitted[trial.number].seed))

    def _store(self, trial: Trial) -> None:
        if trial.number in self.supernet_searches:
            trial = with_supernet_search(trial, self.supernet_searches.pop(trial.number))
        self.record.add(trial, self._elapsed())  # before anything else sees it, so that no result is lost
        self.finished[trial.number] = trial

    def _tell(self, trial: Trial) -> None:
        del self.pending[trial.number]
        self.trials.append(trial)
        self.seconds += trial.seconds
        self.simulated += simulated_seconds(trial)
        key = trial.canonical, trial.proposal.fidelity
        if trial.reused_from is None and trial.completed:
            self.results.setdefault(key, trial)
        if self.running.get(key) == trial.number:
            del self.running[key]
        self.strategy.tell(trial)
        is_new = trial.number not in self.stored_numbers
        if is_new:
            for listener in self.listeners:
                listener.on_trial_end(trial)
        missing = trial.error_kind == NOT_IN_TABLE
        if not missing and self._is_endless(trial):
            raise UsageError(
                f"budget.simulated_seconds={self.budget.simulated_seconds:g} is the only limit and would never be "
                "reached, since these evaluations cost no simulated seconds; set budget.trials, or table.cost"
            )
        self.failures_in_a_row = 0 if trial.completed else self.failures_in_a_row + (not missing)
        self.free_in_a_row = 0 if trial.reused_from is None and not missing else self.free_in_a_row + 1
        if self.budget.gives_up(self.failures_in_a_row):
            if is_new:
                self.ended = "failures"
            self.failures_in_a_row = 0  # a search that gave up and was resumed
        if self.budget.trials is None and self.free_in_a_row >= MAX_FREE_TRIALS:
            self.ended = "finished"

    def _is_endless(self, trial: Trial) -> bool:
        if not self.budget.only_simulated:
            return False
        has_no_cost = trial.completed and "simulated_seconds" not in trial.metrics
        return has_no_cost or (self.simulated == 0.0 and len(self.trials) >= MAX_FREE_TRIALS)

    def _pending_trial(self, number: int, proposal: Proposal) -> PendingTrial:
        if {*map(type, proposal.architecture)} != {int}:  # NumPy's integers are not JSON
            proposal = replace(proposal, architecture=tuple(map(int, proposal.architecture)))
        architecture = proposal.architecture
        self.space.validate(architecture)
        canonical = self.space.canonical(architecture)
        return PendingTrial(number, proposal, self.space.to_text(architecture), canonical, 0, len(self.trials))
