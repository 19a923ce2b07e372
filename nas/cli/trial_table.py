"""The table of comparable trials that `nas leaderboard` and `nas search` print."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from nas.cli.output import print_reasons, print_table
from nas.core import uncounted
from nas.errors import NOT_IN_TABLE
from nas.formatting import plural, short_number
from nas.store.entries import Entry, epochs, protocol_description, recipe_key


def print_trials(entries: Sequence[Entry], *, several: bool) -> None:
    """Print comparable entries as a table, best first.

    Args:
        entries: Entries of one group of `nas.store.leaderboard.leaderboard`.
        several: Whether they may come from more than one run.
    """
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
        partial = "+" if uncounted(trial.metrics) else "?" if entry.has_early_count else ""
        row += [short_number(trial.metrics.get("parameters")), short_number(trial.metrics.get("flops")) + partial]
        row += ["" if simulated is None else f"{simulated:.1f}"]
        row += [
            f"reused {trial.reused_from}" if trial.reused_from is not None else f"{trial.seconds:.1f}",
            trial.text,
        ]
        rows.append(row)
    # what this evaluator does not measure has no column
    filled = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    columns, rows = [columns[index] for index in filled], [[row[index] for index in filled] for row in rows]
    name = "" if several else f"run {entries[0].run.name!r}: "
    print_table(
        f"{name}{protocol_description(entries[0].run, entries[0].trial)}",
        columns,
        rows,
        text=("run", "arch"),
        keys=("rank",),
    )
    for recipe in recipes:
        mark = f"@{recipe}" if len(recipes) > 1 else "test_accuracy"
        print(f"{mark}: retrained on {tests[recipe].training.recipe_description()}.")
    _print_footnotes(entries)
    _print_failures(entries, several=several)


def _print_footnotes(entries: Sequence[Entry]) -> None:
    missing = sorted({name for entry in entries for name in uncounted(entry.trial.metrics)})
    if missing:
        print(f"+: FLOPs do not include {', '.join(missing)} (no formula).")
    if any(entry.has_early_count for entry in entries):
        print("?: counted by cellnas 0.1.0, which missed attention and recurrent layers (nas describe counts them).")
    if any(entry.trial.reused_from is not None for entry in entries):
        print("reused N: the result of trial N, which computes the same function.")
    for entry in entries:
        if entry.fault is not None:
            print(f"trial {entry.trial.number} of run {entry.run.name!r} is invalid: {entry.fault}.")


def _print_failures(entries: Sequence[Entry], *, several: bool) -> None:
    """Print why trials failed, one line per reason."""
    missing = sum(entry.trial.error_kind == NOT_IN_TABLE for entry in entries)
    if missing:
        print(f"{NOT_IN_TABLE}: the table has no row for {plural(missing, 'trial')} here; they cost nothing.")
    failed = [
        (
            f"{entry.run.name} {entry.trial.number}" if several else str(entry.trial.number),
            f"failed: {entry.trial.error}",
        )
        for entry in entries
        if entry.trial.error is not None and entry.trial.error_kind != NOT_IN_TABLE
    ]
    print_reasons("trial", failed, "format=json lists them all")


def _score(entry: Entry) -> str:
    if entry.score is None:
        return entry.trial.error_kind or "failed"
    value = entry.score if entry.objective.direction == "maximize" else -entry.score
    wrong = "" if entry.fault is None else " (invalid)"
    if entry.objective.metric == "flops" and entry.has_early_count:
        wrong = wrong or "?"
    return (f"{value:.4f}" if entry.spread is None else f"{value:.4f} ± {entry.spread:.4f}") + wrong


def _test(entry: Entry, recipes: Sequence[str]) -> str:
    """Mean test accuracy of each recipe, with the recipe's mark if the table has several."""
    cells = []
    for recipe in recipes:
        values = [test.metrics["test_accuracy"] for test in entry.tested if recipe_key(test) == recipe]
        if values:
            cells.append(f"{spread_text(values)}{f' @{recipe}' if len(recipes) > 1 else ''}")
    return ", ".join(cells)


def spread_text(values: Sequence[float]) -> str:
    """`mean ± standard deviation`, or the only value."""
    return f"{statistics.fmean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")
