"""Comparing strategies fairly: each of them searches with the same seeds, evaluator and budget, on all cores.

A run is one `search()`. Results that no search may see, such as test accuracies, are added after it has ended. Finished
runs are lines of a journal, from which an interrupted comparison resumes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.analysis.results import Column, IncumbentChange, RunResult
from nas.core import Metrics, Objective, Trial
from nas.data.lock import locked_test_set
from nas.engine.budget import Budget
from nas.engine.checks import check_shared_weights
from nas.engine.search import search
from nas.engine.trial import last_error, simulated_seconds
from nas.errors import NOT_IN_TABLE, UsageError, UserError
from nas.evaluators.base import Evaluator, SupportsProtocol, SupportsReporting, SupportsSharedWeights, reporter_of
from nas.executors.base import Executor, WorkerDied
from nas.executors.each import each
from nas.executors.inline import Inline
from nas.identity import DECISIONS, identifying
from nas.provenance import environment
from nas.space.base import SearchSpace
from nas.space.notation import parse, recorded_choices
from nas.store.base import Store
from nas.store.protocol import EvaluationProtocol
from nas.strategies.base import StrategyFactory
from nas.studies.journal import journal
from nas.supernets.base import GradientStrategy

JOURNAL = "runs.journal"
"""File with the finished runs, within the folder of a comparison."""
REQUIRED_KEYS = ("strategy", "settings", "seed", "queries", "seconds", "architecture", "steps")
"""Keys of each of its lines."""


@dataclass(frozen=True)
class StrategyEntry:
    """A strategy in a comparison.

    Args:
        label: Unique name within the comparison.
        make: Class of the strategy, or a partial of it with settings, that can be sent to another process.
        settings: JSON-safe settings; must be the same when the comparison is resumed.
    """

    label: str
    make: StrategyFactory
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class ComparisonSetup:
    """The setup that all runs of a comparison share; sent to every worker.

    Args:
        space, evaluator, budget, objective, duplicates, device: As in `nas.engine.search.search`.
        store: Store for the trials of every run, so that an interrupted run resumes; None: in memory, for evaluations
            that cost nothing to repeat.
    """

    space: SearchSpace
    evaluator: Evaluator
    budget: Budget
    objective: Objective
    duplicates: Any = "reuse"
    device: str = "auto"
    store: Store | None = None

    @property
    def protocol(self) -> EvaluationProtocol:
        """The protocol of the evaluator."""
        return EvaluationProtocol(self.evaluator.protocol() if isinstance(self.evaluator, SupportsProtocol) else {})

    def ready(self) -> ComparisonSetup:
        """The setup itself; the first search prepares the evaluator."""
        return self

    def __call__(self, task: tuple[StrategyEntry, int]) -> dict[str, Any]:
        """Search with one strategy and seed.

        Returns:
            The run's `queries`, `missing`, `simulated_seconds`, `seconds`, `architecture`, `searched` and `steps`; or
            only `failed`, the reason.
        """
        entry, seed = task
        started = time.perf_counter()
        result = search(
            self.space,
            entry.make,
            self.evaluator,
            budget=self.budget,
            seed=seed,
            objective=self.objective,
            duplicates=self.duplicates,
            device=self.device,
            store=self.store,
            run=f"{entry.label} {seed}",
        )
        if result.best is None or result.ended == "failures":
            return {"failed": last_error(result.trials, result.ended)}
        costs = (trial.metrics.get("simulated_seconds") for trial in result.trials)
        simulated = [seconds for seconds in costs if seconds is not None]
        return {
            "queries": len(result.trials),
            "missing": sum(trial.error_kind == NOT_IN_TABLE for trial in result.trials),
            "simulated_seconds": sum(simulated) if simulated else None,
            "seconds": time.perf_counter() - started,
            "architecture": result.best.text,
            "searched": result.best.metrics[self.objective.metric],
            "steps": [
                asdict(step) for step in incumbent_changes(result.trials, self.objective, reporter_of(self.evaluator))
            ],
        }


def incumbent_changes(
    trials: Sequence[Trial], objective: Objective, reporter: SupportsReporting | None
) -> Iterator[IncumbentChange]:
    """Every change of the incumbent of a search, with the metrics that an evaluator reports for it.

    Args:
        trials: All trials of the search by number.
        objective: Objective of the search.
        reporter: Reports the metrics; None: the objective itself.
    """
    best, simulated = None, 0.0
    for query, trial in enumerate(trials, start=1):
        simulated += simulated_seconds(trial)
        if not trial.completed or (best is not None and objective.score(trial) <= best):
            continue
        best = objective.score(trial)
        reported = {} if reporter is None else reporter.reported(trial.proposal.architecture)
        # an evaluator that reports nothing is compared by the objective
        metrics = reported or {objective.metric: trial.metrics[objective.metric]}
        yield IncumbentChange(query, simulated if "simulated_seconds" in trial.metrics else None, metrics)


def columns(evaluator: Evaluator | None, objective: Objective, results: Sequence[RunResult]) -> list[Column]:
    """Columns of a comparison: those that the evaluator reports, or the objective if it reports none.

    Args:
        evaluator: Evaluator of the runs; None if only their objectives are known.
        objective: Objective of the runs.
        results: All runs.
    """
    names = list(results[0].metrics)
    reporter = None if evaluator is None else reporter_of(evaluator)
    if reporter is None or names == [objective.metric]:
        return [Column(objective.metric, direction=objective.direction)]
    return [Column(n, reporter.optimum(n), reporter.direction(n), reporter.label(n)) for n in names]


def compare(
    setup: ComparisonSetup,
    entries: Sequence[StrategyEntry],
    seeds: int,
    *,
    path: Path,
    executor: Executor,
    about: Mapping[str, Any],
    remarks: Mapping[str, Any],
    report: Callable[[int, int], None],
    trained: Callable[[int, Sequence[Metrics]], None] = lambda _epochs, _curve: None,
) -> list[RunResult]:
    """Run every strategy with every seed; finished runs of the journal are not repeated.

    Args:
        setup: Setup that all runs share.
        entries: Strategies to compare.
        seeds: Number of runs per strategy, with the seeds 0 to `seeds` - 1.
        path: Path of the journal.
        executor: Executor of the runs, one run per worker.
        about: JSON-safe settings that must be the same when the comparison is resumed; the evaluator's protocol is
            added.
        remarks: JSON-safe facts that are stored with a new journal and never compared; the environment is added.
        report: Called with the numbers of finished and of planned runs.
        trained: Called after each epoch of weights that the evaluator trains, with its number and the curve so far.

    Returns:
        All runs, by entry and then by seed.

    Raises:
        UsageError: The journal belongs to another comparison, or two entries have the same label.
        UserError: A run failed; the finished ones are saved.
    """
    labels = [entry.label for entry in entries]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"strategies names {label!r} twice; expected each once")
    identity = _identity(setup, about)
    evaluation = EvaluationProtocol(identity["protocol"])
    for entry in entries:
        _check_entry(entry, setup)
    if setup.budget.only_simulated and evaluation.table is not None and not evaluation.has_costs:
        raise UsageError(
            "budget.simulated_seconds is the only limit and would never be reached, since table.cost=null; set "
            "budget.trials or budget.hours"
        )
    with journal(path, identity, {"environment": environment(), **remarks}, REQUIRED_KEYS) as opened:
        done = {(line["strategy"], line["seed"]): line for line in opened.lines}
        if DECISIONS not in opened.head:  # a journal of version 0.1.0
            for line in opened.lines:
                parse(setup.space, line["architecture"])
        for entry in entries:
            _check_settings(entry, opened.lines, path)
        planned = [(entry, seed) for seed in range(seeds) for entry in entries]
        remaining = deque(task for task in planned if (task[0].label, task[1]) not in done)
        finished = len(planned) - len(remaining)
        if remaining and isinstance(setup.evaluator, SupportsSharedWeights):
            with locked_test_set():  # once for all workers
                setup.evaluator.train_weights(setup.device, (), trained)
        report(finished, len(planned))
        for batch in each(executor, setup.ready, remaining):
            failure = None
            for (entry, seed), result in batch:
                if isinstance(result, WorkerDied) or "failed" in result:
                    reason = result.reason if isinstance(result, WorkerDied) else result["failed"]
                    failure = f"{entry.label} (seed {seed}) failed: {reason}"
                    continue
                line = {"strategy": entry.label, "settings": dict(entry.settings), "seed": seed, **result}
                opened.append(line)
                done[entry.label, seed] = line
                finished += 1
            if failure:
                raise UserError(f"{failure}. The finished runs are saved; run the same command again to resume")
            report(finished, len(planned))
    return [_result(done[label, seed], path) for label in labels for seed in range(seeds)]


def _identity(setup: ComparisonSetup, about: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a comparison, which must be the same when it is resumed."""
    return {
        "format": 1,
        **about,
        DECISIONS: recorded_choices(setup.space),
        "protocol": setup.protocol.settings,
        "objective": asdict(setup.objective),
        "budget": asdict(setup.budget),
        "duplicates": setup.duplicates,
    }


