"""Rank the trials of a store, with a table for each group of comparable results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.cli.options import RESULT_FORMATS, CommandOptions
from nas.cli.output import print_json, print_table
from nas.cli.trial_table import print_trials, spread_text
from nas.formatting import short_number
from nas.store.base import Retraining
from nas.store.leaderboard import (
    leaderboard,
    recipe_key,
    retrained_row,
    without_trial,
)
from nas.validation import one_of, whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings


@dataclass(frozen=True)
class LeaderboardOptions(CommandOptions):
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
    options = LeaderboardOptions.of(settings)
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
        print_trials(entries, several=options.run is None)
    recipes = sorted({recipe_key(other[0]) for other in others})
    for recipe in recipes:
        alike = [other for other in others if recipe_key(other[0]) == recipe]
        _print_others(alike[: options.top or None])
    if len(sets) + len(recipes) > 1:
        print("The tables differ in data, recipe, network, space or objective: do not rank one against another.")
    return 0


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
