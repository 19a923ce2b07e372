"""The leaderboard: trials of one or many runs, ranked where they can be compared."""

from __future__ import annotations

import hashlib
import json
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.core import Objective, Trial, UsageError
from nas.faults import fault
from nas.identity import identifying
from nas.store.base import Retraining, Run, Store


@dataclass(frozen=True)
class Entry:
    """One trial on the leaderboard, or several of one architecture.

    Args:
        run, trial: where it comes from; for a group its best member.
        objective: of its run.
        score: mean of the objective, higher is better; None where the trial failed.
        spread: standard deviation of the objective over the members (n - 1); None for fewer than two.
        members: how many trials were evaluated for it.
        tested: its retrainings, joined after the search.
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
        """What is known to be wrong with it; see `nas.faults`."""
        return fault(self.trial, self.run.config)

    def row(self) -> dict[str, Any]:
        """All that is known of it, JSON-safe."""
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
    """What is known of a retraining, JSON-safe."""
    return {
        "seed": test.seed,
        "metrics": dict(test.metrics),
        "protocol": dict(test.protocol),
        "folder": test.folder,
    }


def objective_of(run: Run) -> Objective:
    """The objective that a stored run was searched with."""
    stored = run.config.get("objective") or {}
    return Objective(**{key: stored[key] for key in ("metric", "direction") if key in stored})


def epochs(run: Run, trial: Trial) -> int | None:
    """Epochs that a trial was trained for; None for evaluators without epochs."""
    trained = "shared_weights" not in run.protocol  # there the recipe is that of the supernet
    full = run.protocol.get("recipe", {}).get("epochs") if trained else None
    return trial.proposal.fidelity or full


def protocol_key(run: Run, trial: Trial) -> str:
    """Eight hexadecimal digits, equal only where two results may be ranked together."""
    # Without a protocol of the evaluator's own, its settings have to do
    protocol = run.protocol or {"evaluator": run.config.get("evaluator"), "data": run.config.get("data")}
    whole = {
        "protocol": protocol,
        "space": run.config.get("space"),
        "objective": run.config.get("objective"),
        "epochs": epochs(run, trial),
    }
    return hashlib.blake2b(json.dumps(identifying(whole), sort_keys=True).encode(), digest_size=4).hexdigest()


def recipe_key(retraining: Retraining) -> str:
    """Four hexadecimal digits, equal for retrainings that may be compared: space, data, recipe and network agree."""
    return hashlib.blake2b(json.dumps(retraining.protocol, sort_keys=True).encode(), digest_size=2).hexdigest()


def protocol_words(run: Run, trial: Trial) -> str:
    """What a group of comparable trials has in common, for a person."""
    protocol = run.protocol
    recipe = protocol.get("recipe", {})
    words = []
    if "data" in protocol:
        words.append(f"{protocol['data']} (split {protocol.get('split')})")
    if "table" in protocol:
        words.append(f"table {protocol['table']}, {protocol.get('column')}")
    if "shared_weights" in protocol:
        shared = protocol["shared_weights"]
        how = f"{shared['sampling']} paths, {recipe['epochs']} epochs" if "sampling" in shared else "the proposals"
        words.append(f"scored by a supernet trained on {how} (seed {shared['seed']})")
    if epochs(run, trial) is not None:
        words.append(f"{epochs(run, trial)} epochs" if epochs(run, trial) != 1 else "1 epoch")
    if recipe.get("train_images"):
        words.append(f"at most {recipe['train_images']} training images")
    words += [f"{key} {value}" for key, value in (recipe.get("network") or {}).items()]
    return ", ".join([*words, f"protocol {protocol_key(run, trial)}"])


def leaderboard(
    store: Store, run: str | None = None, *, sort: str = "score", top: int = 10, group: bool = False
) -> list[list[Entry]]:
    """Ranked entries, one list for each set of comparable trials, the largest set first.

    Args:
        store: where to look.
        run: only this run.
        sort: `score` (best first, what is known to be wrong and failures last), `number`, or a metric's or cost's name
            (accuracies from the highest, all else from the lowest).
        top: entries of each set; 0: all.
        group: join the trials of an architecture class; reused results count once.

    Raises:
        UsageError: there is no such run, or no trial has such a metric.
    """
    runs = store.runs()
    if run is not None:
        names = [known.name for known in runs]
        runs = [known for known in runs if known.name == run]
        if not runs:
            raise UsageError(
                f"there is no run {run!r} in the store; it has {', '.join(map(repr, names[-5:])) or 'none'}"
            )
    tested: dict[tuple[str | None, int | None], list[Retraining]] = {}
    for retraining in store.retrainings():
        tested.setdefault((retraining.run, retraining.trial), []).append(retraining)
    sets: dict[str, list[Entry]] = {}
    for known in runs:
        objective = objective_of(known)
        for trial in store.trials(known.name):
            score = objective.score(trial) if trial.completed else None
            tests = tuple(tested.get((known.name, trial.number), ()))
            entry = Entry(known, trial, objective, score, None, 1, tests)
            sets.setdefault(protocol_key(known, trial), []).append(entry)
    ordered = sorted(sets.values(), key=len, reverse=True)
    if group:
        ordered = [_grouped(entries) for entries in ordered]
    for entries in ordered:
        _sort(entries, sort)
    if (
        ordered
        and sort not in ("score", "number")
        and not any(_value(e, sort) is not None for es in ordered for e in es)
    ):
        there = sorted({name for es in ordered for e in es for name in (*e.trial.metrics, *e.trial.cost)})
        raise UsageError(f"sort must be score, number or one of {', '.join(there)}, got {sort!r}")
    return [entries[: top or None] for entries in ordered]


def without_trial(store: Store) -> list[list[Retraining]]:
    """Retrainings of architectures that are of no trial, one list for each architecture and recipe.

    Those of one recipe stand together, the best mean test accuracy first.
    """
    groups: dict[tuple[str, str], list[Retraining]] = {}
    for retraining in store.retrainings():
        if retraining.run is None:
            groups.setdefault((recipe_key(retraining), retraining.text), []).append(retraining)
    mean = {key: statistics.fmean(one.metrics["test_accuracy"] for one in group) for key, group in groups.items()}
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0], -mean[key], key[1]))]


def find_trial(store: Store, run: str | None, trial: int | str) -> tuple[Run, Trial]:
    """A trial of a run by its number, or the `best`.

    Raises:
        UsageError: no such run or trial, or none completed.
    """
    if run is None:
        raise UsageError("run=null; expected the name of a run of the store (nas leaderboard lists them)")
    entries = [entry for entries in leaderboard(store, run, sort="number", top=0) for entry in entries]
    if trial == "best":
        sound = [entry.trial for entry in entries if entry.fault is None]
        found = objective_of(entries[0].run).best(sound) if entries else None
        if found is None:
            wrong = next((f"; trial {e.trial.number} is wrong, since {e.fault}" for e in entries if e.fault), "")
            raise UsageError(f"trial=best: run {run!r} has no completed trial{wrong}")
        return entries[0].run, found
    for entry in entries:
        if str(entry.trial.number) == str(trial):
            if entry.fault is not None:
                warnings.warn(f"trial {trial} of run {run!r} is wrong, since {entry.fault}", stacklevel=2)
            return entry.run, entry.trial
    last = max((entry.trial.number for entry in entries), default=None)
    there = "it has none" if last is None else f"expected best or 0 to {last}"
    raise UsageError(f"trial={trial} is not a trial of run {run!r}; {there}")


def _grouped(entries: Sequence[Entry]) -> list[Entry]:
    classes: dict[str, list[Entry]] = {}
    for entry in entries:
        classes.setdefault(entry.trial.canonical, []).append(entry)
    joined = []
    for members in classes.values():
        # Two runs of one seed may hold the very same training; it counts once
        evaluated = {e.trial.seed: e for e in members if e.score is not None and e.trial.reused_from is None}
        scores = [e.score for e in evaluated.values() if e.score is not None]
        if not scores:
            joined.append(members[0])
            continue
        best = max(evaluated.values(), key=lambda e: e.score or 0.0)
        spread = statistics.stdev(scores) if len(scores) > 1 else None
        tests = tuple(test for member in members for test in member.tested)
        joined.append(Entry(best.run, best.trial, best.objective, statistics.fmean(scores), spread, len(scores), tests))
    return joined


def _value(entry: Entry, name: str) -> float | None:
    values: Mapping[str, float] = {"seconds": entry.trial.seconds, **entry.trial.cost, **entry.trial.metrics}
    return values.get(name)


def _sort(entries: list[Entry], sort: str) -> None:
    if sort == "number":
        entries.sort(key=lambda entry: (entry.run.name, entry.trial.number))
    elif sort == "score":
        # among equals the first found stays first: the sort is stable and trials come by number
        entries.sort(key=lambda entry: (entry.score is None, entry.fault is not None, -(entry.score or 0.0)))
    else:
        sign = -1 if "acc" in sort else 1
        entries.sort(key=lambda entry: ((value := _value(entry, sort)) is None, sign * (value or 0.0)))
