"""Rank the trials of a store, with a table for each group of comparable results.

where= lists only trials that meet a condition, such as where='params<=1e6 and epochs=3' or
where='strategy in (random, local_search) and not status=failed'. It compares metrics, costs and facts: run, sweep,
run_seed, space, strategy, evaluator, data, table, trainer, number, arch, status, seed (of the trial's training),
fidelity, epochs, seconds, score, reused_from, error_kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.cli.columns import CSV_COLUMNS, check_columns, chosen, measured, print_columns
from nas.cli.options import LIST_FORMATS, CommandOptions
from nas.cli.output import print_csv, print_json, print_table
from nas.cli.trial_table import print_trials, spread_text
from nas.formatting import short_number
from nas.store.base import Retraining
from nas.store.conditions import parse_condition
from nas.store.entries import Entry, recipe_key, retrained_row
from nas.store.leaderboard import leaderboard, without_trial
from nas.validation import one_of, whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings


@dataclass(frozen=True)
class LeaderboardOptions(CommandOptions):
    """Settings of `nas leaderboard`; `configs/leaderboard.yaml` describes them."""

    run: str | None
    sweep: str | None
    where: str | None
    top: int
    sort: str
    group: bool
    columns: Sequence[str]
    format: str

    def __post_init__(self) -> None:
        one_of("format", self.format, LIST_FORMATS)
        whole_number("top", self.top, least=0)


def main(settings: Settings) -> int:
    options = LeaderboardOptions.of(settings)
    where = None if options.where is None else parse_condition(options.where)
    store = settings.make("store")
    sets = leaderboard(
        store, options.run, sweep=options.sweep, sort=options.sort, top=options.top, group=options.group, where=where
    )
    columns = [str(name) for name in options.columns]
    check_columns(columns, [entry for entries in sets for entry in entries])
    whole_store = options.run is None and options.sweep is None and where is None
    others = without_trial(store) if whole_store and not columns else []
    if options.format == "csv":
        names = columns or [*CSV_COLUMNS, *measured([entry for entries in sets for entry in entries])]
        print_csv(names, [list(row.values()) for entries in sets for row in chosen(entries, names)])
    elif options.format == "json" and columns:
        print_json([row for entries in sets for row in chosen(entries, columns)])
    elif options.format == "json":
        _print_json(sets, others)
    elif columns:
        for entries in sets:
            print_columns(entries, columns)
    else:
        _print_tables(options, sets, others)
    if options.format == "table" and not sets and not others:
        print(_nothing(options))
    return 0


def _print_json(sets: Sequence[Sequence[Entry]], others: Sequence[Sequence[Retraining]]) -> None:
    rows = [entry.row() for entries in sets for entry in entries]
    for group in others:
        retrained = [retrained_row(one) for one in group]
        rows.append({"run": None, "number": None, "arch": group[0].text, "retrained": retrained})
    print_json(rows)


def _print_tables(
    options: LeaderboardOptions, sets: Sequence[Sequence[Entry]], others: Sequence[Sequence[Retraining]]
) -> None:
    for entries in sets:
        print_trials(entries, several=options.run is None)
    recipes = sorted({recipe_key(other[0]) for other in others})
    for recipe in recipes:
        alike = [other for other in others if recipe_key(other[0]) == recipe]
        _print_others(alike[: options.top or None])
    if len(sets) + len(recipes) > 1:
        print("The tables differ in data, recipe, network, space or objective: do not rank one against another.")


def _nothing(options: LeaderboardOptions) -> str:
    """Why the leaderboard is empty."""
    of = f"run {options.run!r}" if options.run is not None else f"sweep {options.sweep!r}" if options.sweep else ""
    if options.where is not None:
        hint = ""
        if "seed" in parse_condition(options.where).names:
            hint = "; seed is that of a trial's training, and run_seed is the seed= of its run"
        return f"no trial{' of ' * bool(of)}{of} meets where={options.where!r}{hint}"
    return f"{of} has no trials yet" if of else "no trials yet"


def _print_others(others: Sequence[Sequence[Retraining]]) -> None:
    """Print architectures that belong to no trial and were retrained with the same recipe."""
    rows = []
    for rank, group in enumerate(others, start=1):
        first, tests = group[0], [one.metrics["test_accuracy"] for one in group]
        rows.append(
            [str(rank), spread_text(tests), str(len(group)), short_number(first.metrics.get("parameters")), first.text]
        )
    training = others[0][0].training
    title = f"retrained without a trial: {training.data} (split {training.split}), {training.recipe_description()}"
    columns = ["rank", "test_accuracy", "seeds", "params", "arch"]
    print_table(title, columns, rows, text=("arch",), keys=("rank",))
