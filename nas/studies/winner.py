"""What a comparison found: the architecture that one of its runs ended with.

Read from the journal alone. The columns that a comparison reports, test accuracies among them, have no say in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core import Objective
from nas.errors import UsageError
from nas.studies.comparison import JOURNAL, NEEDED
from nas.studies.journal import read


@dataclass(frozen=True)
class Winner:
    """An architecture of a comparison.

    Args:
        folder: of the comparison.
        strategy, seed: of the run that ended with it.
        text: the architecture.
        searched: its value of the searched metric; None where an earlier cellnas kept none.
        head: first line of the journal.
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
        """Group -> (option, settings) of the space, and of the data set where the runs trained on one."""
        space = self.head["space"]
        parts = {"space": (space["name"], space["settings"])}
        return parts | {part: (name, settings) for part, (name, settings) in self.head.get("parts", {}).items()}

    @property
    def facts(self) -> dict[str, Any]:
        """Where it was found, JSON-safe."""
        objective = self.head["objective"]["metric"]
        return {
            "comparison": self.folder.absolute().name,
            "run": self.run,
            "metrics": {} if self.searched is None else {objective: self.searched},
            "seed": self.seed,
            "protocol": self.head["protocol"],
            "environment": self.head["environment"],
        }


def _check(one: Winner) -> None:
    """Raises what is wrong with a line or the head."""
    facts = one.facts
    texts = (one.strategy, one.text, *(name for name, _ in one.parts.values()))
    mappings = (facts["protocol"], facts["environment"], *(settings for _, settings in one.parts.values()))
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(tree, dict) for tree in mappings):
        raise TypeError("names must be text, and settings mappings")
    if not isinstance(one.seed, int) or (one.searched is not None and not math.isfinite(one.searched)):
        raise TypeError("seeds must be whole numbers, and values finite")


def winner(folder: Path, run: str | None) -> Winner:
    """The winner of a comparison: of all its runs, of those of a strategy, or of a single one.

    Among several it is the one with the best value of the searched metric; of equal ones that of the lowest seed, and
    then of the strategy that is first by name.

    Args:
        folder: of `nas compare`.
        run: a strategy, or a strategy and a seed such as `random 0`; None: all.

    Raises:
        UsageError: it is none, or has no such run.
    """
    path = folder / JOURNAL
    try:
        head, *lines = read(path, NEEDED) or [{}]
        objective = Objective(**head["objective"])
        found = [
            Winner(folder, line["strategy"], line["seed"], line["architecture"], line.get("searched"), head)
            for line in lines
        ]
        for one in found:
            _check(one)
    except OSError as error:
        raise UsageError(f"comparison={folder} cannot be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        why = "is damaged" if path.exists() else "is missing"
        raise UsageError(f"comparison={folder} is no folder of nas compare: its {JOURNAL} {why}") from None
    names = sorted({one.strategy for one in found})
    if not found:
        raise UsageError(f"comparison={folder} has no finished run yet; nas compare goes on with it")
    chosen = [one for one in found if run in (None, one.strategy, one.run)]
    if not chosen:
        raise UsageError(
            f"run={run} is no run of comparison={folder}; expected a strategy ({', '.join(names)}) or one with its "
            f"seed, such as {found[0].run!r}"
        )
    if len(chosen) > 1 and any(one.searched is None for one in chosen):
        raise UsageError(
            f"comparison={folder} was made by an earlier cellnas, which kept no searched value of its winners; choose "
            f"a run, such as 'run={chosen[0].run}'"
        )
    sign = -1.0 if objective.direction == "maximize" else 1.0
    return min(chosen, key=lambda one: (sign * (one.searched or 0.0), one.seed, one.strategy))
