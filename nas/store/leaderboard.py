"""The leaderboard: trials of one or several runs, ranked within groups of comparable trials."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nas.core import Objective, Trial
from nas.errors import UsageError
from nas.store.base import Retraining, Run, Store
from nas.store.faults import fault, has_early_count

ACCURACIES = ("valid_accuracy", "train_accuracy", "test_accuracy")
"""Metrics of the built-in evaluators for which higher is better; for their other metrics lower is better."""
MAX_NAMED_RUNS = 5
"""Largest number of runs, the latest ones, that a message names."""
COSTS = ("seconds", "simulated_seconds")
"""Costs of an evaluation, which are minimised even if an evaluator declares otherwise."""


@dataclass(frozen=True)
class Entry:
    """One trial on the leaderboard, or several of one architecture.

    Args:
        run, trial: The run and the trial; for a group, those of its best member.
        objective: Objective of the run.
        score: Mean of the objective, higher is better; None if the trial failed.
        spread: Standard deviation of the objective over the members (n - 1); None for fewer than two members.
        members: Number of trainings that the score is the mean of.
        tested: Its retrainings.
    """

    run: Run
    trial: Trial
    objective: Objective
    score: float | None
    spread: float | None
    members: int
    tested: tuple[Retraining, ...]

    @property
    def fault(self) -> str | None:
        """The known fault of the trial; see `nas.store.faults`."""
        return fault(self.trial, self.run.config)

    @property
    def has_early_count(self) -> bool:
        """Whether its FLOPs may be too few; see `nas.store.faults`."""
        return has_early_count(self.trial, self.run)

    def row(self) -> dict[str, Any]:
        """All facts about the trial, JSON-safe."""
        trial = self.trial
        return {
            "run": self.run.name,
            "number": trial.number,
            "arch": trial.text,
            "decisions": list(trial.proposal.architecture),
            "canonical": trial.canonical,
            "status": trial.status,
            "error_kind": trial.error_kind,
            "error": trial.error,
            "fault": self.fault,
            "early_count": self.has_early_count,
            "epochs": epochs(self.run, trial),
            "seed": trial.seed,
            "metrics": dict(trial.metrics),
            "seconds": trial.seconds,
            "cost": dict(trial.cost),
            "reused_from": trial.reused_from,
            "info": dict(trial.proposal.info),
            "score": self.score,
            "spread": self.spread,
            "members": self.members,
            "protocol": protocol_key(self.run, trial),
            "retrained": [retrained_row(test) for test in self.tested],
        }


def retrained_row(test: Retraining) -> dict[str, Any]:
    """All facts about a retraining, JSON-safe."""
    return {
        "seed": test.seed,
        "metrics": dict(test.metrics),
        "protocol": dict(test.protocol),
        "folder": test.folder,
    }


def epochs(run: Run, trial: Trial) -> int | None:
    """Number of epochs that a trial was trained for; None for evaluators without epochs."""
    return run.evaluation.epochs(trial.proposal.fidelity)


def protocol_key(run: Run, trial: Trial) -> str:
    """Eight hexadecimal digits, equal only if two results may be ranked together."""
    return run.evaluation.key(run.config, trial.proposal.fidelity)


def recipe_key(retraining: Retraining) -> str:
    """Four hexadecimal digits, equal for retrainings that may be compared: space, data, recipe and network agree."""
    return hashlib.blake2b(json.dumps(retraining.protocol, sort_keys=True).encode(), digest_size=2).hexdigest()


def protocol_description(run: Run, trial: Trial) -> str:
    """A description of a group of comparable trials, for people."""
    evaluator = (run.config.get("choices") or {}).get("evaluator")
    own = None if evaluator in (None, "training", "table", "shared_weights") else f"evaluator={evaluator}"
    description = run.evaluation.description(trial.proposal.fidelity)
    return ", ".join(filter(None, (own, description, f"protocol {protocol_key(run, trial)}")))


def leaderboard(
    store: Store, run: str | None = None, *, sort: str = "score", top: int = 10, group: bool = False
) -> list[list[Entry]]:
    """Ranked entries, one list for each set of comparable trials, the largest set first.

    Args:
        store: Store to read.
        run: Name of the only run to list; None: all runs.
        sort: `score` (best first; wrong and failed trials last), `number`, or the name of a metric or a cost, followed
            by ` asc` (lowest first) or ` desc`; without these the better values come first. NaN is last in both orders.
        top: Number of entries per set; 0: all.
        group: Join the trials of a function class; a training counts once.

    Raises:
        UsageError: The store has no such run, or no trial has such a metric.
    """
    runs = store.runs() if run is None else [named_run(store, run)]
    tested: dict[tuple[str | None, int | None], list[Retraining]] = {}
    for retraining in store.retrainings():
        tested.setdefault((retraining.run, retraining.trial), []).append(retraining)
    sets: dict[str, list[Entry]] = {}
    for known in runs:
        objective = known.objective
        for trial in store.trials(known.name):
            score = objective.score(trial) if trial.completed else None
            tests = tuple(tested.get((known.name, trial.number), ()))
            entry = Entry(known, trial, objective, score, None, 1, tests)
            sets.setdefault(protocol_key(known, trial), []).append(entry)
    ordered = sorted(sets.values(), key=len, reverse=True)
    if group:
        ordered = [_grouped(entries) for entries in ordered]
    name, order = parse_sort(sort)
    if ordered and name not in ("score", "number") and not any(name in _values(e) for es in ordered for e in es):
        names = sorted({key for es in ordered for e in es for key in (*e.trial.metrics, *e.trial.cost)})
        raise UsageError(
            f"sort must be score, number or one of {', '.join(names)}, got {name!r}; asc or desc may follow the name"
        )
    for entries in ordered:
        _sort(entries, name, order)
    return [entries[: top or None] for entries in ordered]


def named_run(store: Store, run: str | None) -> Run:
    """A run by its name.

    Raises:
        UsageError: The name is None, or the store has no such run.
    """
    if run is None:
        raise UsageError("run=null; expected the name of a run of the store (nas runs lists them)")
    runs = store.runs()
    for known in runs:
        if known.name == run:
            return known
    earlier = "…, " if len(runs) > MAX_NAMED_RUNS else ""
    listed = earlier + ", ".join(repr(known.name) for known in runs[-MAX_NAMED_RUNS:])
    raise UsageError(f"there is no run {run!r} in the store; it has {listed or 'none'}")


def without_trial(store: Store) -> list[list[Retraining]]:
    """Retrainings of architectures that no trial found, one list per architecture and recipe.

    The lists of a recipe follow each other, the best mean test accuracy first.
    """
    groups: dict[tuple[str, str], list[Retraining]] = {}
    for retraining in store.retrainings():
        if retraining.run is None:
            groups.setdefault((recipe_key(retraining), retraining.text), []).append(retraining)
    mean = {key: statistics.fmean(one.metrics["test_accuracy"] for one in group) for key, group in groups.items()}
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0], -mean[key], key[1]))]


def find_trial(store: Store, run: str | None, trial: int | str) -> tuple[Run, Trial]:
    """A trial of a run by its number, or the `best` one.

    Raises:
        UsageError: The run or the trial does not exist, or `best` has no completed trial to choose from.
    """
    entries = [entry for entries in leaderboard(store, run, sort="number", top=0) for entry in entries]
    if trial == "best":
        sound = [entry.trial for entry in entries if entry.fault is None]
        best = entries[0].run.objective.best(sound) if entries else None
        if best is None:
            wrong = next((f"; trial {e.trial.number} is invalid: {e.fault}" for e in entries if e.fault), "")
            raise UsageError(f"trial=best: run {run!r} has no completed trial{wrong}")
        return entries[0].run, best
    for entry in entries:
        if str(entry.trial.number) == str(trial):
            if entry.fault is not None:
                warnings.warn(f"trial {trial} of run {run!r} is invalid: {entry.fault}", stacklevel=2)
            return entry.run, entry.trial
    last = max((entry.trial.number for entry in entries), default=None)
    expected = "it has none" if last is None else f"expected best or 0 to {last}"
    raise UsageError(f"trial={trial} is not a trial of run {run!r}; {expected}")


def _grouped(entries: Sequence[Entry]) -> list[Entry]:
    classes: dict[str, list[Entry]] = {}
    for entry in entries:
        classes.setdefault(entry.trial.canonical, []).append(entry)
    joined = []
    for members in classes.values():
        # several trials may have the result of the same training, which counts once
        evaluated = {_training(e): e for e in members if e.score is not None and e.trial.reused_from is None}
        scores = [e.score for e in evaluated.values() if e.score is not None]
        if not scores:
            joined.append(members[0])
            continue
        best = max(evaluated.values(), key=lambda e: e.score or 0.0)
        spread = statistics.stdev(scores) if len(scores) > 1 else None
        tests = tuple(test for member in members for test in member.tested)
        joined.append(Entry(best.run, best.trial, best.objective, statistics.fmean(scores), spread, len(scores), tests))
    return joined


def _training(entry: Entry) -> Hashable:
    """The key of the training that gave a score, among others of its class and protocol: usually the seed.

    A benchmark table has one training per row, so the seed does not count. Weights that were trained before the search
    give an architecture the same score each time.
    """
    run, trial = entry.run, entry.trial
    if run.evaluation.table is not None:
        # a run from Python has the table within its evaluator
        table = run.config.get("table") or (run.config.get("evaluator") or {}).get("table") or {}
        return trial.canonical if table.get("rows") == "class" else trial.proposal.architecture
    if run.evaluation.weights_are_fixed:
        return trial.proposal.architecture
    return trial.seed


def parse_sort(sort: str) -> tuple[str, str | None]:
    """Name and direction (`asc`, `desc` or None) of a `sort=`, such as `latency desc`."""
    name, space, last = sort.rpartition(" ")
    return (name.strip(), last) if space and last in ("asc", "desc") else (sort, None)


def _direction(name: str, entries: Sequence[Entry]) -> Literal["asc", "desc"]:
    """The order in which the better values of one set come first.

    The objective has its own direction, and costs are minimised. Of the other metrics, those that the evaluator
    declares as `minimized` are minimised and the rest is maximised. If it declares nothing, `ACCURACIES` are maximised
    and the rest is minimised: losses, times and sizes.
    """
    run = entries[0].run
    objective, declared = entries[0].objective, run.config.get("minimized")
    if name == objective.metric:
        return "desc" if objective.direction == "maximize" else "asc"
    if name in COSTS or any(name in entry.trial.cost for entry in entries):
        return "asc"
    higher = name in ACCURACIES if declared is None else name not in declared
    return "desc" if higher else "asc"


def _values(entry: Entry) -> Mapping[str, float]:
    return {"seconds": entry.trial.seconds, **entry.trial.cost, **entry.trial.metrics}


def _sort(entries: list[Entry], name: str, order: str | None) -> None:
    if name == "number":
        entries.sort(key=lambda entry: entry.trial.number, reverse=order == "desc")
        entries.sort(key=lambda entry: entry.run.name)
        return
    direction = order or ("desc" if name == "score" else _direction(name, entries))
    sign = -1.0 if direction == "desc" else 1.0

    def key(entry: Entry) -> tuple[bool, bool, float]:
        value = entry.score if name == "score" else _values(entry).get(name)
        wrong = name == "score" and entry.fault is not None
        return (True, wrong, 0.0) if value is None or math.isnan(value) else (False, wrong, sign * value)

    entries.sort(key=key)  # the sort is stable, so the lower number comes first among equals
