"""Rank the trials of a store; what cannot be compared stands apart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.core import UsageError, one_of, whole_number
from nas.output import amount, print_json, print_table
from nas.store.base import Retraining
from nas.store.leaderboard import Entry, epochs, leaderboard, protocol_words, recipe_key

if TYPE_CHECKING:
    from nas.settings import Settings


def main(settings: Settings) -> int:
    one_of("format", settings.get("format"), ("table", "json"))
    whole_number("top", settings.get("top"), least=0)
    if not isinstance(settings.get("sort"), str):
        raise UsageError(f"sort must be score, number or a metric, got {settings.get('sort')!r}")
    sets = leaderboard(
        settings.make("store"),
        settings.get("run"),
        sort=settings.get("sort"),
        top=settings.get("top"),
        group=settings.get("group"),
    )
    if settings.get("format") == "json":
        print_json([entry.row() for entries in sets for entry in entries])
        return 0
    if not sets:
        print("no trials yet" if settings.get("run") is None else f"run {settings.get('run')!r} has no trials yet")
    for entries in sets:
        show(entries, several=settings.get("run") is None)
    if len(sets) > 1:
        print("The tables differ in data, recipe, network, space or objective: do not rank one against another.")
    return 0


def show(entries: Sequence[Entry], *, several: bool) -> None:
    """Print one set of comparable entries as a table; `several`: of more than one run."""
    metric = entries[0].objective.metric
    joined = any(entry.members > 1 for entry in entries)
    tests = {recipe_key(test): test for entry in entries for test in entry.tested}
    recipes = sorted(tests)
    columns = ["rank", *(["run"] if several else []), "trial", metric, *(["n"] if joined else [])]
    columns += [*(["test_accuracy"] if tests else []), "epochs", "params", "FLOPs", "simulated s", "seconds", "arch"]
    rows = []
    for rank, entry in enumerate(entries, start=1):
        trial = entry.trial
        row = [str(rank), *([entry.run.name] if several else []), str(trial.number), _score(entry)]
        row += [str(entry.members)] if joined else []
        row += [_test(entry, recipes)] if tests else []
        length, simulated = epochs(entry.run, trial), trial.metrics.get("simulated_seconds")
        row += ["" if length is None else str(length)]
        row += [amount(trial.metrics.get("parameters")), amount(trial.metrics.get("flops"))]
        row += ["" if simulated is None else f"{simulated:.1f}"]
        row += [
            f"reused {trial.reused_from}" if trial.reused_from is not None else f"{trial.seconds:.1f}",
            trial.text,
        ]
        rows.append(row)
    # what this evaluator does not measure has no column
    filled = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    columns, rows = [columns[place] for place in filled], [[row[place] for place in filled] for row in rows]
    name = "" if several else f"run {entries[0].run.name!r}: "
    print_table(
        f"{name}{protocol_words(entries[0].run, entries[0].trial)}", columns, rows, text=("run", "arch"), keys=("rank",)
    )
    for recipe in recipes:
        mark = f"@{recipe}" if len(recipes) > 1 else "test_accuracy"
        print(f"{mark}: retrained on training and validation images, {_recipe_words(tests[recipe])}.")
    if any(entry.trial.reused_from is not None for entry in entries):
        print("reused N: the result of trial N, which computes the same function.")


def _score(entry: Entry) -> str:
    if entry.score is None:
        return entry.trial.error_kind or "failed"
    value = entry.score if entry.objective.direction == "maximize" else -entry.score
    return f"{value:.4f}" if entry.spread is None else f"{value:.4f} ± {entry.spread:.4f}"


def _test(entry: Entry, recipes: Sequence[str]) -> str:
    """Mean test accuracy of each recipe, with the recipe's mark where the table holds several."""
    cells = []
    for recipe in recipes:
        values = [test.metrics["test_accuracy"] for test in entry.tested if recipe_key(test) == recipe]
        if values:
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.4f}{spread}{f' @{recipe}' if len(recipes) > 1 else ''}")
    return ", ".join(cells)


def _recipe_words(test: Retraining) -> str:
    recipe = test.protocol["recipe"]
    sizes = [f"{key} {value}" for key, value in recipe["network"].items()]
    return ", ".join([f"{recipe['epochs']} epochs", f"{recipe['train_images'] or 'all'} images", *sizes])
