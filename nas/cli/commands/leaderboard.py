"""Rank the trials of a store, with a table for each group of comparable results."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.cli.options import RESULT_FORMATS
from nas.cli.options import Options as BaseOptions
from nas.cli.output import print_json, print_table
from nas.core import uncounted
from nas.errors import NOT_IN_TABLE
from nas.formatting import plural, short_number
from nas.store.base import Retraining
from nas.store.leaderboard import (
    Entry,
    epochs,
    leaderboard,
    protocol_description,
    recipe_key,
    retrained_row,
    without_trial,
)
from nas.validation import one_of, whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings

MAX_REASONS, MAX_NAMED_TRIALS = 5, 5
"""Reasons of failures printed below a table, and trials named for each."""


@dataclass(frozen=True)
class Options(BaseOptions):
    """Settings of `nas leaderboard`; `configs/leaderboard.yaml` describes them."""

    run: str | None
    top: int
    sort: str
    group: bool
    format: str

    def __post_init__(self) -> None:
        one_of("format", self.format, RESULT_FORMATS)
        whole_number("top", self.top, least=0)


def main(settings: Settings) -> int:
    options = Options.of(settings)
    store = settings.make("store")
    sets = leaderboard(store, options.run, sort=options.sort, top=options.top, group=options.group)
    others = without_trial(store) if options.run is None else []
    if options.format == "json":
        rows = [entry.row() for entries in sets for entry in entries]
        for group in others:
            retrained = [retrained_row(one) for one in group]
            rows.append({"run": None, "number": None, "arch": group[0].text, "retrained": retrained})
        print_json(rows)
        return 0
    if not sets and not others:
        print("no trials yet" if options.run is None else f"run {options.run!r} has no trials yet")
    for entries in sets:
        show(entries, several=options.run is None)
    recipes = sorted({recipe_key(other[0]) for other in others})
    for recipe in recipes:
        alike = [other for other in others if recipe_key(other[0]) == recipe]
        _print_others(alike[: options.top or None])
    if len(sets) + len(recipes) > 1:
        print("The tables differ in data, recipe, network, space or objective: do not rank one against another.")
    return 0


def show(entries: Sequence[Entry], *, several: bool) -> None:
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
        print(f"{mark}: retrained on {recipe_text(tests[recipe])}.")
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
    reasons: dict[str, list[str]] = {}
    missing = sum(entry.trial.error_kind == NOT_IN_TABLE for entry in entries)
    if missing:
        print(f"{NOT_IN_TABLE}: the table has no row for {plural(missing, 'trial')} here; they cost nothing.")
    for entry in entries:
        if entry.trial.error is not None and entry.trial.error_kind != NOT_IN_TABLE:
            run = f"{entry.run.name} " if several else ""
            reasons.setdefault(entry.trial.error, []).append(f"{run}{entry.trial.number}")
    for reason, trials in list(reasons.items())[:MAX_REASONS]:
        more = f" and {len(trials) - MAX_NAMED_TRIALS} more" if len(trials) > MAX_NAMED_TRIALS else ""
        print(f"trial{'s' if len(trials) > 1 else ''} {', '.join(trials[:MAX_NAMED_TRIALS])}{more} failed: {reason}")
    if len(reasons) > MAX_REASONS:
        print(f"{len(reasons) - MAX_REASONS} more reasons; format=json lists them all.")


def _print_others(others: Sequence[Sequence[Retraining]]) -> None:
    """Print architectures that belong to no trial and were retrained with the same recipe."""
    rows = []
    for rank, group in enumerate(others, start=1):
        first, tests = group[0], [one.metrics["test_accuracy"] for one in group]
        rows.append(
            [str(rank), _spread(tests), str(len(group)), short_number(first.metrics.get("parameters")), first.text]
        )
    training = others[0][0].training
    title = f"retrained without a trial: {training.data} (split {training.split}), {recipe_text(others[0][0])}"
    columns = ["rank", "test_accuracy", "seeds", "params", "arch"]
    print_table(title, columns, rows, text=("arch",), keys=("rank",))


def _spread(values: Sequence[float]) -> str:
    """`mean ± standard deviation`, or the only value."""
    return f"{statistics.fmean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")


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
            cells.append(f"{_spread(values)}{f' @{recipe}' if len(recipes) > 1 else ''}")
    return ", ".join(cells)


def recipe_text(test: Retraining) -> str:
    """The recipe of a retraining: its images, epochs and sizes of the network."""
    training, recipe = test.training, test.training.recipe
    sizes = [f"{key} {value}" for key, value in training.network.items()]
    part = "training" if training.validated else "training and validation"
    images = f"{part} images, {recipe['train_images'] or 'all'} of them"
    return ", ".join([images, plural(recipe["epochs"], "epoch"), *sizes])