def _check_entry(entry: StrategyEntry, setup: ComparisonSetup) -> None:
    """Raise, before the first run, the `UsageError` that every run of a strategy would raise."""
    strategy = entry.make(space=setup.space, objective=setup.objective)
    if isinstance(strategy, GradientStrategy):
        raise UsageError(
            f"strategies has {entry.label!r}, which learns on a supernet; a comparison runs only strategies that "
            "propose architectures; run nas search once per seed instead"
        )
    if isinstance(setup.evaluator, SupportsSharedWeights):
        if setup.evaluator.sequential:
            raise UsageError(
                "evaluator.train=on_proposal: each run would continue with the weights of the previous run; compare "
                "with evaluator.train=before, or run nas search once per seed"
            )
        check_shared_weights(setup.evaluator, strategy, Inline(), setup.objective, costless=setup.budget.only_simulated)


def _check_settings(entry: StrategyEntry, lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Raise `UsageError` if the journal has runs of a strategy with other settings."""
    settings = identifying(entry.settings, "strategy")
    for line in lines:
        if line["strategy"] == entry.label and identifying(line["settings"], "strategy") != settings:
            raise UsageError(
                f"{path} has runs of {entry.label} with {_listed(line['settings'])} "
                f"(now {_listed(entry.settings)}); choose another out= or write the settings into its name, such as "
                f"{entry.label.partition('(')[0]}({_listed(entry.settings)})"
            )


def _listed(settings: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in settings.items()) or "no settings"


def _result(line: Mapping[str, Any], path: Path) -> RunResult:
    try:
        return RunResult(
            line["strategy"],
            line["seed"],
            line["queries"],
            line["simulated_seconds"],
            line["seconds"],
            line["architecture"],
            tuple(IncumbentChange(**step) for step in line["steps"]),
            line.get("missing", 0),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it or choose another out=") from None
