"""Comparing strategies fairly: each of them searches with the same seeds, evaluator and budget, over all cores.

A run is one `search()`; what no search may see is joined when it has ended. Finished runs are lines of a journal, so an
interrupted comparison goes on where it was.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.analysis.results import Column, RunResult, Step
from nas.core import Metrics, Objective, Trial
from nas.data.lock import locked_test_set
from nas.engine.budget import Budget
from nas.engine.checks import check_shared_weights
from nas.engine.search import search
from nas.engine.trial import last_error, simulated_seconds
from nas.errors import NOT_IN_TABLE, UsageError, UserError
from nas.evaluators.base import Evaluator, SupportsProtocol, SupportsSharedWeights, reporter_of
from nas.executors.base import Died, Executor, each
from nas.executors.inline import Inline
from nas.identity import DECISIONS, identifying
from nas.provenance import environment
from nas.space.base import SearchSpace, parse, recorded_choices
from nas.store.base import Store
from nas.store.protocol import EvaluationProtocol
from nas.strategies.base import StrategyFactory
from nas.studies.journal import journal
from nas.supernets.base import GradientStrategy

JOURNAL = "runs.journal"
"""The file of a comparison's folder that has its finished runs."""
NEEDED = ("strategy", "settings", "seed", "queries", "seconds", "architecture", "steps")
"""Keys of each of its lines."""


@dataclass(frozen=True)
class StrategyEntry:
    """A strategy in a comparison.

    Args:
        label: its name there, unique.
        make: makes it; must be fit to be sent to another process.
        settings: JSON-safe; a continued comparison must have the same.
    """

    label: str
    make: StrategyFactory
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class ComparisonSetup:
    """What all runs of a comparison have in common; sent to every worker.

    Args:
        space, evaluator, budget, objective, duplicates, device: as of `nas.engine.search.search`.
        store: keeps the trials of every run, so that an interrupted run goes on; None: in memory, for evaluations that
            cost nothing to repeat.
    """

    space: SearchSpace
    evaluator: Evaluator
    budget: Budget
    objective: Objective
    duplicates: Any = "reuse"
    device: str = "auto"
    store: Store | None = None

    def ready(self) -> ComparisonSetup:
        """Itself; the evaluator is prepared by its first search."""
        return self

    def __call__(self, task: tuple[StrategyEntry, int]) -> dict[str, Any]:
        """One run: `queries`, `missing`, `simulated_seconds`, `seconds`, `architecture`, `searched`, `steps`.

        Or `failed`, and nothing else.
        """
        contender, seed = task
        started = time.perf_counter()
        result = search(
            self.space,
            contender.make,
            self.evaluator,
            budget=self.budget,
            seed=seed,
            objective=self.objective,
            duplicates=self.duplicates,
            device=self.device,
            store=self.store,
            run=f"{contender.label} {seed}",
        )
        if result.best is None or result.ended == "failures":
            return {"failed": last_error(result.trials, result.ended)}
        known = (trial.metrics.get("simulated_seconds") for trial in result.trials)
        simulated = [seconds for seconds in known if seconds is not None]
        return {
            "queries": len(result.trials),
            "missing": sum(trial.error_kind == NOT_IN_TABLE for trial in result.trials),
            "simulated_seconds": sum(simulated) if simulated else None,
            "seconds": time.perf_counter() - started,
            "architecture": result.best.text,
            "searched": result.best.metrics[self.objective.metric],
            "steps": [asdict(step) for step in self._steps(result.trials)],
        }

    def _steps(self, trials: Sequence[Trial]) -> Iterator[Step]:
        """Every change of the incumbent, with what the evaluator reports of it."""
        reporter, best, simulated = reporter_of(self.evaluator), None, 0.0
        for query, trial in enumerate(trials, start=1):
            simulated += simulated_seconds(trial)
            if not trial.completed or (best is not None and self.objective.score(trial) <= best):
                continue
            best = self.objective.score(trial)
            reported = {} if reporter is None else reporter.reported(trial.proposal.architecture)
            # what reports nothing is compared by the objective
            metrics = reported or {self.objective.metric: trial.metrics[self.objective.metric]}
            yield Step(query, simulated if "simulated_seconds" in trial.metrics else None, metrics)


def columns(evaluator: Evaluator, objective: Objective, results: Sequence[RunResult]) -> list[Column]:
    """What a comparison reports: the evaluator's own columns, or the objective where it has none."""
    names, reporter = list(results[0].metrics), reporter_of(evaluator)
    if reporter is None or names == [objective.metric]:
        return [Column(objective.metric, direction=objective.direction)]
    return [Column(n, reporter.optimum(n), reporter.direction(n), reporter.label(n)) for n in names]


