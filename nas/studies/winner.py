"""The winner of a comparison: the best architecture that one of its runs found.

It is read from the journal and chosen by the searched metric, never by the columns that a comparison reports, such as
test accuracies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core import Objective
from nas.errors import UsageError
from nas.studies.comparison import JOURNAL, REQUIRED_KEYS
from nas.studies.journal import read


@dataclass(frozen=True)
class Winner:
    """The incumbent of a run of a comparison.

    Args:
        folder: Folder of the comparison.
        strategy, seed: Strategy and seed of the run.
        text: Text of the architecture.
        searched: Its value of the searched metric; None if an earlier version of cellnas stored none.
        head: First line of the journal.
    """

    folder: Path
    strategy: str
    seed: int
    text: str
    searched: float | None
    head: Mapping[str, Any]

    @property
    def run(self) -> str:
        """Name of the run within its comparison."""
        return f"{self.strategy} {self.seed}"

    @property
    def parts(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Group -> (option, settings) of the space, and of the data set if the runs trained on one."""
        space = self.head["space"]
        parts = {"space": (space["name"], space["settings"])}
        return parts | {part: (name, settings) for part, (name, settings) in self.head.get("parts", {}).items()}

    @property
    def facts(self) -> dict[str, Any]:
        """The run that found it, JSON-safe."""
        objective = self.head["objective"]["metric"]
        return {
            "comparison": self.folder.absolute().name,
            "run": self.run,
            "metrics": {} if self.searched is None else {objective: self.searched},
            "seed": self.seed,
            "protocol": self.head["protocol"],
            "environment": self.head["environment"],
        }


def _check(candidate: Winner) -> None:
    """Raise `KeyError`, `TypeError` or `AttributeError` if a line or the head of the journal is damaged."""
    facts, parts = candidate.facts, candidate.parts.values()
    texts = (candidate.strategy, candidate.text, *(name for name, _ in parts))
    mappings = (facts["protocol"], facts["environment"], *(settings for _, settings in parts))
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(tree, dict) for tree in mappings):
        raise TypeError("names must be text, and settings mappings")
    searched = candidate.searched
    if not isinstance(candidate.seed, int) or (searched is not None and not math.isfinite(searched)):
        raise TypeError("seeds must be whole numbers, and values finite")


def winner(folder: Path, run: str | None) -> Winner:
    """The winner among all runs of a comparison, the runs of a strategy, or a single run.

    It is the one with the best value of the searched metric; among equals the one with the lowest seed, and then with
    the first strategy by name.

    Args:
        folder: Folder of the comparison.
        run: A strategy, or a strategy and a seed such as `random 0`; None: all runs.

    Raises:
        UsageError: The folder holds no comparison, or the comparison has no such run.
    """
    path = folder / JOURNAL
    try:
        head, *lines = read(path, REQUIRED_KEYS) or [{}]
        objective = Objective(**head["objective"])
        candidates = [
            Winner(folder, line["strategy"], line["seed"], line["architecture"], line.get("searched"), head)
            for line in lines
        ]
        for candidate in candidates:
            _check(candidate)
    except OSError as error:
        raise UsageError(f"comparison={folder} cannot be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        reason = "is damaged" if path.exists() else "is missing"
        raise UsageError(f"comparison={folder} is not a folder of nas compare: its {JOURNAL} {reason}") from None
    names = sorted({one.strategy for one in candidates})
    if not candidates:
        raise UsageError(f"comparison={folder} has no finished run yet; run the same nas compare again to resume it")
    chosen = [one for one in candidates if run in (None, one.strategy, one.run)]
    if not chosen:
        raise UsageError(
            f"run={run} is not a run of comparison={folder}; expected a strategy ({', '.join(names)}) or one with its "
            f"seed, such as {candidates[0].run!r}"
        )
    if len(chosen) > 1 and any(one.searched is None for one in chosen):
        raise UsageError(
            f"comparison={folder} was made by an earlier version of cellnas, which stored no searched values; choose a "
            f"run, such as 'run={chosen[0].run}'"
        )
    sign = -1.0 if objective.direction == "maximize" else 1.0
    return min(chosen, key=lambda one: (sign * (one.searched or 0.0), one.seed, one.strategy))
