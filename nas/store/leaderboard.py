"""The leaderboard: trials of one or several runs, ranked within groups of comparable trials."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Sequence

from nas.core import Trial
from nas.errors import UsageError
from nas.formatting import some_of
from nas.store.base import Retraining, Run, Store, SupportsReading
from nas.store.conditions import Condition
from nas.store.entries import (
    Entry,
    Query,
    Tested,
    check_condition,
    check_sort,
    grouped,
    protocol_key,
    recipe_key,
    sort_entries,
)  # fmt: skip
from nas.store.faults import fault
from nas.store.sweeps import runs_of_sweep, sweep_of


def leaderboard(
    store: Store,
    run: str | None = None,
    *,
    sweep: str | None = None,
    sort: str = "score",
    top: int = 10,
    group: bool = False,
    where: Condition | None = None,
) -> list[list[Entry]]:
    """Ranked entries, one list for each set of comparable trials, the largest set first.

    A database ranks its trials itself (`nas.store.ranking`), with the same result.

    Args:
        store: Store to read.
        run: Name of the only run to list; None: all runs.
        sweep: Name of the only sweep whose runs are listed; None: of any, or of none.
        sort: `score` (best first; wrong and failed trials last), `number`, or the name of a metric or a cost, followed
            by ` asc` (lowest first) or ` desc`; without these the better values come first. NaN is last in both orders.
        top: Number of entries per set; 0: all.
        group: Join the trials of a function class; a training counts once.
        where: Condition that the listed trials meet; None: all trials.

    Raises:
        UsageError: The store has no such run or sweep, or no trial has a metric that is named.
    """
    runs = store.runs() if run is None else [named_run(store, run)]
    if sweep is not None:
        runs = runs_of_sweep(sweep, runs)
    query = Query(sort, top, group, where)
    tested: Tested = {}
    for retraining in store.retrainings():
        tested.setdefault((retraining.run, retraining.trial), []).append(retraining)
    if top and isinstance(store, SupportsReading):
        from nas.store.ranking.ranked import has_scores, ranked  # a store in memory needs no SQLAlchemy

        with store.reading() as connection:
            if has_scores(connection):
                return ranked(connection, runs, query, tested)
    return ranked_in_python(store, runs, query, tested)


def ranked_in_python(store: Store, runs: Sequence[Run], query: Query, tested: Tested) -> list[list[Entry]]:
    """Ranked entries of any store; see `leaderboard`. It reads every trial, and defines what `ranking` must return."""
    entries = [Entry.of(known, trial, tested) for known in runs for trial in store.trials(known.name)]
    if query.where is not None:
        check_condition(query.where, entries)
        entries = [entry for entry in entries if query.where.holds(entry.value)]
    sets: dict[str, list[Entry]] = {}
    for entry in entries:
        sets.setdefault(protocol_key(entry.run, entry.trial), []).append(entry)
    ordered = sorted(sets.values(), key=len, reverse=True)
    if query.group:
        ordered = [grouped(members) for members in ordered]
    check_sort(query, [entry for members in ordered for entry in members])
    for members in ordered:
        sort_entries(members, query)
    return [members[: query.top or None] for members in ordered]


def named_run(store: Store, run: str | None) -> Run:
    """A run by its name.

    Raises:
        UsageError: The name is None, or the store has no such run.
    """
    if run is None:
        raise UsageError("run=null; expected the name of a run of the store (nas runs lists them)")
    if isinstance(store, SupportsReading):
        from nas.store.rows import read_run

        with store.reading() as connection:
            found = read_run(connection, run)
        if found is not None:
            return found
    runs = store.runs()
    for known in runs:
        if known.name == run:
            return known
    instead = f"it has {some_of([known.name for known in runs], run)}"
    if any(sweep_of(known) == run for known in runs):
        instead = f"{run!r} is a sweep, and nas runs sweep={run} lists its runs"
    raise UsageError(f"there is no run {run!r} in the store; {instead}")


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
    found = named_run(store, run)
    if trial == "best":
        return found, _best(store, found)
    number = int(trial) if str(trial).isascii() and str(trial).isdecimal() else -1
    chosen = store.trial(found.name, number) if str(number) == str(trial) and number < 2**63 else None
    if chosen is None:
        sets = leaderboard(store, run, sort="number desc", top=1)
        last = max((entry.trial.number for entries in sets for entry in entries), default=None)
        expected = "it has none" if last is None else f"expected best or 0 to {last}"
        raise UsageError(f"trial={trial} is not a trial of run {run!r}; {expected}")
    wrong = fault(chosen, found.config)
    if wrong is not None:
        warnings.warn(f"trial {trial} of run {run!r} is invalid: {wrong}", stacklevel=2)
    return found, chosen


def _best(store: Store, run: Run) -> Trial:
    """The incumbent of a run; trials with a known fault do not count."""
    firsts = [entries[0] for entries in leaderboard(store, run.name, top=1)]
    sound = [entry.trial for entry in firsts if entry.trial.completed and entry.fault is None]
    best = run.objective.best(sound)
    if best is None:
        wrong = next((f"; trial {e.trial.number} is invalid: {e.fault}" for e in firsts if e.fault), "")
        raise UsageError(f"trial=best: run {run.name!r} has no completed trial{wrong}")
    return best