def compare(
    match: ComparisonSetup,
    contenders: Sequence[StrategyEntry],
    seeds: int,
    *,
    path: Path,
    executor: Executor,
    about: Mapping[str, Any],
    remarks: Mapping[str, Any],
    report: Callable[[int, int], None],
    trained: Callable[[int, Sequence[Metrics]], None] = lambda _epochs, _curve: None,
) -> list[RunResult]:
    """All runs of all contenders, by contender and then by seed.

    Args:
        match: what they have in common.
        seeds: runs of each, with the seeds 0 to `seeds` - 1.
        path: of the journal; runs that it has are not repeated.
        executor: where runs run, one a worker.
        about: JSON-safe settings that a continued comparison must share; the evaluator's protocol is added.
        remarks: JSON-safe, kept when it begins and not compared; the environment is added.
        report: called with the number of runs done and planned.
        trained: called after each epoch of weights that the evaluator trains, with their number and the curve so far.

    Raises:
        UsageError: the journal is of another comparison, or two contenders have one label.
        UserError: a run failed; the finished ones are kept.
    """
    labels = [contender.label for contender in contenders]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"strategies names {label!r} twice; expected each once")
    protocol = match.evaluator.protocol() if isinstance(match.evaluator, SupportsProtocol) else {}
    evaluation = EvaluationProtocol(protocol)
    identity = {
        "format": 1,
        **about,
        DECISIONS: recorded_choices(match.space),
        "protocol": protocol,
        "objective": asdict(match.objective),
        "budget": asdict(match.budget),
        "duplicates": match.duplicates,
    }
    for contender in contenders:
        _check_contender(contender, match)
    if match.budget.only_simulated and evaluation.table is not None and not evaluation.has_costs:
        raise UsageError(
            "budget.simulated_seconds is the only limit and would never be reached, since table.cost=null; set "
            "budget.trials or budget.hours"
        )
    with journal(path, identity, {"environment": environment(), **remarks}, NEEDED) as opened:
        done = {(line["strategy"], line["seed"]): line for line in opened.lines}
        if DECISIONS not in opened.head:  # a journal of version 0.1.0
            for line in opened.lines:
                parse(match.space, line["architecture"])
        for contender in contenders:
            _check_settings(contender, opened.lines, path)
        plan = [(contender, seed) for seed in range(seeds) for contender in contenders]
        todo = deque(task for task in plan if (task[0].label, task[1]) not in done)
        finished = len(plan) - len(todo)
        if todo and isinstance(match.evaluator, SupportsSharedWeights):
            with locked_test_set():  # once, before any of the workers would
                match.evaluator.train_weights(match.device, (), trained)
        report(finished, len(plan))
        for batch in each(executor, match.ready, todo):
            lost = None
            for (contender, seed), found in batch:
                if isinstance(found, Died) or "failed" in found:
                    reason = found.reason if isinstance(found, Died) else found["failed"]
                    lost = f"{contender.label} with seed {seed} came to nothing: {reason}"
                    continue
                line = {"strategy": contender.label, "settings": dict(contender.settings), "seed": seed, **found}
                opened.append(line)
                done[contender.label, seed] = line
                finished += 1
            if lost:
                raise UserError(f"{lost}. The finished runs are kept; run it again to go on")
            report(finished, len(plan))
    return [_result(done[label, seed], path) for label in labels for seed in range(seeds)]


def _check_contender(contender: StrategyEntry, match: ComparisonSetup) -> None:
    """What every run of it would meet is told before the first."""
    agent = contender.make(space=match.space, objective=match.objective)
    if isinstance(agent, GradientStrategy):
        raise UsageError(
            f"strategies has {contender.label!r}, which learns on a supernet; a comparison runs strategies that "
            "propose, so search with it by nas search, once a seed"
        )
    if isinstance(match.evaluator, SupportsSharedWeights):
        if match.evaluator.sequential:
            raise UsageError(
                "evaluator.train=on_proposal: each run would go on with the weights of the run before; compare with "
                "evaluator.train=before, or run nas search once a seed"
            )
        check_shared_weights(match.evaluator, agent, Inline(), match.objective, costless=match.budget.only_simulated)


def _check_settings(contender: StrategyEntry, lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    wanted = identifying(contender.settings, "strategy")
    for line in lines:
        if line["strategy"] == contender.label and identifying(line["settings"], "strategy") != wanted:
            raise UsageError(
                f"{path} has runs of {contender.label} with {_listed(line['settings'])}, now it is "
                f"{_listed(contender.settings)}; choose another out= or write the settings into its name, such as "
                f"{contender.label.partition('(')[0]}({_listed(contender.settings)})"
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
            tuple(Step(**step) for step in line["steps"]),
            line.get("missing", 0),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it or choose another out=") from None
