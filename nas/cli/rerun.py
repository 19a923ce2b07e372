"""Command lines that make a run or a retraining again, from what was kept of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.config.settings import compose
from nas.store.base import Retraining, Run

RECIPE = "nasbench201"
"""The trainer that a retraining's settings are told apart from."""
NOT_TOLD = (
    "store",
    "dir",
    "progress",
    "format",
    "choices",
    "config_dir",
    "decisions",
    "minimized",
    "scheduling",
)
"""What a run is kept with that says nothing of its course."""
BROUGHT = ("supernet", "discretization", "data", "trainer")
"""Parts that a strategy, an evaluator, a table or an experiment may bring along."""


def search_command(run: Run, trial: int, config_dir: Path | None, more: Sequence[str] = ()) -> str | None:
    """The `nas search` that makes a run as far as a trial at least; None for one that was made in Python.

    Args:
        trial: its number. The budget that a run is kept with is that of its first session.
        config_dir: with the user's own options.
        more: words at its end.
    """
    choices = run.config.get("choices")
    if not choices:
        return None
    parts = {group: option for group, option in choices.items() if option is not None}
    words = _choosing(parts, config_dir)
    usual = compose("search", words, config_dir).tree()
    mine = {key: value for key, value in run.config.items() if key not in NOT_TOLD}
    budget = dict(mine["budget"])
    limits = [budget[key] for key in ("hours", "simulated_seconds") if budget.get(key) is not None]
    if trial >= (budget.get("trials") or 0) and not (limits and budget.get("trials") is None):
        mine["budget"] = budget | {"trials": trial + 1}
    return shlex.join(["nas", *place(config_dir), "search", *sorted(words), *_differing(mine, usual), *more])


def _choosing(parts: Mapping[str, str], config_dir: Path | None) -> list[str]:
    """The fewest `part=option` that choose parts: a part that another one brings along is not named.

    A table, say, brings its data set, which may have no effect on a search by itself and would be refused there.
    """
    words: list[str] = []
    for groups in (["experiment"], [group for group in parts if group not in BROUGHT], BROUGHT):
        there = compose("search", words, config_dir).choices
        words += [f"{group}={parts[group]}" for group in groups if group in parts and there.get(group) != parts[group]]
    return words


def retrain_command(
    retraining: Retraining,
    seeds: Sequence[int],
    data: tuple[str, Mapping[str, Any]],
    config_dir: Path | None,
    more: Sequence[str] = (),
) -> str:
    """The `nas retrain` that makes a retraining and, where one command can, its repeats.

    Args:
        seeds: of itself and its repeats.
        data: option and settings of its data set.
        config_dir: with the user's own options.
        more: words at its end.
    """
    its_space, recipe = retraining.protocol["space"], retraining.protocol["recipe"]
    parts = [f"space={its_space['name']}", f"data={data[0]}", f"trainer={RECIPE}"]
    base = compose("retrain", parts, config_dir)
    trained = {"trainer": {key: recipe[key] for key in recipe if key in base.node("trainer")}}
    protocol = retraining.protocol
    if "validate_every" in protocol:
        trained["trainer"]["validate_every"] = protocol["validate_every"]
    asked = {"space": its_space["settings"], "data": data[1], **trained, "validate": protocol["part"] == "train"}
    asked["tested"] = protocol.get("tested", "last")
    first = min(seeds)
    together = sorted(seeds) == list(range(first, retraining.seed + 1))  # its own is then the last, which is exported
    asked |= {"seed": first, "seeds": len(seeds)} if together else {"seed": retraining.seed}
    space = base.make("space")
    known = {space.to_text(space.from_text(name)): name for name in space.published}
    words = [f"arch={known.get(retraining.text, retraining.text)}", *parts, *_differing(asked, base.tree())]
    return shlex.join(["nas", *place(config_dir), "retrain", *words, *more])


def place(config_dir: Path | None) -> list[str]:
    """The words that name the folder of the user's own options."""
    return ["--config-dir", str(config_dir)] if config_dir else []


def _differing(mine: Mapping[str, Any], usual: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`key=value` for each value that is another than usual."""
    for key, value in mine.items():
        there = usual.get(key)
        if key.startswith("_") or value == there:
            continue
        if isinstance(value, Mapping) and isinstance(there, Mapping) and value.keys() <= there.keys():
            yield from _differing(value, there, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={_spelled(value)}"


def _spelled(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_spelled(inner)}" for key, inner in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)
