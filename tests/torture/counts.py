"""What a scenario counts; each count must be 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from nas.core import Trial
from nas.formatting import plural


@dataclass
class Counts:
    """What went wrong in a scenario.

    Args:
        lost: Acknowledged trials that the store does not hold afterwards.
        doubled: Trials that were stored twice, or beyond the budget.
        unopened: Stores that do not open again.
        hangs: Processes that did not end in time.
        orphans: Processes that outlived their command.
        tracebacks: Tracebacks, and errors that a command calls unexpected.
        different: Trials that differ from those of an uninterrupted search, and files that differ from whole ones.
        notes: What happened, in words.
    """

    lost: int = 0
    doubled: int = 0
    unopened: int = 0
    hangs: int = 0
    orphans: int = 0
    tracebacks: int = 0
    different: int = 0
    notes: list[str] = field(default_factory=list)

    def __iadd__(self, other: Counts) -> Counts:
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.notes += other.notes
        return self

    def numbers(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTED}

    def check(self) -> None:
        """Fail unless every count is 0."""
        assert not any(self.numbers().values()), f"{self.numbers()}\n" + "\n".join(self.notes)


COUNTED = [counted.name for counted in fields(Counts) if counted.name != "notes"]


@dataclass
class Result:
    """One row of the table.

    Args:
        scenario: What was done.
        times: How often.
        counts: What went wrong.
        details: What else a reader should know, such as the number of searches.
    """

    scenario: str
    times: int
    counts: Counts = field(default_factory=Counts)
    details: str = ""


SAME = ("number", "proposal", "text", "canonical", "seed", "status", "metrics", "reused_from", "error_kind", "curve",
        "told_before")  # fmt: skip
"""Fields of a trial that its seed determines: all but the seconds, the cost, and the lines of a traceback."""


def facts(trial: Trial) -> dict[str, object]:
    """What must be equal in two searches."""
    return {name: getattr(trial, name) for name in SAME}


def compared(trials: Sequence[Trial], whole: Sequence[Trial], acknowledged: Sequence[int] = ()) -> Counts:
    """Count what differs between the stored trials and those of an uninterrupted search, which may be longer."""
    counts = Counts()
    numbers = [trial.number for trial in trials]
    lost = set(acknowledged) - set(numbers)
    if lost:
        counts.lost = len(lost)
        counts.notes.append(f"lost: {sorted(lost)} of {plural(len(acknowledged), 'acknowledged trial')}")
    counts.doubled = len(numbers) - len(set(numbers)) + sum(number >= len(whole) for number in numbers)
    expected = {trial.number: facts(trial) for trial in whole}
    for trial in trials:
        if trial.number in expected and facts(trial) != expected[trial.number]:
            counts.different += 1
            counts.notes.append(f"differs: {facts(trial)} from {expected[trial.number]}")
    return counts
