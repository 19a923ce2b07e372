"""Command lines that make a run or a retraining again, from what was kept of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nas.settings import settings
from nas.store.base import Retraining, Run

RECIPE = "nasbench201"
"""The trainer that a retraining's settings are told apart from."""
NOT_TOLD = ("store", "dir", "progress", "format", "choices")
"""What a run is kept with that says nothing of its course."""


def search_command(run: Run, config_dir: Path | None) -> str | None:
    """The `nas search` that makes a run; None for one that was made in Python.

    Args:
        config_dir: with the user's own options.
    """
    choices = run.config.get("choices")
    if not choices:
        return None
    parts = {group: option for group, option in choices.items() if option is not None}
    words = [f"{group}={option}" for group, option in parts.items()]
    usual = settings("search", words, config_dir).tree()
    mine = {key: value for key, value in run.config.items() if key not in NOT_TOLD}
    plain = settings("search", [], config_dir).choices
    chosen = [f"{group}={option}" for group, option in sorted(parts.items()) if plain.get(group) != option]
    return shlex.join(["nas", *place(config_dir), "search", *chosen, *_differing(mine, usual)])


def retrain_command(retraining: Retraining, data: str, config_dir: Path | None) -> str:
    """The `nas retrain` that makes a retraining.

    Args:
        data: option of its data set.
        config_dir: with the user's own options.
    """
    space, recipe = retraining.protocol["space"], retraining.protocol["recipe"]
    base = settings("retrain", [f"space={space['name']}", f"data={data}", f"trainer={RECIPE}"], config_dir)
    words = [f"arch={retraining.text}", f"space={space['name']}", f"data={data}", f"trainer={RECIPE}"]
    trained = {"trainer": {key: recipe[key] for key in recipe if key in base.node("trainer")}}
    protocol = retraining.protocol
    asked = {"space": space["settings"], **trained, "seed": retraining.seed, "validate": protocol["part"] == "train"}
    asked["tested"] = protocol.get("tested", "last")
    return shlex.join(["nas", *place(config_dir), "retrain", *words, *_differing(asked, base.tree())])


def place(config_dir: Path | None) -> list[str]:
    """The words that name the folder of the user's own options."""
    return ["--config-dir", str(config_dir)] if config_dir else []


def _differing(mine: Mapping[str, Any], usual: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`key=value` for each value that is another than usual."""
    for key, value in mine.items():
        there = usual.get(key)
        if key.startswith("_") or value == there:
            continue
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            yield from _differing(value, there, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={value if isinstance(value, str) else json.dumps(value)}"
