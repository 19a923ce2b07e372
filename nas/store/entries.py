"""Entries of the leaderboard: one trial, or several of one architecture, and their order."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from nas.core import Objective, Trial
from nas.errors import UsageError
from nas.formatting import did_you_mean
from nas.store.base import Retraining, Run
from nas.store.conditions import ALIASES, Condition
from nas.store.facts import FACTS, decision_names, value_of
from nas.store.faults import fault, has_early_count

ACCURACIES = ("valid_accuracy", "train_accuracy", "test_accuracy")
"""Metrics of the built-in evaluators for which higher is better; for their other metrics lower is better."""
COSTS = ("seconds", "simulated_seconds")
"""Costs of an evaluation, which are minimised even if an evaluator declares otherwise."""


Tested: TypeAlias = dict[tuple[str | None, int | None], list[Retraining]]
"""Run and trial -> the retrainings of its architecture."""


@dataclass(frozen=True)
class Query:
    """Which entries of a leaderboard are wanted; see `nas.store.leaderboard.leaderboard` for the arguments."""

    sort: str = "score"
    top: int = 10
    group: bool = False
    where: Condition | None = None

    @property
    def name(self) -> str:
        """What it sorts by."""
        return self._parsed[0]

    @property
    def order(self) -> str | None:
        """`asc` or `desc`; None: the better values first."""
        return self._parsed[1]

    @property
    def _parsed(self) -> tuple[str, str | None]:
        name, space, last = self.sort.rpartition(" ")
        name, order = (name.strip(), last) if space and last in ("asc", "desc") else (self.sort, None)
        return ALIASES.get(name, name), order


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

    @classmethod
    def of(cls, run: Run, trial: Trial, tested: Tested) -> Entry:
        """The entry of one trial."""
        score = run.objective.score(trial) if trial.completed else None
        return cls(run, trial, run.objective, score, None, 1, tuple(tested.get((run.name, trial.number), ())))

    def value(self, name: str) -> Any:
        """The value of a fact, a metric or a cost; None if the trial does not have it."""
        return value_of(self.run, self.trial, self.score, name)

    @property
    def numbers(self) -> Mapping[str, float]:
        """What it can be sorted by: metrics, costs and seconds."""
        return {"seconds": self.trial.seconds, **self.trial.cost, **self.trial.metrics}

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


def grouped(entries: Sequence[Entry]) -> list[Entry]:
    """One entry for each function class of a set, in the order of their first trials."""
    classes: dict[str, list[Entry]] = {}
    for entry in entries:
        classes.setdefault(entry.trial.canonical, []).append(entry)
    joined = []
    for members in classes.values():
        # several trials may have the result of the same training, which counts once
        evaluated = {
            training_key(e.run, e.trial): e for e in members if e.score is not None and e.trial.reused_from is None
        }
        scores = [e.score for e in evaluated.values() if e.score is not None]
        if not scores:
            joined.append(members[0])
            continue
        best = max(evaluated.values(), key=lambda e: e.score or 0.0)
        spread = deviation(scores)
        tests = tuple(test for member in members for test in member.tested)
        joined.append(Entry(best.run, best.trial, best.objective, statistics.fmean(scores), spread, len(scores), tests))
    return joined


def deviation(scores: Sequence[float]) -> float | None:
    """Standard deviation (n - 1); None for fewer than two scores, NaN if one of them is not finite."""
    if len(scores) < 2:
        return None
    return statistics.stdev(scores) if all(map(math.isfinite, scores)) else math.nan


def training_kind(run: Run) -> Literal["seed", "canonical", "architecture"]:
    """What tells the trainings of a function class and a protocol apart: usually the seed.

    A benchmark table has one training per row, so the seed does not count. Weights that were trained before the search
    give an architecture the same score each time.
    """
    if run.evaluation.table is not None:
        # a run from Python has the table within its evaluator
        table = run.config.get("table") or (run.config.get("evaluator") or {}).get("table") or {}
        return "canonical" if table.get("rows") == "class" else "architecture"
    return "architecture" if run.evaluation.weights_are_fixed else "seed"


def training_key(run: Run, trial: Trial) -> Hashable:
    """The key of the training that gave a trial its score, among others of its class and protocol."""
    kind = training_kind(run)
    return trial.proposal.architecture if kind == "architecture" else getattr(trial, kind)


def check_condition(where: Condition, entries: Iterable[Entry]) -> None:
    """Raise `UsageError` if a condition names something that none of these entries has."""
    known = {name for e in entries for name in (*e.trial.metrics, *e.trial.cost, *decision_names(e.run))}
    where.check_names({*FACTS, *known})


def check_sort(query: Query, entries: Sequence[Entry]) -> None:
    """Raise `UsageError` if none of these entries, if there are any, has what they are sorted by."""
    if entries and query.name not in ("score", "number") and not any(query.name in e.numbers for e in entries):
        raise unknown_sort(query, {key for e in entries for key in (*e.trial.metrics, *e.trial.cost)})


def unknown_sort(query: Query, names: Iterable[str]) -> UsageError:
    """The error that no trial has what is sorted by.

    Args:
        query: What was wanted.
        names: Metrics and costs of the trials.
    """
    known = sorted(names)
    hint = did_you_mean(query.name, ["score", "number", *known])
    return UsageError(
        f"sort must be score, number or one of {', '.join(known)}, got {query.name!r}{hint}; asc or desc may follow "
        "the name"
    )


def direction(name: str, run: Run, *, is_cost: bool) -> Literal["asc", "desc"]:
    """The order in which the better values of one set come first.

    The objective has its own direction, and costs are minimised. Of the other metrics, those that the evaluator
    declares as `minimized` are minimised and the rest is maximised. If it declares nothing, `ACCURACIES` are maximised
    and the rest is minimised: losses, times and sizes.

    Args:
        name: Name of the metric or cost.
        run: Run of the first trial of the set.
        is_cost: Whether a trial of the set has it as a cost.
    """
    objective, declared = run.objective, run.config.get("minimized")
    if name == objective.metric:
        return "desc" if objective.direction == "maximize" else "asc"
    if name in COSTS or is_cost:
        return "asc"
    higher = name in ACCURACIES if declared is None else name not in declared
    return "desc" if higher else "asc"


def sort_entries(entries: list[Entry], query: Query) -> None:
    """Sort the entries of one set in place; among equals the order stays."""
    if not entries:
        return
    name, order = query.name, query.order
    if name == "number":
        entries.sort(key=lambda entry: entry.trial.number, reverse=order == "desc")
        entries.sort(key=lambda entry: entry.run.name)
        return
    is_cost = any(name in entry.trial.cost for entry in entries)
    order = order or ("desc" if name == "score" else direction(name, entries[0].run, is_cost=is_cost))
    sign = -1.0 if order == "desc" else 1.0

    def key(entry: Entry) -> tuple[bool, bool, float]:
        value = entry.score if name == "score" else entry.numbers.get(name)
        wrong = name == "score" and entry.fault is not None
        return (True, wrong, 0.0) if value is None or math.isnan(value) else (False, wrong, sign * value)

    entries.sort(key=key)  # the sort is stable, so the lower number comes first among equals
