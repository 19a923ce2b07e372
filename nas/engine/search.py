"""`search()`: check the parts, open the run, and loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from nas.core import Objective, Trial
from nas.data.lock import locked_test_set
from nas.engine.budget import Budget, plain_number
from nas.engine.checks import (
    check_counts,
    check_indistinguishable,
    check_shared_weights,
    check_stored_texts,
    trial_search,
    warn_of_other_versions,
)
from nas.engine.evaluation import Evaluation
from nas.engine.loop import Loop
from nas.engine.randomness import TrialRandom
from nas.engine.reporting import GuardedListener, epoch_reporter
from nas.engine.trial import by_number, minimized_metrics
from nas.evaluators.base import Evaluator, SupportsProtocol, SupportsRepeatedQueries, SupportsSharedWeights
from nas.executors.base import Executor
from nas.executors.inline import Inline, check_time_limit
from nas.identity import CONDITIONS, DECISIONS, KINDS
from nas.listeners.base import Listener
from nas.provenance import config_snapshot, environment, indistinguishable_parts, jsonable
from nas.space.base import SearchSpace
from nas.space.notation import recorded_choices, recorded_conditions
from nas.store.base import Run, RunRecord, Store, check_run_name
from nas.store.faults import check_sound
from nas.store.memory import MemoryStore
from nas.strategies.base import StrategyFactory
from nas.supernets.base import SupernetSearcher
from nas.validation import one_of


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Args:
        run: Name of the run in the store.
        trials: All trials by number, those of earlier sessions included.
        best: The incumbent; None if no trial completed.
        ended: Why the search ended: `budget`, `finished` (nothing more to propose, or nothing new) or `failures`.
        resumed: Number of trials that came from the store.
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
    """Search a space; resume the run of this name if the store has one.

    Args:
        space: Space to search.
        strategy: Class of the strategy, or a partial of it with settings; called with `space` and `objective`.
        evaluator: Evaluator of the proposals; a plain function works.
        budget: Limits of the search.
        seed: Seed of all random numbers.
        objective: Metric to optimise; default: the highest `valid_accuracy`.
        duplicates: Treatment of an architecture whose function class was evaluated before in this run (at the same
            fidelity): `reuse` gives it the same metrics at no cost, `retrain` evaluates it again with another training
            seed.
        device: `auto`, `cpu`, `cuda` or `cuda:N`, for evaluators that compute.
        executor: Executor of the evaluations; default: one after another in this process. With several workers a
            strategy knows fewer results when it proposes, so another number of workers is another search.
        supernets: Searcher for a strategy that learns on a supernet, one search per trial, such as
            `nas.supernets.GradientSearch`; other strategies need none.
        store: Store of the trials; default: in memory.
        run: Name of the run within the store; default: `search`.
        config: Settings to store with the run; default: a snapshot of the parts.
        listeners: Listeners, such as a progress bar or TensorBoard.

    Returns:
        All trials and the best of them.

    Raises:
        UserError: An error the user can fix, in one sentence; finished trials are stored.
        KeyboardInterrupt: Passed on; finished trials are stored, and the same call resumes after them.
    """
    unnamed, run = run is None, "search" if run is None else run
    check_run_name(run)
    one_of("duplicates", duplicates, ("reuse", "retrain"))
    seed = plain_number(seed)
    random = TrialRandom(seed)
    objective = objective or Objective()
    decisions = _decisions(space)
    new_strategy = strategy(space=space, objective=objective)
    new_strategy.reset(random.start())
    executor = executor or Inline()
    if isinstance(executor, Inline):
        check_time_limit(budget.trial_seconds)
    if isinstance(evaluator, SupportsSharedWeights):
        check_shared_weights(evaluator, new_strategy, executor, objective, costless=budget.only_simulated)
    search_supernet = trial_search(new_strategy, supernets, executor)
    with locked_test_set(), ExitStack() as stack:
        parts = {"space": space, "strategy": strategy, "evaluator": evaluator, "objective": objective}
        opened = _opened_run(run, seed, parts, decisions, duplicates, executor, config)
        record = stack.enter_context((store or MemoryStore()).open(opened, budget.trials))
        snapshot_taken = config is None and store is not None
        _check_record(record, opened, list(parts.values()) if snapshot_taken else [], space, unnamed=unnamed)
        check_counts(record, evaluator)
        stored = sorted(record.trials, key=by_number)
        guarded = [GuardedListener(listener) for listener in listeners]
        for listener in guarded:
            listener.start(opened.name, stored, budget.trials, objective)
            stack.callback(listener.close)
        if isinstance(evaluator, SupportsSharedWeights) and (budget.trials is None or len(stored) < budget.trials):
            evaluator.train_weights(device, stored, epoch_reporter(guarded, None))
        asks_again = isinstance(evaluator, SupportsRepeatedQueries) and evaluator.answers_every_query
        reuse = duplicates == "reuse" and not asks_again
        loop = Loop(
            space,
            new_strategy,
            evaluator,
            budget,
            executor,
            random,
            seed,
            reuse=reuse,
            wait_for_equals=reuse and record.run.config.get("scheduling", {}).get("in_flight") == "wait",
            record=record,
            listeners=guarded,
            search_supernet=search_supernet,
            device=device,
        )
        ended = loop.run(Evaluation(evaluator, objective, device))
    trials = tuple(sorted(loop.trials, key=by_number))
    return SearchResult(opened.name, trials, objective.best(trials), ended, len(record.trials))


def _decisions(space: SearchSpace) -> dict[str, Any]:
    """What a run records of its space: the decisions, the kinds of ordered ones, and conditions."""
    kinds = {name: type(kind).__name__ for name, kind in space.decisions.items() if kind.ordered}
    conditions = recorded_conditions(space)
    return {
        DECISIONS: recorded_choices(space),
        **({KINDS: kinds} if kinds else {}),
        **({CONDITIONS: conditions} if conditions else {}),
    }


def _opened_run(  # noqa: PLR0917 (in the order of the run's fields)
    name: str,
    seed: int,
    parts: Mapping[str, Any],
    decisions: Mapping[str, Any],
    duplicates: str,
    executor: Executor,
    config: Mapping[str, Any] | None,
) -> Run:
    """The run as it is stored: its settings, and the protocol of its evaluator.

    Args:
        parts: `space`, `strategy`, `evaluator` and `objective` of the search.
        decisions: See `_decisions`.
        config: Settings to store; None: a snapshot of the parts.
    """
    evaluator = parts["evaluator"]
    protocol = evaluator.protocol() if isinstance(evaluator, SupportsProtocol) else {}
    if isinstance(evaluator, SupportsSharedWeights) and evaluator.sequential:
        protocol = {**protocol, "learnt_in": name}  # the weights learn from the proposals of this run only
    if config is None:
        config = {part: config_snapshot(parts[part]) for part in ("space", "strategy", "evaluator")}
    own = {"objective": config_snapshot(parts["objective"]), "duplicates": duplicates, **decisions}
    config = own | minimized_metrics(evaluator, parts["objective"]) | dict(config)
    if executor.workers > 1:
        config |= {"scheduling": {"workers": executor.workers, "order": executor.order, "in_flight": "wait"}}
    return Run(name, seed, jsonable(config), jsonable(protocol), environment())


def _check_record(
    record: RunRecord, opened: Run, snapshot_of: Sequence[object], space: SearchSpace, *, unnamed: bool
) -> None:
    """Check that the stored trials of a run mean today what they meant when they were stored.

    Args:
        opened: The run as it would be stored today.
        snapshot_of: Parts whose snapshots are the run's only settings.
        unnamed: Whether the caller named no run.
    """
    check_stored_texts(space, record)
    alike = indistinguishable_parts(list(snapshot_of))
    if alike and record.trials:
        check_indistinguishable(alike, record, unnamed=unnamed)
    warn_of_other_versions(record, opened.environment)
    check_sound(opened.name, record.trials, record.run.config)
